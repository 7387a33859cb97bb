"""`python -m tests.bench tails`: how much longer than most an Attach may take, with nothing else, while others are
removed, while all is read anew and while a large state file comes; and what an idle daemon takes.

Exits with 1 when a hundredth of the calls takes longer than is done, against the median of its own phase, or an idle
daemon more of a core. It wants a quiet machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from netplumb.api.client.asynchronous import AsyncClient
from tests.bench.calls import attach, connected, detach, timed
from tests.bench.scale import measured_resync_s, quiet
from tests.bench.servers import daemon
from tests.bench.soak import made
from tests.damage.measured import Spread, spread
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host, temporary
from tests.e2e.statefiles import declare, document
from tests.footprint import cpu_s

REMOVED_AT_ONCE = 64
PROBES = 4
"""Attached one after the other, then detached; few, so that what is beside them is beside all of them."""
IDLE_MOST = {"empty": 0.002, "full": 0.02}


@dataclass(frozen=True, slots=True)
class Phase:
    """What the attaches took beside something else; `most` is how many times its median the 99th may take."""

    name: str
    took: Spread
    calls: int
    most: float

    @property
    def ratio(self) -> float:
        return self.took.p99_ms / self.took.p50_ms

    @property
    def failed(self) -> bool:
        return self.ratio > self.most


@dataclass(frozen=True, slots=True)
class Bench:
    running: Daemon
    client: AsyncClient
    others: Sequence[AsyncClient]
    probes: Sequence[Host]
    removed: Sequence[Host]
    calls: int

    async def phase(self, name: str, most: float, over: Callable[[], Awaitable[bool]] | None = None) -> Phase:
        """So many attaches, one after the other, or as long as it is not over."""
        took: list[float] = []
        while len(took) < self.calls if over is None else not await over():
            took += await self._some()
        return Phase(name, spread(took), len(took), most)

    async def beside_removals(self, most: float) -> Phase:
        """Those while the others are removed, all at once, again and again."""
        took: list[float] = []
        while len(took) < self.calls:
            await timed(self.others, map(attach, self.removed))
            going = asyncio.ensure_future(timed(self.others, map(detach, self.removed)))
            while not going.done():
                took += await self._some()
            await going
        return Phase(f"{REMOVED_AT_ONCE} others are removed", spread(took), len(took), most)

    async def _some(self) -> list[float]:
        took = await timed([self.client], map(attach, self.probes))
        await timed([self.client], map(detach, self.probes))
        return took.each

    @asynccontextmanager
    async def reading_anew(self) -> AsyncIterator[None]:
        """All is read anew, again and again."""

        async def read() -> None:
            while True:
                await measured_resync_s(self.running, self.others[0])

        async with _beside(read()):
            yield

    async def idle(self, seconds: float) -> float:
        """What part of a core it takes."""
        before = await quiet(self.running)
        await asyncio.sleep(seconds)
        return (cpu_s(self.running.process.pid) - before) / seconds


@asynccontextmanager
async def _beside(work: Awaitable[None]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def measure(directory: Path, given: argparse.Namespace) -> tuple[list[Phase], dict[str, float]]:
    async with AsyncExitStack() as stack:
        node = stack.enter_context(temporary("node"))
        fill, probes = made(stack, "workload", given.attachments), made(stack, "probe", PROBES)
        removed = made(stack, "removed", REMOVED_AT_ONCE)
        running = await stack.enter_async_context(daemon(node, directory / "daemon"))
        client, *others = await stack.enter_async_context(connected(running.socket, 1 + REMOVED_AT_ONCE))
        bench = Bench(running, client, others, probes, removed, given.calls)
        idle = {"empty": await bench.idle(given.idle_s)}
        await bench.phase("to warm up", 2)
        phases = [await bench.phase("nothing else", 2)]
        phases.append(await bench.beside_removals(2))
        await timed(others[:16], map(attach, fill))
        phases.append(await bench.phase(f"{given.attachments} are there", 2))
        async with bench.reading_anew():
            phases.append(await bench.phase("all of them are read anew", 2))
        idle["full"] = await bench.idle(given.idle_s)

        async def taken() -> bool:
            known = sum((await client.status()).phases.values())
            return bool(known >= given.attachments + given.documents)

        declare(running, "many.yaml", *(document(f"many-{n}", f"many-{n}") for n in range(given.documents)))
        phases.append(await bench.phase(f"a file of {given.documents} documents comes", 3, taken))
        return phases, idle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--attachments", type=int, default=2000, help="how many are there (%(default)s)")
    parser.add_argument("--documents", type=int, default=9000, help="documents in the file (%(default)s)")
    parser.add_argument("--calls", type=int, default=500, help="attaches of a phase (%(default)s)")
    parser.add_argument("--idle-s", type=float, default=60.0, help="how long an idle daemon is watched (%(default)s)")


def run(given: argparse.Namespace) -> int:
    load_before = os.getloadavg()[0]
    with TemporaryDirectory(prefix="np-", dir="/run") as directory:
        phases, idle = asyncio.run(measure(Path(directory), given))
    console = Console(highlight=False)
    table = Table(title="An Attach, milliseconds")
    table.add_column("meanwhile")
    for column in ("p50", "p99", "most", "p99 to p50", "at most", "calls"):
        table.add_column(column, justify="right")
    for it in phases:
        values = (f"{value:.2f}" for value in (it.took.p50_ms, it.took.p99_ms, it.took.most_ms, it.ratio, it.most))
        table.add_row(it.name, *values, str(it.calls), style="bold red" if it.failed else "")
    console.print(table)
    beside = {"empty": "without attachments", "full": f"with {given.attachments}"}
    for which, part in idle.items():
        words = f"Idle {beside[which]}, it takes {part:.2%} of a core (at most {IDLE_MOST[which]:.1%})"
        console.print(words, style="bold red" if part > IDLE_MOST[which] else "")
    console.print(f"Load of the machine before: {load_before:.1f}")
    return int(any(it.failed for it in phases) or any(part > IDLE_MOST[which] for which, part in idle.items()))
