"""`python -m tests.bench hostile`: what others wait for while one workload does its worst in its own namespace, or
clients of the sockets do, or another program on the node.

One thing after the other, each of a new workload, beside one that is attached and damaged and one that comes and goes.
Beside them all, the floor: a call that does nothing, of a server of its own, and an attachment's objects by messages
that were assembled before, on a node of its own. It tells what the machine and the kernel have left for anybody.
Figures are to be compared within a run. Exits with 1 when an Attach takes much longer than when nothing goes on, or the
daemon's memory grows much. Clients take their share of the processors too, so they may make it longer than workloads.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager
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
from tests.bench.servers import daemon, nothing
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host, temporary
from tests.e2e.paces import attaches_s, repairs_s
from tests.e2e.strangers import HASTY, hasty, hoarding, stalling
from tests.e2e.tenants import (
    fill_with_addresses,
    fill_with_flows,
    fill_with_neighbours,
    fill_with_routes,
    flooding,
    renewing,
    repeating,
)
from tests.e2e.wishes import attach, detach, v4
from tests.footprint import footprint

MOST_LONGER = 3.0
MOST_LONGER_BESIDE_OTHERS = 20.0
FLUSH_EVERY_S = 0.2
GROWTH_MOST_KIB = 96 << 10
EVENTS_A_SECOND = 80_000
RTPROT_STATIC = 4
_CALLS = 60
_FLOOR_PLACES = 4
_WIDTH = 120

Harm = Callable[[Host], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Waited:
    """What innocents waited for, meanwhile, and what the daemon held more than before."""

    harm: str
    attach_s: Sequence[float]
    floor_s: Sequence[float]
    repair_s: Sequence[float]
    grown_kib: int
    most_longer: float = MOST_LONGER


def _filled(fill: Callable[[Host], None]) -> Harm:
    """The namespace is filled, and then something changes in it all the time."""

    @contextmanager
    def harm(mallory: Host) -> Iterator[None]:
        fill(mallory)
        with renewing(mallory, protocol=RTPROT_STATIC):
            yield

    return harm


def _harms(scale: float, node_address: str) -> dict[str, Harm]:
    def many(count: int) -> int:
        return int(count * scale)

    return {
        "ever-new routes with our mark": renewing,
        f"{many(300_000)} routes": _filled(lambda host: fill_with_routes(host, many(300_000), "lo", RTPROT_STATIC)),
        f"{many(100_000)} routes with our mark": _filled(lambda host: fill_with_routes(host, many(100_000))),
        f"{many(5_000)} addresses": _filled(lambda host: fill_with_addresses(host, many(5_000))),
        f"{many(100_000)} neighbours": _filled(lambda host: fill_with_neighbours(host, many(100_000))),
        f"{many(200_000)} flows": _filled(lambda host: fill_with_flows(host, node_address, many(200_000))),
        f"{EVENTS_A_SECOND} events a second": lambda host: flooding(host, EVENTS_A_SECOND),
    }


def _harms_of_others(running: Daemon) -> dict[str, Harm]:
    """By clients, and by another program on the node; none of them in the workload's namespace."""
    return {
        f"{HASTY} clients with deadlines of 1 ms": lambda host: hasty(running.socket, host, "deadline"),
        f"{HASTY} clients that cancel after 1 ms": lambda host: hasty(running.socket, host, "cancel"),
        f"{HASTY} clients that plan for all": lambda host: hasty(running.socket, host, "plan"),
        "300 plugins that stall": lambda _: stalling(running),
        "no descriptor is free": lambda _: hoarding(running),
        "nft flush ruleset": lambda _: repeating(lambda: running.node.run("nft flush ruleset"), FLUSH_EVERY_S),
    }


async def measure(directory: Path, scale: float) -> list[Waited]:
    async with AsyncExitStack() as stack:
        node, web, db, beside = (stack.enter_context(temporary(name)) for name in ("node", "web", "db", "beside"))
        places = [stack.enter_context(temporary(f"place-{number}")) for number in range(_FLOOR_PLACES)]
        running = await stack.enter_async_context(daemon(node, directory / "daemon"))
        (client,) = await stack.enter_async_context(connected(running.socket, 1))
        (idle,) = await stack.enter_async_context(connected(stack.enter_context(nothing(directory)), 1))
        answer = await client.attach(attach(web))
        address = v4(answer)
        innocents = _Innocents(running, client, web, db, address, stack.enter_context(floor(beside, places)), idle)
        waited = [await innocents.wait("nothing", MOST_LONGER)]
        kinds = (
            (_harms(scale, _first_of_its_pool(address)), MOST_LONGER),
            (_harms_of_others(running), MOST_LONGER_BESIDE_OTHERS),
        )
        for harms, most_longer in kinds:
            for name, harm in harms.items():
                with temporary("mallory") as mallory:
                    await client.attach(attach(mallory))
                    with harm(mallory):
                        waited.append(await innocents.wait(name, most_longer))
                    await client.detach(detach(mallory.name, mallory.path), timeout_s=120)
        return waited


def _first_of_its_pool(address: str) -> str:
    """The node's own."""
    return f"{address.rpartition('.')[0]}.1"


@dataclass(frozen=True, slots=True)
class _Innocents:
    """One is attached and its route taken away, one comes and goes."""

    running: Daemon
    client: AsyncClient
    attached: Host
    comes: Host
    address: str
    floor: Floor
    idle: AsyncClient

    async def wait(self, harm: str, most_longer: float) -> Waited:
        before = self._held_kib()
        attach_s = await attaches_s(self.client, self.comes, _CALLS)
        floor_s = await self._floor_s()
        repair_s = await repairs_s(self.attached, self.address)
        return Waited(harm, attach_s, floor_s, repair_s, self._held_kib() - before, most_longer)

    async def _floor_s(self) -> list[float]:
        took: list[float] = []
        call = wish_of(self.comes)
        for _ in range(_CALLS // _FLOOR_PLACES):
            for made_s in await asyncio.to_thread(self.floor.attach):
                began = perf_counter()
                await call(self.idle)
                took.append(made_s + perf_counter() - began)
            await asyncio.to_thread(self.floor.detach)
        return took

    def _held_kib(self) -> int:
        return footprint(self.running.process.pid).rss_kib


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scale", type=float, default=1.0, help="how much of each harm is done (%(default)s)")


def run(given: argparse.Namespace) -> int:
    with TemporaryDirectory(prefix="np-", dir="/run") as directory:
        return _show(asyncio.run(measure(Path(directory), given.scale)))


def _show(waited: Sequence[Waited]) -> int:
    quiet, failed = waited[0], False
    table = Table(title="What others wait for meanwhile; milliseconds")
    table.add_column("meanwhile")
    for column in ("Attach p50", "p95", "times quiet", "floor's", "repair p50", "times quiet", "memory (MiB)"):
        table.add_column(column, justify="right")
    for each in waited:
        attached, repaired = median(each.attach_s), median(each.repair_s)
        times = attached / median(quiet.attach_s)
        failed |= times > each.most_longer or each.grown_kib > GROWTH_MOST_KIB
        table.add_row(
            each.harm,
            f"{attached * 1e3:.1f}",
            f"{quantiles(each.attach_s, n=20)[-1] * 1e3:.1f}",
            f"{times:.1f}",
            f"{median(each.floor_s) / median(quiet.floor_s):.1f}",
            f"{repaired * 1e3:.1f}",
            f"{repaired / median(quiet.repair_s):.1f}",
            f"{each.grown_kib / 1024:+.0f}",
        )
    Console(highlight=False, width=_WIDTH).print(table)
    return int(failed)
