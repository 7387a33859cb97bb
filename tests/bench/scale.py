"""`python -m tests.bench scale`: what an attachment costs beside thousands of others, against beside few. For both the
floor, the same objects by preassembled netlink and one idle RPC, is measured too: the kernel's own share grows.

Exits with 1 when netplumb's own share grows, be it of the time or of the processor time. It wants a quiet machine: on a
busy one the time is that of waiting for the others' share of the kernel's one lock for links.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from netplumb.api.client.asynchronous import AsyncClient
from tests.bench.calls import attach, connected, detach, timed
from tests.bench.floor import Floor, floor
from tests.bench.loopbacks import loopbacks
from tests.bench.servers import daemon, nothing
from tests.bench.soak import made
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host, temporary
from tests.e2e.waiting import until
from tests.footprint import Footprint, cpu_s, footprint

FEW = 10
WITHIN_S = 120.0
QUIET_S = 0.5
SETTLE_S = 0.1
QUIET_CPU_S = 0.02  # an idle daemon's heartbeat and this client's questions, in that time
GROWTH_MOST = 1.2
GROWTH_FREE_MS = 0.15  # what two measurements of the same thing differ by anyway


@dataclass(frozen=True, slots=True)
class Spent:
    """What one attachment takes, in milliseconds: the median time, and the processor time on average."""

    time: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Cost:
    """That of the same workloads attached beside `beside` others: by the daemon, and by bare netlink."""

    beside: int
    attach: Spent
    floor: Spent
    call: float

    @property
    def own(self) -> Spent:
        """What netplumb adds to the kernel's share, and in time to gRPC's."""
        return Spent(self.attach.time - self.floor.time - self.call, self.attach.cpu - self.floor.cpu)


@dataclass(frozen=True, slots=True)
class Scaled:
    attachments: int
    all_attached_s: float
    empty: Footprint
    full: Footprint
    resync_cpu_ms: float
    restart_ready_s: float
    restart_in_sync_s: float
    restarted: Footprint
    few: Cost
    many: Cost

    @property
    def verdict(self) -> tuple[str, bool]:
        """In words, and whether it failed."""
        few, many = self.few.own, self.many.own
        words = (
            f"netplumb's own share of an Attach beside {self.few.beside} and {self.many.beside} attachments: "
            f"{few.time:.2f} and {many.time:.2f} ms, {few.cpu:.2f} and {many.cpu:.2f} ms of CPU"
        )
        if _grows(few.time, many.time) or _grows(few.cpu, many.cpu):
            return f"{words}: FAILED, it grows", True
        return f"{words}: it does not grow", False


def _grows(few_ms: float, many_ms: float) -> bool:
    return many_ms > few_ms * GROWTH_MOST + GROWTH_FREE_MS


@dataclass(frozen=True, slots=True)
class Bench:
    """`fill` are attached and stay so; `probes` are attached and detached to be timed."""

    fill: Sequence[Host]
    probes: Sequence[Host]
    rounds: int
    as_new: Callable[[], None]

    def floor_at(self, floors: Floor) -> Spent:
        """The floor of the probes, beside what is attached."""
        samples: list[float] = []
        cpu = 0.0
        probing = floors.part(slice(len(self.fill), None))
        for _ in range(self.rounds):
            self.as_new()
            time.sleep(QUIET_S)
            cpu -= time.thread_time()
            samples += probing.attach()
            cpu += time.thread_time()
            probing.detach()
        return Spent(median(samples) * 1e3, cpu / len(samples) * 1e3)

    async def attach_at(self, client: AsyncClient, pid: int) -> Spent:
        samples: list[float] = []
        cpu = 0.0
        for _ in range(self.rounds):
            self.as_new()
            await asyncio.sleep(QUIET_S)
            cpu -= cpu_s(pid)
            samples += (await timed([client], map(attach, self.probes))).each
            await asyncio.sleep(SETTLE_S)  # what it hears of its own work belongs to the work
            cpu += cpu_s(pid)
            await timed([client], map(detach, self.probes))
        return Spent(median(samples) * 1e3, cpu / len(samples) * 1e3)


async def measure(directory: Path, given: argparse.Namespace) -> Scaled:
    async with AsyncExitStack() as stack:
        fill = made(stack, "workload", given.attachments)
        probes = made(stack, "probe", given.probes)
        bench = Bench(fill, probes, given.rounds, stack.enter_context(loopbacks(probes)))
        floor_few, floor_many = _floors(bench)
        (caller,) = await stack.enter_async_context(connected(stack.enter_context(nothing(directory)), 1))
        call = median((await timed([caller], [attach(probes[0])] * 500)).each) * 1e3
        node = stack.enter_context(temporary("node"))
        running = await stack.enter_async_context(daemon(node, directory / "daemon"))
        clients = await stack.enter_async_context(connected(running.socket, given.clients))
        empty = footprint(running.process.pid)
        await timed(clients, map(attach, fill[:FEW]))
        few = Cost(FEW, await bench.attach_at(clients[0], running.process.pid), floor_few, call)
        attached = await timed(clients, map(attach, fill[FEW:]))
        many = Cost(len(fill), await bench.attach_at(clients[0], running.process.pid), floor_many, call)
        resync_cpu_ms = await _resync(running, clients[0], len(fill)) * 1e3
        full = footprint(running.process.pid)
        ready_s, in_sync_s = await _killed_and_started(running, clients[0], len(fill))
        return Scaled(
            attachments=len(fill),
            all_attached_s=attached.all,
            empty=empty,
            full=full,
            resync_cpu_ms=resync_cpu_ms,
            restart_ready_s=ready_s,
            restart_in_sync_s=in_sync_s,
            restarted=footprint(running.process.pid),
            few=few,
            many=many,
        )


def _floors(bench: Bench) -> tuple[Spent, Spent]:
    """The floor beside few attachments and beside all, on a node of its own that is gone afterwards."""
    with temporary("floor-node") as node, floor(node, [*bench.fill, *bench.probes]) as floors:
        floors.part(slice(0, FEW)).attach()
        few = bench.floor_at(floors)
        floors.part(slice(FEW, len(bench.fill))).attach()
        many = bench.floor_at(floors)
        floors.detach_all()
        return few, many


async def _resync(running: Daemon, client: AsyncClient, keys: int) -> float:
    """Processor seconds of one pass over everything, started by a reload of the settings."""
    before = (await client.status()).counters
    started = await _quiet(running)
    running.reload()

    async def over() -> bool:
        await asyncio.sleep(QUIET_S)  # a question takes processor time too
        return (await client.status()).counters.passes >= before.passes + keys

    await until(over, "everything is passed over", within_s=WITHIN_S)
    ended = await _quiet(running)
    assert (await client.status()).counters.repairs == before.repairs, "nothing was to be repaired"
    return ended - started


async def _quiet(running: Daemon) -> float:
    """Waits until the daemon rests; returns the processor seconds that it has used."""
    before = cpu_s(running.process.pid)
    ends = time.monotonic() + WITHIN_S
    while time.monotonic() < ends:
        await asyncio.sleep(QUIET_S)
        now = cpu_s(running.process.pid)
        if now - before < QUIET_CPU_S:
            return now
        before = now
    raise AssertionError(f"the daemon does not come to rest within {WITHIN_S} s")


async def _killed_and_started(running: Daemon, client: AsyncClient, count: int) -> tuple[float, float]:
    """Seconds from the start to the first answer, and until every attachment has been looked at."""

    async def in_sync() -> bool:
        return (await client.status()).phases.get("Attached", 0) == count

    running.kill9()
    started = time.monotonic()
    await running.start()
    ready_s = time.monotonic() - started
    await until(in_sync, "every attachment is looked at", within_s=WITHIN_S)
    return ready_s, time.monotonic() - started


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--attachments", type=int, default=2000, help="how many stay attached (%(default)s)")
    parser.add_argument("--probes", type=int, default=50, help="how many are timed beside them (%(default)s)")
    parser.add_argument("--rounds", type=int, default=4, help="how often each probe is timed (%(default)s)")
    parser.add_argument("--clients", type=int, default=16, help="clients that attach the many (%(default)s)")


def run(given: argparse.Namespace) -> int:
    load_before = os.getloadavg()[0]
    with TemporaryDirectory(prefix="np-", dir="/run") as directory:
        scaled = asyncio.run(measure(Path(directory), given))
    _show(scaled, load_before)
    return 1 if scaled.verdict[1] else 0


def _show(scaled: Scaled, load_before: float) -> None:
    console = Console(highlight=False)
    table = Table(title="Attach, one client, milliseconds: time (p50), CPU (mean)")
    for column in ("beside", "Attach", "floor: netlink", "floor: idle RPC", "own share"):
        table.add_column(column, justify="right")
    for cost in (scaled.few, scaled.many):
        attach, floor, own = (f"{it.time:.2f}, {it.cpu:.2f}" for it in (cost.attach, cost.floor, cost.own))
        table.add_row(str(cost.beside), attach, floor, f"{cost.call:.2f}", own)
    console.print(table)
    rate = (scaled.attachments - FEW) / scaled.all_attached_s
    each_kib = (scaled.full.rss_kib - scaled.empty.rss_kib) / scaled.attachments
    each_ms = scaled.resync_cpu_ms / scaled.attachments
    console.print(f"All {scaled.attachments} attached in {scaled.all_attached_s:.1f} s, {rate:.0f} per second")
    console.print(f"Empty: {scaled.empty}. Full: {scaled.full}; {each_kib:.1f} KiB an attachment")
    console.print(f"A resync pass: {scaled.resync_cpu_ms:.0f} ms of CPU, {each_ms:.3f} ms an attachment")
    console.print(
        f"After SIGKILL: {scaled.restart_ready_s:.1f} s from start to ready, {scaled.restart_in_sync_s:.1f} s to in "
        f"sync; then {scaled.restarted}"
    )
    console.print(f"Load of the machine before: {load_before:.1f}")
    words, failed = scaled.verdict
    console.print(words, style="bold red" if failed else "bold")
