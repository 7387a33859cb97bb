"""`python -m tests.bench peers`: netplumb side by side with others that give a workload its network, in one run. A
plain server in Go by the same gRPC calls, the reference CNI plugins, and netavark: each on a node of its own, workload
by workload in turn, so that what else the machine does meets all of them.

It wants root, Debian's packages of them and the compiled plugin (`make bench-peers` sees to that).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.cni.programs import COMPILED
from tests.bench.calls import Call, attach, connected, detach, timed
from tests.bench.floor import floor
from tests.bench.loopbacks import loopbacks
from tests.bench.objects import POOLS
from tests.bench.peers import goserver, programs
from tests.bench.peers.measured import Beside, Measured, Row, record, times
from tests.bench.peers.report import show
from tests.bench.servers import daemon, nothing
from tests.e2e.hosts import Host, temporary
from tests.footprint import cpu_s

SETTLE_S = 0.3
PLAIN = "An address of each family, routes, masquerading: by gRPC, one call at a time and many clients"
PROCESS = "The same by a program, as a runtime starts it"
FEATURES = "The same with a mapped port and limits of bandwidth, by programs"
BESIDE_SAMPLES = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workloads", type=int, default=100, help="attachments a round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count (%(default)s)")
    parser.add_argument("--clients", type=int, default=16, help="concurrent clients (%(default)s)")
    parser.add_argument("--program-calls", type=int, default=30, help="runs of each program a round (%(default)s)")
    parser.add_argument("--beside", default="0,500,1000,2000", help="beside how many others (%(default)s)")
    parser.add_argument("--record", action="store_true", help="keep the numbers for docs/performance.md")


def run(given: argparse.Namespace) -> int:
    load = os.getloadavg()[0]
    machine = f"Linux {platform.release()}, {os.cpu_count()} CPUs, {_python()}, load {load:.1f}"
    with TemporaryDirectory(prefix="np-", dir="/run") as directory:
        found = asyncio.run(measure(Path(directory), given, f"{machine} before"))
    show(found)
    if given.record:
        record(found)
    return 0


def _python() -> str:
    whose = "the distribution's " if sys.base_prefix == "/usr" else ""
    return f"{whose}Python {platform.python_version()}"


@dataclass(slots=True)
class Server:
    """One that answers Attach and Detach, its clients, its workloads, and what was measured of it."""

    name: str
    pid: int
    clients: Sequence[AsyncClient]
    workloads: Sequence[Host]
    attaches: list[float] = field(default_factory=list)
    detaches: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    attach_rates: list[float] = field(default_factory=list)
    detach_rates: list[float] = field(default_factory=list)

    def row(self) -> Row:
        rates = (round(median(it)) for it in (self.attach_rates, self.detach_rates))
        return Row(self.name, times(self.attaches), times(self.detaches), round(median(self.cpu) * 1e3, 3), *rates)


async def measure(directory: Path, given: argparse.Namespace, machine: str) -> Measured:
    steps = [int(it) for it in given.beside.split(",")]
    async with AsyncExitStack() as stack:

        def hosts(prefix: str, count: int) -> list[Host]:
            return [stack.enter_context(temporary(f"{prefix}-{number}")) for number in range(count)]

        nodes = hosts("node", 5)
        running = await stack.enter_async_context(daemon(nodes[0], directory / "daemon", POOLS))
        peer = stack.enter_context(goserver.serving(goserver.built(directory), nodes[1], directory / "peer.sock"))
        servers = []
        for name, pid, socket in (
            ("netplumb", running.process.pid, running.socket),
            ("Go peer", peer, directory / "peer.sock"),
        ):
            clients = await stack.enter_async_context(connected(socket, given.clients))
            servers.append(Server(name, pid, clients, hosts(name[0], given.workloads)))
        floors = hosts("floor", given.workloads)
        assembled = stack.enter_context(floor(nodes[2], floors))
        idle = await stack.enter_async_context(connected(stack.enter_context(nothing(directory)), 1))
        as_new = stack.enter_context(loopbacks([*floors, *(it for server in servers for it in server.workloads)]))
        floor_times: list[float] = []
        for number in range(given.rounds + 1):
            if number == 1:  # the first is to warm up
                floor_times.clear()
                for server in servers:
                    for samples in (server.attaches, server.detaches, server.cpu, server.attach_rates):
                        samples.clear()
                    server.detach_rates.clear()
            as_new()
            call = (await timed(idle, [attach(it) for it in floors])).each
            floor_times += [a + b for a, b in zip(assembled.attach(), call, strict=True)]
            assembled.detach()
            as_new()
            await _one_client(servers if number % 2 else servers[::-1])
            as_new()
            await _many_clients(servers if number % 2 else servers[::-1])
        count = given.program_calls
        dirs = [directory / name for name in ("leases", "more-leases", "netavark")]
        for each in dirs:
            each.mkdir()
        plain = [
            programs.netplumb(running, hosts("p", count), COMPILED, features=False),
            programs.netplumb(running, hosts("u", count), None, features=False),
            programs.ptp(nodes[3], hosts("q", count), dirs[0], features=False),
            programs.netavark(nodes[4], hosts("r", count), dirs[2]),
        ]
        featured = [
            programs.netplumb(running, hosts("s", count), COMPILED, features=True),
            programs.ptp(nodes[3], hosts("t", count), dirs[1], features=True),
        ]
        groups = {PLAIN: [server.row() for server in servers], PROCESS: _programs(plain, count, given.rounds)}
        groups[FEATURES] = _programs(featured, count, given.rounds)
        beside = [Beside(steps[0], *await _beside(servers))] if steps[0] == 0 else []
        for before, now in pairwise(steps):
            for server in servers:
                fill = [Host(f"{server.name[0]}x-{number}") for number in range(before, now)]
                for it in fill:
                    stack.callback(it.create().remove)
                await timed(server.clients, [attach(it) for it in fill])
            beside.append(Beside(now, *await _beside(servers)))
        return Measured(machine, given.clients, times(floor_times), groups, beside)


async def _one_client(servers: Sequence[Server]) -> None:
    for make, samples in ((attach, "attaches"), (detach, "detaches")):
        await asyncio.sleep(SETTLE_S)
        before = [cpu_s(server.pid) for server in servers]
        for number in range(len(servers[0].workloads)):
            for server in servers:
                taken = await timed(server.clients[:1], [make(server.workloads[number])])
                getattr(server, samples).extend(taken.each)
        await asyncio.sleep(SETTLE_S)
        if make is attach:
            for server, spent in zip(servers, before, strict=True):
                server.cpu.append((cpu_s(server.pid) - spent) / len(server.workloads))


async def _many_clients(servers: Sequence[Server]) -> None:
    for server in servers:
        for make, rates in ((attach, server.attach_rates), (detach, server.detach_rates)):
            await asyncio.sleep(SETTLE_S)
            rates.append((await timed(server.clients, _calls(make, server.workloads))).rate)


def _calls(make: Callable[[Host], Call], workloads: Sequence[Host]) -> list[Call]:
    return [make(workload) for workload in workloads]


async def _beside(servers: Sequence[Server]) -> list[float]:
    """Of each server the median and the CPU of an attachment, in milliseconds, as things stand."""
    probing = [Server(it.name, it.pid, it.clients, it.workloads[:BESIDE_SAMPLES]) for it in servers]
    for _ in range(2):
        await _one_client(probing)
    return [round(it * 1e3, 3) for server in probing for it in (median(server.attaches), median(server.cpu))]


def _programs(contestants: Sequence[programs.Program], count: int, rounds: int) -> list[Row]:
    found = programs.in_turn(contestants, count, rounds)
    return [Row(it.name, times(a.each), times(d.each)) for it, (a, d) in zip(contestants, found, strict=True)]
