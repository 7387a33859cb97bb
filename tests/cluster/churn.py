"""What goes on beside whatever is done to a cluster: workloads that come and go, and traffic of which nothing may be
lost."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from tempfile import TemporaryFile

from netplumb.api.client.errors import Unreachable
from tests.e2e.hosts import Host
from tests.e2e.nodes import Machine
from tests.e2e.pings import Pinging, pinging
from tests.e2e.streams import TcpStream
from tests.e2e.wishes import attach, detach, texts

PATIENCE_S = 60.0  # of a machine on which others make links too


@dataclass(slots=True)
class Churn:
    """How often a workload was attached and detached, and what addresses it had."""

    rounds: int = 0
    given: set[str] = field(default_factory=set)


@asynccontextmanager
async def churning(machine: Machine, number: int = 0) -> AsyncIterator[Churn]:
    """Attaches and detaches one workload again and again; an error is the test's, but while no daemon runs."""
    churn = Churn()
    host = machine.workload(f"churn{machine.number}-{number}")
    task = asyncio.ensure_future(_churn(machine, host, churn))
    try:
        yield churn
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _churn(machine: Machine, host: Host, churn: Churn) -> None:
    while True:
        with suppress(Unreachable):
            async with machine.daemon.client(timeout_s=PATIENCE_S) as client:
                churn.given |= set(texts(await client.attach(attach(host))))
                await client.detach(detach(host.name, host.path))
            churn.rounds += 1
        await asyncio.sleep(0.05)


@dataclass(slots=True)
class Flow:
    """A stream and a ping from one workload to an address of another."""

    stream: TcpStream
    ping: Pinging


@asynccontextmanager
async def flowing(source: Host, target: Host, addresses: Sequence[str]) -> AsyncIterator[None]:
    """From one workload to each address of another, until the block ends; then not a byte or a packet was lost."""
    flows = []
    async with AsyncExitStack() as stack:
        for address in addresses:
            stream = stack.enter_context(TcpStream(source, target, address))
            flows.append(Flow(stream, await stack.enter_async_context(pinging(source, address))))
        yield
    for flow in flows:
        assert flow.stream.error is None, flow.stream.error
        assert flow.stream.received > 0
        assert flow.ping.received > 0, flow.ping.said
        assert flow.ping.lost == 0, flow.ping.said


@contextmanager
def none_deleted(host: Host, destinations: Sequence[str]) -> Iterator[None]:
    """The kernel deletes no route to any of these meanwhile, not even to add it again."""
    with TemporaryFile("w+") as said:
        monitor = subprocess.Popen(host.command("ip", "monitor", "route"), stdout=said, stderr=said)
        try:
            yield
        finally:
            monitor.terminate()
            monitor.wait()
        said.seek(0)
        gone = [line for line in said if line.startswith("Deleted") and line.split()[1] in destinations]
        assert gone == []
