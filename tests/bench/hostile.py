"""`python -m tests.bench hostile`: what others wait for while one workload does its worst in its own namespace, or
clients of the sockets do, or another program on the node.

One thing after the other, each of a new workload, beside one that is attached and damaged, one that comes and goes, and
one that a runtime attaches by the plugin. Beside them all, the floor: a call that does nothing, of a server of its own,
and an attachment's objects by messages that were assembled before, on a node of its own. It tells what the machine and
the kernel have left for anybody; what clients do is done to that server too, and takes from it what it takes from any.

Figures are to be compared within a run. Exits with 1 when, beyond the floor, an Attach takes much longer than when
nothing goes on, a repair does, or the daemon's memory grows much.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from time import perf_counter

from rich.console import Console
from rich.table import Table

from netplumb.api.client.asynchronous import AsyncClient
from tests.bench.calls import attach as wish_of
from tests.bench.calls import connected
from tests.bench.floor import Floor, floor
from tests.bench.harms import Harm, harms
from tests.bench.hostilefigures import COLUMNS, Figures, Measured, record
from tests.bench.plugin import Plugin
from tests.bench.servers import daemon, nothing
from tests.damage.measured import machine
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host, temporary
from tests.e2e.paces import attaches_s, repairs_s
from tests.e2e.wishes import attach, detach, texts, v4
from tests.footprint import footprint

GROWTH_MOST_MIB = 96
_FLOOR_PLACES = 4
_QUIET_ADDS = 5
_LET_BEGIN_S = 1.0
_WIDTH = 140


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many times as long as when nothing goes on others may wait: for an Attach beyond the floor, and a repair."""

    attach: float
    repair: float

    def hold(self, row: Figures) -> bool:
        within = row.beyond_floor <= self.attach and row.repair_times <= self.repair
        return within and row.grown_mib <= GROWTH_MOST_MIB


BOUNDS = Bounds(attach=3.0, repair=30.0)
GUARD_BOUNDS = Bounds(attach=8.0, repair=120.0)
"""A machine that does much else is no fault."""

CALLS, GUARD_CALLS = 60, 20
GUARD_SCALE = 0.05


@dataclass(frozen=True, slots=True)
class Waited:
    """What innocents waited for, meanwhile, and what the daemon held more than before."""

    attach_s: Sequence[float]
    floor_s: Sequence[float]
    repair_s: Sequence[float]
    add_s: Sequence[float]
    grown_kib: int

    def than(self, quiet: Waited, harm: str) -> Figures:
        return Figures(
            harm,
            attach_ms=median(self.attach_s) * 1e3,
            attach_p95_ms=quantiles(self.attach_s, n=20)[-1] * 1e3,
            attach_times=median(self.attach_s) / median(quiet.attach_s),
            floor_times=median(self.floor_s) / median(quiet.floor_s),
            repair_ms=median(self.repair_s) * 1e3,
            repair_times=median(self.repair_s) / median(quiet.repair_s),
            add_ms=median(self.add_s) * 1e3,
            add_times=median(self.add_s) / median(quiet.add_s),
            grown_mib=self.grown_kib / 1024,
        )


async def measure(directory: Path, scale: float, calls: int) -> list[Figures]:
    async with AsyncExitStack() as stack:
        node, web, db, pod, beside = (
            stack.enter_context(temporary(name)) for name in ("node", "web", "db", "pod", "beside")
        )
        places = [stack.enter_context(temporary(f"place-{number}")) for number in range(_FLOOR_PLACES)]
        running = await stack.enter_async_context(daemon(node, directory / "daemon"))
        (client,) = await stack.enter_async_context(connected(running.socket, 1))
        idle_socket = stack.enter_context(nothing(directory))
        (idle,) = await stack.enter_async_context(connected(idle_socket, 1))
        answer = await client.attach(attach(web))
        innocents = _Innocents(
            running, client, web, db, pod, texts(answer), stack.enter_context(floor(beside, places)), idle, calls
        )
        quiet = await innocents.wait(None)
        all_harms = harms(running, idle_socket, texts(answer), _first_of_its_pool(v4(answer)), scale)
        waited = {harm.name: await innocents.wait(harm) for harm in all_harms}
        return [quiet.than(quiet, "nothing"), *(each.than(quiet, harm) for harm, each in waited.items())]


def _first_of_its_pool(address: str) -> str:
    """The node's own."""
    return f"{address.rpartition('.')[0]}.1"


@dataclass(frozen=True, slots=True)
class _Innocents:
    """One is attached and its route taken away, one comes and goes, one is a runtime's."""

    running: Daemon
    client: AsyncClient
    attached: Host
    comes: Host
    pod: Host
    addresses: Sequence[str]
    floor: Floor
    idle: AsyncClient
    calls: int

    async def wait(self, harm: Harm | None) -> Waited:
        if harm is None:
            return await self._wait(await self._floor_s(), _QUIET_ADDS)
        print(f"beside {harm.name} ...", file=sys.stderr)
        floor_s: Sequence[float] = ()
        with temporary("mallory") as mallory:
            if harm.to_idle is not None:
                async with harm.to_idle(mallory):
                    await asyncio.sleep(_LET_BEGIN_S)
                    floor_s = await self._floor_s()
            await self.client.attach(attach(mallory))
            async with harm.do(mallory):
                await asyncio.sleep(_LET_BEGIN_S)
                waited = await self._wait(floor_s or await self._floor_s(), harm.adds)
            await self.client.detach(detach(mallory.name, mallory.path), timeout_s=120)
        assert texts(await self.client.attach(attach(self.attached))) == self.addresses, f"{harm.name}: stolen"
        return waited

    async def _wait(self, floor_s: Sequence[float], adds: int) -> Waited:
        before = self._held_kib()
        attach_s = await attaches_s(self.client, self.comes, self.calls)
        repair_s = await repairs_s(self.attached, v4_of(self.addresses))
        add_s = await asyncio.to_thread(self._adds_s, adds)
        return Waited(attach_s, floor_s, repair_s, add_s, self._held_kib() - before)

    async def _floor_s(self) -> list[float]:
        took: list[float] = []
        call = wish_of(self.comes)
        for _ in range(self.calls // _FLOOR_PLACES):
            for made_s in await asyncio.to_thread(self.floor.attach):
                began = perf_counter()
                await call(self.idle)
                took.append(made_s + perf_counter() - began)
            await asyncio.to_thread(self.floor.detach)
        return took

    def _adds_s(self, adds: int) -> list[float]:
        plugin, took = Plugin.of(self.running), list[float]()
        for _ in range(adds):
            took += plugin.adds([self.pod])[1].each
            plugin.deletes([self.pod])
        return took

    def _held_kib(self) -> int:
        return footprint(self.running.process.pid).rss_kib


def v4_of(addresses: Sequence[str]) -> str:
    return next(it for it in addresses if ":" not in it)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scale", type=float, default=1.0, help="how much of each harm is done (%(default)s)")
    parser.add_argument("--record", action="store_true", help="keep the numbers, and write them to docs/security.md")
    parser.add_argument("--guard", action="store_true", help="do little of each, and judge mildly, as CI does")


def run(given: argparse.Namespace) -> int:
    on = machine(os.getloadavg()[0])
    scale, calls, bounds = (GUARD_SCALE, GUARD_CALLS, GUARD_BOUNDS) if given.guard else (given.scale, CALLS, BOUNDS)
    with TemporaryDirectory(prefix="np-", dir="/run") as directory:
        measured = Measured(on, scale, asyncio.run(measure(Path(directory), scale, calls)))
    if given.record:
        record(measured)
    return _show(measured, bounds)


def _show(measured: Measured, bounds: Bounds) -> int:
    table = Table(title=f"What others wait for meanwhile, on {measured.machine}", caption="red: more than is promised")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == COLUMNS[0] else "right")
    for row in measured.rows:
        table.add_row(*row.cells(), style=None if bounds.hold(row) else "red")
    Console(highlight=False, width=_WIDTH).print(table)
    for row in measured.rows:
        if not bounds.hold(row):
            print(f"{row.harm}: others wait too long, or the daemon holds too much; {bounds} and {GROWTH_MOST_MIB} MiB")
    return int(not all(map(bounds.hold, measured.rows)))
