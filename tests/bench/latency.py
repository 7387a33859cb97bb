"""`python -m tests.bench latency`: Attach and Detach of the real daemon beside their floor, all in one run.

Exits with 1 when a number is beyond what is done.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.calls import connected
from tests.bench.floor import floor
from tests.bench.loopbacks import loopbacks
from tests.bench.plugin import Plugin
from tests.bench.report import show, write
from tests.bench.results import guarded, results
from tests.bench.rounds import Bench, Samples
from tests.bench.servers import daemon, nothing
from tests.e2e.hosts import Host, temporary

WARM_UP_ROUNDS = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="where the numbers go (%(default)s)")
    parser.add_argument("--rounds", type=int, default=4, help="rounds that count (%(default)s)")
    parser.add_argument("--workloads", type=int, default=200, help="attachments a round (%(default)s)")
    parser.add_argument("--clients", type=int, default=16, help="concurrent clients (%(default)s)")
    parser.add_argument("--guard", action="store_true", help="judge an Attach by its best round alone, as CI does")


def run(given: argparse.Namespace) -> int:
    load_before = os.getloadavg()[0]
    with TemporaryDirectory(prefix="np-", dir="/run") as directory:
        work = measure(Path(directory), rounds=given.rounds, workloads=given.workloads, clients=given.clients)
        samples = asyncio.run(work)
    if given.guard:
        verdict = guarded(samples)
        print(verdict.words)
        return int(verdict.failed)
    found = results(samples, given.clients)
    show(found, load_before)
    write(found, load_before, given.json)
    return 1 if found.failed else 0


async def measure(directory: Path, *, rounds: int, workloads: int, clients: int) -> Samples:
    async with AsyncExitStack() as stack:

        def hosts(prefix: str) -> list[Host]:
            return [stack.enter_context(temporary(f"{prefix}-{number}")) for number in range(workloads)]

        node, floor_node = (stack.enter_context(temporary(name)) for name in ("node", "floor-node"))
        mine, floors = hosts("workload"), hosts("floor")
        running = await stack.enter_async_context(daemon(node, directory / "daemon"))
        idle = stack.enter_context(nothing(directory))
        bench = Bench(
            floor=stack.enter_context(floor(floor_node, floors)),
            workloads=mine,
            as_new=stack.enter_context(loopbacks([*mine, *floors])),
            one=await stack.enter_async_context(connected(running.socket, 1)),
            many=await stack.enter_async_context(connected(running.socket, clients)),
            nothing=await stack.enter_async_context(connected(idle, clients)),
            plugin=Plugin.of(running),
        )
        samples = Samples()
        for number in range(WARM_UP_ROUNDS + rounds):
            await bench.round(samples if number >= WARM_UP_ROUNDS else Samples())
        return samples
