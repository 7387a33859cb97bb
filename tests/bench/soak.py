"""`python -m tests.bench soak`: attach and detach many thousand times, and look whether anything grows.

Exits with 1 when memory, descriptors or threads of the daemon are not flat.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression
from tempfile import TemporaryDirectory
from time import perf_counter

from rich.console import Console
from rich.table import Table

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.reconciler.history.eventfile import EVENTS_MOST
from tests.bench.calls import Call, attach, connected, detach
from tests.bench.servers import daemon
from tests.e2e.hosts import Host, temporary
from tests.footprint import Footprint, footprint

WARM_UP_CYCLES = EVENTS_MOST // 2
"""Python's and gRPC's pools fill up then, and what is kept up to a bound: freed addresses, and events, two a cycle."""
LOOKS = 20
SETTLE_S = 0.3
POOLS = ("10.214.0.0/24", "fd14::/64")  # of the size that a node has, so that every address is given many times
HEAP_FREE_KIB = 1536  # Python's heap moves by so much anyway, so a short soak sees large leaks alone
THREADS_FREE = 2  # gRPC makes its own when it likes
SLOPE_MOST_BYTES = 40.0
"""Memory for each cycle beyond which it counts as growing. One Python object that is forgotten takes 50 or more."""


@dataclass(frozen=True, slots=True)
class Look:
    cycles: int
    held: Footprint
    per_second: float


@dataclass(frozen=True, slots=True)
class Soaked:
    looks: Sequence[Look]

    @property
    def first(self) -> Footprint:
        return self.looks[0].held

    @property
    def last(self) -> Footprint:
        return self.looks[-1].held

    @property
    def bytes_per_cycle(self) -> float:
        """The slope of resident memory over the cycles."""
        cycles = [look.cycles for look in self.looks]
        return linear_regression(cycles, [look.held.rss_kib * 1024 for look in self.looks]).slope

    def growing(self, slope_most: float = SLOPE_MOST_BYTES, threads_free: int = THREADS_FREE) -> list[str]:
        """What is not flat, in words."""
        found = []
        if self.bytes_per_cycle > slope_most and self.last.rss_kib > self.first.rss_kib + HEAP_FREE_KIB:
            found.append(f"memory grows by {self.bytes_per_cycle:.0f} bytes a cycle, above {slope_most:.0f}")
        if self.last.fds > self.first.fds:
            found.append(f"descriptors grew from {self.first.fds} to {self.last.fds}")
        if self.last.threads > self.first.threads + threads_free:
            found.append(f"threads grew from {self.first.threads} to {self.last.threads}")
        return found


async def soak(pid: int, clients: Sequence[AsyncClient], workloads: Sequence[Host], cycles: int) -> Soaked:
    """Each client attaches and detaches workloads of its own, all at the same time."""
    shares = [workloads[number :: len(clients)] for number in range(len(clients))]
    await _cycles(clients, shares, WARM_UP_CYCLES)
    leg = max(cycles // LOOKS, 1)
    looks = [Look(0, await _held(pid), 0.0)]
    while (done := looks[-1].cycles) < cycles:
        started = perf_counter()
        await _cycles(clients, shares, min(leg, cycles - done))
        seconds = perf_counter() - started
        looks.append(Look(min(done + leg, cycles), await _held(pid), leg / seconds))
    return Soaked(looks)


async def _held(pid: int) -> Footprint:
    await asyncio.sleep(SETTLE_S)
    return footprint(pid)


async def _cycles(clients: Sequence[AsyncClient], shares: Sequence[Sequence[Host]], count: int) -> None:
    left = iter(range(count))

    async def work(client: AsyncClient, calls: Sequence[tuple[Call, Call]]) -> None:
        for number, _ in enumerate(left):
            for call in calls[number % len(calls)]:
                await call(client)

    calls = [[(attach(host), detach(host)) for host in share] for share in shares]
    await asyncio.gather(*(work(client, mine) for client, mine in zip(clients, calls, strict=True)))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cycles", type=int, default=40_000, help="attach and detach so often (%(default)s)")
    parser.add_argument("--clients", type=int, default=16, help="concurrent clients (%(default)s)")
    parser.add_argument("--workloads", type=int, default=64, help="network namespaces (%(default)s)")


def run(given: argparse.Namespace) -> int:
    load_before = os.getloadavg()[0]
    with TemporaryDirectory(prefix="np-", dir="/run") as directory:
        soaked = asyncio.run(_measure(Path(directory), given))
    growing = soaked.growing()
    _show(soaked, growing, load_before)
    return 1 if growing else 0


async def _measure(directory: Path, given: argparse.Namespace) -> Soaked:
    async with AsyncExitStack() as stack:
        node = stack.enter_context(temporary("node"))
        hosts = made(stack, "workload", given.workloads)
        running = await stack.enter_async_context(daemon(node, directory / "daemon", POOLS))
        clients = await stack.enter_async_context(connected(running.socket, given.clients))
        return await soak(running.process.pid, clients, hosts, given.cycles)


def made(stack: ExitStack | AsyncExitStack, prefix: str, count: int) -> list[Host]:
    return [stack.enter_context(temporary(f"{prefix}-{number}")) for number in range(count)]


def _show(soaked: Soaked, growing: Sequence[str], load_before: float) -> None:
    console = Console(highlight=False)
    table = Table(title="The daemon through attach and detach")
    for column in ("cycles", "memory (MiB)", "descriptors", "threads", "cycles per second"):
        table.add_column(column, justify="right")
    for look in soaked.looks:
        held = look.held
        rate = f"{look.per_second:.0f}" if look.per_second else ""
        table.add_row(str(look.cycles), f"{held.rss_kib / 1024:.1f}", str(held.fds), str(held.threads), rate)
    console.print(table)
    console.print(f"First: {soaked.first}. Last: {soaked.last}. {soaked.bytes_per_cycle:.1f} bytes a cycle")
    console.print(f"Load of the machine before: {load_before:.1f}")
    for words in growing:
        console.print(f"FAILED: {words}", style="bold red")
    if not growing:
        console.print("Flat", style="bold")
