"""A short soak; `make soak` attaches and detaches 40,000 times."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.bench.calls import connected
from tests.bench.servers import daemon
from tests.bench.soak import POOLS, Look, Soaked, made, soak
from tests.e2e.hosts import temporary
from tests.footprint import Footprint

CYCLES, CLIENTS, WORKLOADS = 500, 8, 16
THREADS_FREE = 14  # eight that remove and six that look: a thread is begun when so many are busy at once, and stays
SLOPE_MOST_BYTES = 2048.0  # so few cycles do not tell a small leak from what Python's heap does by itself


@pytest.mark.sweep
@pytest.mark.timeout(900)
async def test_attaching_and_detaching_leaves_the_daemon_as_it_was() -> None:
    """Hundreds of attachments that come and go cost the daemon no memory, descriptor or thread."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="np-")))
        node = stack.enter_context(temporary("node"))
        hosts = made(stack, "workload", WORKLOADS)
        running = await stack.enter_async_context(daemon(node, directory, POOLS))
        clients = await stack.enter_async_context(connected(running.socket, CLIENTS))
        soaked = await soak(running.process.pid, clients, hosts, CYCLES)
    assert soaked.looks[-1].cycles == CYCLES
    assert soaked.growing(SLOPE_MOST_BYTES, THREADS_FREE) == []


FLAT = Footprint(rss_kib=80_000, fds=57, threads=15)
LEAKS = {
    "memory": Footprint(rss_kib=82_000, fds=57, threads=15),
    "descriptors": Footprint(rss_kib=80_000, fds=58, threads=15),
    "threads": Footprint(rss_kib=80_000, fds=57, threads=18),
}


@pytest.mark.parametrize(("what", "held"), LEAKS.items(), ids=LEAKS)
def test_a_leak_is_seen(what: str, held: Footprint) -> None:
    """One descriptor, a few threads, or 100 bytes a cycle of the long soak do not pass as flat."""
    assert Soaked([Look(0, FLAT, 0), Look(20_000, FLAT, 0)]).growing() == []
    (words,) = Soaked([Look(0, FLAT, 0), Look(20_000, held, 0)]).growing()
    assert what in words
