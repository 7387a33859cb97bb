"""A server over fake workloads, on a socket whose path is short enough wherever pytest keeps its own files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.server.server import Server, serve
from tests.unit.api.fake import FakeWorkloads, view


@pytest.fixture
def socket_path() -> Iterator[Path]:
    with TemporaryDirectory() as directory:
        yield Path(directory, "workloadnet.sock")


@pytest.fixture
async def workloads() -> FakeWorkloads:
    return FakeWorkloads(view("web-1"))


@pytest.fixture
async def server(workloads: FakeWorkloads, socket_path: Path) -> AsyncIterator[Server]:
    running = await serve(workloads, socket_path=socket_path, mode=0o660, group=None, healthy=lambda: True)
    yield running
    await running.stop(0)


@pytest.fixture
async def client(server: Server, socket_path: Path) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(socket_path, timeout_s=5.0) as connected:
        yield connected
