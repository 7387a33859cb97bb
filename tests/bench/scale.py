"""`python -m tests.bench scale`: what an attachment costs beside thousands of others, against beside few. For both the
floor is measured too: the same objects by preassembled netlink, while somebody listens to all namespaces as the daemon
has to, and one idle RPC. The kernel's own share grows.

Exits with 1 when something grows that should not: netplumb's own share of an Attach; for each attachment, the
processor time of a resync, the memory, the time of a restart; or the time of a resync beside one client that attaches
and detaches without pause. It wants a quiet machine: on a busy one the time is that of waiting for the others' share of
the kernel's one lock for links.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.reconciler.kernel.rtnetlink.listener import Listener
from tests.bench.calls import attach, connected, detach, timed
from tests.bench.floor import Floor, floor
from tests.bench.loopbacks import loopbacks
from tests.bench.servers import daemon, nothing
from tests.bench.soak import made
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host, temporary
from tests.e2e.waiting import until
from tests.footprint import Footprint, cpu_s, footprint

FEW = 200
WITHIN_S = 600.0
QUIET_S = 0.5
SETTLE_S = 0.1
QUIET_CPU_S = 0.02  # an idle daemon's heartbeat and this client's questions, in that time
GROWTH_MOST = 1.3
OWN_GROWTH_MOST = 1.5
CHURN_MOST = 2.0
GROWTH_FREE_MS = 0.15  # what two measurements of the same thing differ by anyway
QUEUED_AT_MOST = 16  # beside a resync
DESCRIPTORS_EACH = 2  # of the floor: a workload's namespace, and a socket in it
DESCRIPTORS_BESIDES = 1_000


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
class Held:
    """What so many attachments take of the daemon, all together; `resync_s` is quiet, `churned_s` beside a client."""

    attachments: int
    grown_kib: int
    resync_cpu_s: float
    resync_s: float
    churned_s: float
    ready_s: float
    in_sync_s: float
    cost: Cost

    def each(self) -> dict[str, float]:
        """Of what is to be flat, for one attachment."""
        return {
            "a resync, ms of CPU": self.resync_cpu_s * 1e3 / self.attachments,
            "memory, KiB": self.grown_kib / self.attachments,
            "a restart, ms": self.in_sync_s * 1e3 / self.attachments,
        }


@dataclass(frozen=True, slots=True)
class Scaled:
    few: Held
    many: Held

    def verdicts(self) -> Iterator[tuple[str, bool]]:
        """Each in words, and whether it failed."""
        few, many = self.few.cost.own, self.many.cost.own
        grows = _grows(few.time, many.time) or _grows(few.cpu, many.cpu)
        times, cpus = f"{few.time:.2f} and {many.time:.2f} ms", f"{few.cpu:.2f} and {many.cpu:.2f} ms of CPU"
        yield f"netplumb's own share of an Attach: {times}, {cpus}", grows
        for (what, before), after in zip(self.few.each().items(), self.many.each().values(), strict=True):
            yield f"for each attachment, {what}: {before:.2f} and {after:.2f}", after > before * GROWTH_MOST
        for held in (self.few, self.many):
            words = f"a resync of {held.attachments}: {held.resync_s:.1f} s, beside a client {held.churned_s:.1f} s"
            yield words, held.churned_s > held.resync_s * CHURN_MOST + QUIET_S


def _grows(few_ms: float, many_ms: float) -> bool:
    return many_ms > few_ms * OWN_GROWTH_MOST + GROWTH_FREE_MS


@dataclass(frozen=True, slots=True)
class Bench:
    """`fill` are attached and stay so; `probes` are attached and detached to be timed."""

    fill: Sequence[Host]
    probes: Sequence[Host]
    rounds: int
    as_new: Callable[[], None]
    listeners: list[Listener]

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
            self.unheard()
        return Spent(median(samples) * 1e3, cpu / len(samples) * 1e3)

    def unheard(self) -> None:
        """Makes room in what is listened to."""
        for listener in self.listeners:
            deque(listener.drain(sys.maxsize), maxlen=0)

    async def attach_at(self, client: AsyncClient, running: Daemon) -> Spent:
        """Beside no resync, which has a measurement of its own."""
        pid = running.process.pid
        samples: list[float] = []
        cpu = 0.0
        for _ in range(self.rounds):
            self.as_new()
            await quiet(running)
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
        bench = Bench(fill, probes, given.rounds, stack.enter_context(loopbacks(probes)), [])
        floor_few, floor_many = _floors(bench)
        (caller,) = await stack.enter_async_context(connected(stack.enter_context(nothing(directory)), 1))
        call = median((await timed([caller], [attach(probes[0])] * 500)).each) * 1e3
        node = stack.enter_context(temporary("node"))
        running = await stack.enter_async_context(daemon(node, directory / "daemon"))
        clients = await stack.enter_async_context(connected(running.socket, given.clients))
        empty = footprint(running.process.pid)
        held = []
        for start, end, floor in ((0, FEW, floor_few), (FEW, len(fill), floor_many)):
            await timed(clients, map(attach, fill[start:end]))
            cost = Cost(end, await bench.attach_at(clients[0], running), floor, call)
            held.append(await _held(running, clients, bench, end, empty, cost))
        return Scaled(*held)


async def _held(
    running: Daemon, clients: Sequence[AsyncClient], bench: Bench, count: int, empty: Footprint, cost: Cost
) -> Held:
    grown_kib = footprint(running.process.pid).rss_kib - empty.rss_kib
    before = await quiet(running)
    resync_s = await measured_resync_s(running, clients[0])
    spent_s = await quiet(running) - before
    async with _churning(clients[1], bench.probes):
        churned_s = await measured_resync_s(running, clients[0])
    await quiet(running)
    ready_s, in_sync_s = await _killed_and_started(running, clients[0], count)
    return Held(count, grown_kib, spent_s, resync_s, churned_s, ready_s, in_sync_s, cost)


@asynccontextmanager
async def _churning(client: AsyncClient, probes: Sequence[Host]) -> AsyncIterator[None]:
    """One client attaches and detaches without pause."""
    ends = asyncio.Event()

    async def churn() -> None:
        for probe in cycle(probes):
            await attach(probe)(client)
            await detach(probe)(client)
            if ends.is_set():
                return

    churned = asyncio.create_task(churn())
    yield
    ends.set()
    await churned


def _floors(bench: Bench) -> tuple[Spent, Spent]:
    """The floor beside few attachments and beside all, on a node of its own that is gone afterwards. It is listened to
    as by the daemon, since each message of a namespace then costs the kernel a walk over all of them."""
    with temporary("floor-node") as node, floor(node, [*bench.fill, *bench.probes]) as floors:
        with node.enter():
            bench.listeners.append(Listener())
        floors.part(slice(0, FEW)).attach()
        few = bench.floor_at(floors)
        floors.part(slice(FEW, len(bench.fill))).attach()
        bench.unheard()
        many = bench.floor_at(floors)
        bench.listeners.pop().close()
        floors.detach_all()
        return few, many


async def measured_resync_s(running: Daemon, client: AsyncClient) -> float:
    """Seconds until nearly all that a reload of the settings marked has been passed over."""
    began = time.monotonic()
    resyncs = (await client.status()).counters.resyncs
    running.reload()

    async def over() -> bool:
        await asyncio.sleep(SETTLE_S)  # a question takes processor time too
        status = await client.status()
        return status.counters.resyncs > resyncs and status.queue_length <= QUEUED_AT_MOST

    await until(over, "everything is passed over", within_s=WITHIN_S)
    return time.monotonic() - began


async def quiet(running: Daemon) -> float:
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
    parser.add_argument("--attachments", type=int, default=10_000, help="how many stay attached (%(default)s)")
    parser.add_argument("--probes", type=int, default=50, help="how many are timed beside them (%(default)s)")
    parser.add_argument("--rounds", type=int, default=4, help="how often each probe is timed (%(default)s)")
    parser.add_argument("--clients", type=int, default=16, help="clients that attach the many (%(default)s)")


def run(given: argparse.Namespace) -> int:
    load_before = os.getloadavg()[0]
    _allow_descriptors((given.attachments + given.probes) * DESCRIPTORS_EACH + DESCRIPTORS_BESIDES)
    with TemporaryDirectory(prefix="np-", dir="/run") as directory:
        scaled = asyncio.run(measure(Path(directory), given))
    return _show(scaled, load_before)


def _allow_descriptors(count: int) -> None:
    """This process may open so many; the daemon, which is its child, then too, and opens far fewer."""
    there, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if there < count:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(most, count)))
        except (ValueError, PermissionError) as error:
            raise SystemExit(f"this takes {count} descriptors (ulimit -n), and {most} is the limit: {error}") from None


def _show(scaled: Scaled, load_before: float) -> int:
    console = Console(highlight=False)
    table = Table(title="Attach, one client, milliseconds: time (p50), CPU (mean)")
    for column in ("beside", "Attach", "floor: netlink", "floor: idle RPC", "own share"):
        table.add_column(column, justify="right")
    for cost in (scaled.few.cost, scaled.many.cost):
        attach, floor, own = (f"{it.time:.2f}, {it.cpu:.2f}" for it in (cost.attach, cost.floor, cost.own))
        table.add_row(str(cost.beside), attach, floor, f"{cost.call:.2f}", own)
    console.print(table)
    for held in (scaled.few, scaled.many):
        console.print(
            f"{held.attachments}: after SIGKILL ready in {held.ready_s:.1f} s, in sync in {held.in_sync_s:.1f} s"
        )
    console.print(f"Load of the machine before: {load_before:.1f}")
    verdicts = list(scaled.verdicts())
    for words, failed in verdicts:
        console.print(f"{words}{': FAILED, it grows' if failed else ''}", style="bold red" if failed else "")
    return int(any(failed for _, failed in verdicts))
