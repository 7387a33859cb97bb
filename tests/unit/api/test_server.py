"""The socket is put in place safely and taken away; health and reflection are served."""

# ruff: noqa: ASYNC240 - these tests look at files while nothing else runs on the loop
from __future__ import annotations

import asyncio
import grp
import os
import socket
import stat
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.server import server as server_module
from netplumb.api.server.server import SERVICE, Server, serve
from netplumb.api.unixsocket import SocketUnusable, publish, staged, why_unreachable
from tests.unit.api.fake import FakeWorkloads
from tests.unit.recorder import until


async def start(workloads: FakeWorkloads, path: Path, mode: int = 0o600, group: str | None = None) -> Server:
    return await serve(workloads, socket_path=path, mode=mode, group=group, healthy=lambda: True)


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
async def test_the_socket_has_the_mode_asked_for(workloads: FakeWorkloads, socket_path: Path, mode: int) -> None:
    """Whatever the umask; and nothing but the socket is left beside it."""
    before = os.umask(0o777 & ~mode | 0o077)
    try:
        running = await start(workloads, socket_path, mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE(socket_path.stat().st_mode) == mode
    assert list(socket_path.parent.iterdir()) == [socket_path]
    await running.stop(0)


def test_the_socket_is_bound_where_only_we_may_enter(socket_path: Path) -> None:
    """So there is no moment at which its mode could be too wide."""
    with staged(socket_path) as place:
        assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
        assert place.parent.parent == socket_path.parent


async def test_the_socket_has_the_group_asked_for(workloads: FakeWorkloads, socket_path: Path) -> None:
    group = grp.getgrgid(os.getgid())
    running = await start(workloads, socket_path, group=group.gr_name)
    assert socket_path.stat().st_gid == group.gr_gid
    await running.stop(0)


async def test_an_unknown_group_is_refused_and_leaves_nothing(workloads: FakeWorkloads, socket_path: Path) -> None:
    with pytest.raises(SocketUnusable, match="no group 'nobody-has-this'"):
        await start(workloads, socket_path, group="nobody-has-this")
    assert list(socket_path.parent.iterdir()) == []


async def test_a_stale_socket_is_replaced(workloads: FakeWorkloads, socket_path: Path) -> None:
    """A daemon that was killed leaves its socket behind; the next one starts all the same."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(socket_path))
    running = await start(workloads, socket_path)
    async with AsyncClient(socket_path, timeout_s=5) as client:
        assert (await client.status()).ready
    await running.stop(0)


async def test_what_is_not_a_socket_is_left_alone(workloads: FakeWorkloads, socket_path: Path) -> None:
    socket_path.write_text("precious")
    with pytest.raises(SocketUnusable, match="is not a socket"):
        await start(workloads, socket_path)
    assert socket_path.read_text() == "precious"


def test_what_comes_while_the_server_starts_is_left_alone(socket_path: Path) -> None:
    """Between the first look at the path and the last step, somebody else may have put something there."""
    for precious in ("file", "live socket"):
        with socket.socket(socket.AF_UNIX) as ours, socket.socket(socket.AF_UNIX) as theirs:
            with staged(socket_path) as place:
                ours.bind(str(place))
                if precious == "file":
                    socket_path.write_text(precious)
                else:
                    theirs.bind(str(socket_path))
                    theirs.listen()
                inode = socket_path.stat().st_ino
                with pytest.raises(SocketUnusable):
                    publish(place, socket_path, 0o600, None)
            assert socket_path.stat().st_ino == inode
            assert list(socket_path.parent.iterdir()) == [socket_path]
            socket_path.unlink()


async def test_a_symbolic_link_is_left_alone(workloads: FakeWorkloads, socket_path: Path) -> None:
    socket_path.symlink_to("/dev/null")
    with pytest.raises(SocketUnusable, match="is not a socket"):
        await start(workloads, socket_path)
    assert socket_path.is_symlink()


async def test_a_socket_on_which_a_daemon_answers_is_refused(
    workloads: FakeWorkloads, socket_path: Path, server: Server
) -> None:
    """And the first daemon keeps its clients."""
    with pytest.raises(SocketUnusable, match="another daemon answers on it"):
        await start(workloads, socket_path)
    async with AsyncClient(socket_path, timeout_s=5) as client:
        assert (await client.status()).ready


def test_a_daemon_too_busy_to_accept_is_still_one_that_answers(socket_path: Path) -> None:
    """A full backlog says that somebody listens; nobody may take over."""
    with socket.socket(socket.AF_UNIX) as busy, ExitStack() as waiting:
        busy.bind(str(socket_path))
        busy.listen(0)
        for _ in range(3):
            client = waiting.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            with suppress(BlockingIOError):
                client.connect(str(socket_path))
        assert why_unreachable(socket_path) is None
        with pytest.raises(SocketUnusable, match="another daemon answers"), staged(socket_path):
            pass


async def test_a_path_that_is_too_long_is_refused(workloads: FakeWorkloads, socket_path: Path) -> None:
    with pytest.raises(SocketUnusable, match="longer than the 107 bytes"):
        await start(workloads, socket_path.with_name("s" * 108))


async def test_a_directory_that_cannot_be_made_is_refused(workloads: FakeWorkloads, socket_path: Path) -> None:
    socket_path.write_text("")
    with pytest.raises(SocketUnusable, match=r"File exists|Not a directory"):
        await start(workloads, socket_path / "below")


async def test_odd_characters_in_the_path(workloads: FakeWorkloads, socket_path: Path) -> None:
    """gRPC reads addresses as URIs; a path is taken as it is."""
    odd = socket_path.with_name("a b%20?#é.sock")
    running = await start(workloads, odd)
    assert stat.S_ISSOCK(odd.stat().st_mode)
    async with AsyncClient(odd, timeout_s=5) as client:
        assert (await client.status()).ready
    await running.stop(0)


async def test_the_socket_goes_when_the_server_stops(workloads: FakeWorkloads, socket_path: Path) -> None:
    running = await start(workloads, socket_path)
    await running.stop(0)
    assert not socket_path.exists()


async def test_a_stop_leaves_what_took_the_sockets_place(workloads: FakeWorkloads, socket_path: Path) -> None:
    """A server removes its own socket and no other."""
    running = await start(workloads, socket_path)
    socket_path.unlink()
    second = await start(workloads, socket_path)
    await running.stop(0)
    async with AsyncClient(socket_path, timeout_s=5) as client:
        assert (await client.status()).ready
    await second.stop(0)


async def test_a_server_that_listens_is_not_connected_to(
    workloads: FakeWorkloads, socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether clients can connect is told without a connection, which an idle node would pay for all day."""
    connected: list[Path] = []

    def connect(path: Path) -> None:
        connected.append(path)

    monkeypatch.setattr(server_module, "REACHABLE_POLL_S", 0.001)
    monkeypatch.setattr(server_module, "why_unreachable", connect)
    running = await start(workloads, socket_path)
    await asyncio.sleep(0.05)
    assert not connected
    socket_path.unlink()
    await until(lambda: bool(connected))
    await running.stop(0)


async def test_a_stop_while_another_server_takes_over_comes_to_an_end(
    workloads: FakeWorkloads, socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if gRPC swallows the cancellation, as `wait_for` of Python 3.11 may; and no socket is left."""
    kind = type(grpc.aio.server())
    stop, retiring = kind.stop, asyncio.Event()

    async def swallowing(failed: grpc.aio.Server, grace_s: float | None) -> None:
        if grace_s == server_module.RETIRED_GRACE_S:
            retiring.set()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        await stop(failed, grace_s)

    monkeypatch.setattr(server_module, "REACHABLE_POLL_S", 0.001)
    running = await start(workloads, socket_path)
    monkeypatch.setattr(kind, "stop", swallowing)
    socket_path.unlink()
    await asyncio.wait_for(retiring.wait(), 10)
    await asyncio.wait_for(running.stop(0), 10)
    assert not socket_path.exists()


async def test_health_follows_the_daemon(
    workloads: FakeWorkloads, socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the server as a whole and for the service; a check that fails itself is not healthy."""
    monkeypatch.setattr(server_module, "HEALTH_POLL_S", 0.001)
    states = {"healthy": True}
    running = await serve(workloads, socket_path=socket_path, mode=0o600, group=None, healthy=lambda: states["healthy"])
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    async with grpc.aio.insecure_channel(f"unix:{socket_path}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watches = [aiter(stub.Watch(health_pb2.HealthCheckRequest(service=service))) for service in ("", SERVICE)]

        async def statuses() -> list[int]:
            return [(await anext(watch)).status for watch in watches]

        assert await statuses() == [serving] * 2
        states["healthy"] = False
        assert await statuses() == [not_serving] * 2
        states["healthy"] = True
        assert await statuses() == [serving] * 2
        del states["healthy"]
        assert await statuses() == [not_serving] * 2
    await running.stop(0)


async def test_reflection_names_the_service(server: Server, socket_path: Path) -> None:
    async with grpc.aio.insecure_channel(f"unix:{socket_path}") as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[arg-type]
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        answer = await anext(aiter(call))
    names = {service.name for service in answer.list_services_response.service}
    assert {"netplumb.v1.WorkloadNetworking", "grpc.health.v1.Health"} <= names
