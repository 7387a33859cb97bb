"""`python -m tests.bench files`: what clients wait for while a state file of thousands comes and goes.

The file declares namespaces that are not there, so that what is measured is the way of a wish from the file to its
attachment's status. Exits with 1 when a client waits much longer than when nothing else happens.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

from rich.console import Console
from rich.table import Table

from netplumb.api.client.asynchronous import AsyncClient
from tests.bench.calls import attach, connected, detach, timed
from tests.bench.servers import daemon
from tests.bench.soak import made
from tests.damage.measured import spread
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host, temporary
from tests.e2e.statefiles import declare, document

QUIET_CALLS = 200
AT_A_TIME = 5
MOST_LONGER = 100.0
"""How many times as long as the median of a quiet daemon one call may take. While the loop is held it takes thousands
of times as long."""


@dataclass(frozen=True, slots=True)
class Phase:
    name: str
    attach_s: Sequence[float]
    detach_s: Sequence[float]
    lasted_s: float


@dataclass(frozen=True, slots=True)
class Bench:
    running: Daemon
    client: AsyncClient
    workloads: Sequence[Host]

    async def known(self) -> int:
        """How many attachments the daemon knows, those of the clients apart."""
        return sum((await self.client.status()).phases.values())

    async def phase(self, name: str, over: Callable[[], Awaitable[bool]]) -> Phase:
        """Attaches and detaches until it is over."""
        started = perf_counter()
        attached: list[float] = []
        detached: list[float] = []
        turns = cycle(self.workloads)
        while not await over():
            some = list(islice(turns, AT_A_TIME))
            attached += (await timed([self.client], map(attach, some))).each
            detached += (await timed([self.client], map(detach, some))).each
        return Phase(name, attached, detached, perf_counter() - started)


async def measure(directory: Path, documents: int) -> Sequence[Phase]:
    async with AsyncExitStack() as stack:
        node = stack.enter_context(temporary("node"))
        workloads = made(stack, "workload", 2 * AT_A_TIME)
        running = await stack.enter_async_context(daemon(node, directory / "daemon"))
        (client,) = await stack.enter_async_context(connected(running.socket, 1))
        bench = Bench(running, client, workloads)

        def after(calls: int) -> Callable[[], Awaitable[bool]]:
            left = iter(range(calls // AT_A_TIME))

            async def over() -> bool:
                return next(left, None) is None

            return over

        async def taken() -> bool:
            return await bench.known() >= documents

        async def gone() -> bool:
            return not await bench.known()

        quiet = await bench.phase("quiet", after(QUIET_CALLS))
        file = declare(running, "many.yaml", *(document(f"many-{n}", f"many-{n}") for n in range(documents)))
        comes = await bench.phase("file comes", taken)
        waiting = await bench.phase("all waits", after(QUIET_CALLS))
        file.unlink()
        goes = await bench.phase("file goes", gone)
        return quiet, comes, waiting, goes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--documents", type=int, default=9000, help="documents in the file (%(default)s)")


def run(given: argparse.Namespace) -> int:
    load_before = os.getloadavg()[0]
    with TemporaryDirectory(prefix="np-", dir="/run") as directory:
        phases = asyncio.run(measure(Path(directory), given.documents))
    return _show(phases, given.documents, load_before)


def _show(phases: Sequence[Phase], documents: int, load_before: float) -> int:
    console = Console(highlight=False)
    table = Table(title=f"One client beside a file of {documents} documents; milliseconds")
    table.add_column("meanwhile")
    for column in ("Attach p50", "p99", "most", "Detach p50", "p99", "most", "calls", "s"):
        table.add_column(column, justify="right")
    for phase in phases:
        spreads = (spread(phase.attach_s), spread(phase.detach_s))
        values = (f"{value:.1f}" for it in spreads for value in (it.p50_ms, it.p99_ms, it.most_ms))
        table.add_row(phase.name, *values, str(len(phase.attach_s)), f"{phase.lasted_s:.1f}")
    console.print(table)
    console.print(f"Load of the machine before: {load_before:.1f}")
    quiet = phases[0]
    longer = max(
        max(max(phase.attach_s) / median(quiet.attach_s), max(phase.detach_s) / median(quiet.detach_s))
        for phase in phases
    )
    failed = longer > MOST_LONGER
    words = f"The slowest call took {longer:.0f} times the median of a quiet daemon (at most {MOST_LONGER:.0f})"
    console.print(f"{words}: FAILED" if failed else words, style="bold red" if failed else "bold")
    return int(failed)
