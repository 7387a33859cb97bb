"""Calls to a server, one after the other or several at a time, with the time that each took."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TypeAlias

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.v1 import netplumb_pb2 as pb
from tests.e2e.hosts import Host

CALL_TIMEOUT_S = 60.0

Call: TypeAlias = Callable[[AsyncClient], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Timed:
    """How long each call took, and all of them together."""

    each: list[float]
    all: float

    @property
    def rate(self) -> float:
        return len(self.each) / self.all


@asynccontextmanager
async def connected(socket: Path, count: int) -> AsyncIterator[list[AsyncClient]]:
    """Clients with a connection each."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(AsyncClient(socket, CALL_TIMEOUT_S)) for _ in range(count)]


async def timed(clients: Sequence[AsyncClient], calls: Iterable[Call]) -> Timed:
    """Every client takes the next call when its last one is answered."""
    waiting = iter(calls)
    each: list[float] = []

    async def work(client: AsyncClient) -> None:
        for call in waiting:
            started = perf_counter()
            await call(client)
            each.append(perf_counter() - started)

    started = perf_counter()
    await asyncio.gather(*(work(client) for client in clients))
    return Timed(each, perf_counter() - started)


def attach(workload: Host) -> Call:
    request = pb.AttachRequest(workload_id=workload.name, netns=pb.NetNSAttachment(netns_path=workload.path))
    return lambda client: client.attach(request)


def detach(workload: Host) -> Call:
    request = pb.DetachRequest(workload_id=workload.name, netns=pb.NetNSAttachment(netns_path=workload.path))
    return lambda client: client.detach(request)
