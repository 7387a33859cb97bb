"""The plugin's socket against clients that behave and clients that do not, over networks without a kernel."""

# ruff: noqa: ASYNC240 - these tests look at files while nothing else runs on the loop
from __future__ import annotations

import asyncio
import json
import socket
import stat
from collections.abc import AsyncIterator, Set
from pathlib import Path
from typing import Any

import pytest

from netplumb.api.cni import server as server_module
from netplumb.api.cni.accepting import A_TURN, REST_S
from netplumb.api.cni.server import CniServer
from netplumb.api.cni.service import Service
from netplumb.api.cni.wire import REQUEST_MAX_BYTES
from netplumb.api.unixsocket import SocketUnusable
from netplumb.models.attachment import AttachmentKey, AttachmentSpec
from netplumb.models.errors import NotFound
from netplumb.models.status import AttachmentView, CheckReport, NodeStatus
from tests.unit.api.fake import NODE_STATUS, view_of

ENVIRONMENT = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_NETNS": "/run/netns/c1", "CNI_IFNAME": "eth0"}
DETAILS = "cni/cluster has no eth0 of c1 in /run/netns/c1"
CONFIG = b'{"cniVersion": "1.0.0", "name": "cluster"}'


class FakeNetworks:
    """Records what it is asked. `gate`, where set, is waited for by an attach; `error`, where set, is raised."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.attaching = asyncio.Event()
        self.gate: asyncio.Event | None = None
        self.error: Exception | None = None

    async def attach(self, source: str, spec: AttachmentSpec) -> AttachmentView:
        self.asked.append((source, spec.key))
        self.attaching.set()
        if self.error is not None:
            raise self.error
        if self.gate is not None:
            await self.gate.wait()
        return view_of(spec)

    async def detach(self, source: str, container_id: str, if_name: str, netns: str) -> None:
        self.asked.append((source, container_id, if_name, netns))

    async def check(self, source: str, container_id: str, if_name: str, netns: str) -> CheckReport:
        raise NotFound(f"{source} has no {if_name} of {container_id} in {netns}")

    async def gc(self, source: str, alive: Set[AttachmentKey]) -> None:
        self.asked.append((source, alive))

    def status(self, pool: str) -> NodeStatus:
        self.asked.append(pool)
        return NODE_STATUS


@pytest.fixture
def networks() -> FakeNetworks:
    return FakeNetworks()


@pytest.fixture
def path(socket_path: Path) -> Path:
    return socket_path.with_name("net.sock.cni")


@pytest.fixture
async def server(networks: FakeNetworks, path: Path) -> AsyncIterator[CniServer]:
    running = CniServer(Service(networks))
    await running.start(path, 0o660, None)
    yield running
    await running.stop(0)


def request(environment: dict[str, str] | None = None, config: bytes = CONFIG) -> bytes:
    pairs = {**ENVIRONMENT, **(environment or {})}.items()
    variables = b"\0".join(f"{name}={value}".encode() for name, value in pairs)
    return b"netplumb-cni 1 %d %d\n%s%s" % (len(variables), len(config), variables, config)


async def said(path: Path, data: bytes, *, end: bool = True) -> bytes:
    """All that the server answers to these bytes, until it closes the connection."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(data)
        if end:
            writer.write_eof()
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


def taken_apart(answer: bytes) -> tuple[int, Any]:
    """The exit status and what is printed, as JSON where there is anything."""
    head, _, body = answer.partition(b"\n")
    status, length = (int(word) for word in head.split())
    assert len(body) == length
    return status, json.loads(body) if body else None


@pytest.mark.parametrize("end", [True, False])
async def test_a_request_is_answered(server: CniServer, path: Path, end: bool) -> None:
    """Whether or not the client closes its direction, since the lengths tell the end."""
    status, result = taken_apart(await said(path, request(), end=end))
    assert status == 0
    assert [ip["address"] for ip in result["ips"]] == ["10.99.0.2/32", "fd99::2/128"]


async def test_a_request_in_pieces_is_answered(server: CniServer, path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(path)
    for byte in request():
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0)
    assert taken_apart(await reader.read())[0] == 0
    writer.close()


async def test_a_success_but_of_add_prints_nothing(server: CniServer, networks: FakeNetworks, path: Path) -> None:
    """No output on success is what the specification says of GC, and what plugins do for the others."""
    assert await said(path, request({"CNI_COMMAND": "DEL"})) == b"0 0\n"
    config = b'{"cniVersion": "1.1.0", "name": "cluster", "pool": "blue", "cni.dev/valid-attachments": []}'
    for command in ("GC", "STATUS"):
        assert await said(path, request({"CNI_COMMAND": command}, config)) == b"0 0\n"
    assert networks.asked == [("cni/cluster", "c1", "eth0", "/run/netns/c1"), ("cni/cluster", frozenset()), "blue"]


async def test_a_refusal_is_an_error_object(server: CniServer, path: Path) -> None:
    """With the version in use, the code, a short message and details; the plugin exits with 1."""
    config = b'{"cniVersion": "0.4.0", "name": "cluster", "prevResult": {}}'
    assert taken_apart(await said(path, request({"CNI_COMMAND": "CHECK"}, config))) == (
        1,
        {"cniVersion": "0.4.0", "code": 3, "msg": "the container is not attached", "details": DETAILS},
    )


async def test_a_mistake_of_ours_is_999(server: CniServer, networks: FakeNetworks, path: Path) -> None:
    """And its words stay in the log."""
    networks.error = RuntimeError("secret")
    answer = await said(path, request())
    assert taken_apart(answer)[1]["code"] == 999
    assert b"secret" not in answer


@pytest.mark.parametrize(
    "garbage",
    [
        b"\n",
        b"\0" * 100_000,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"netplumb-cni 2 0 0\n",
        b"netplumb-cni 1 99999999999 0\n",
    ],
)
async def test_garbage_is_told_so(server: CniServer, networks: FakeNetworks, path: Path, garbage: bytes) -> None:
    """Error 5, and nothing is carried out."""
    assert taken_apart(await said(path, garbage))[1]["code"] == 5
    assert networks.asked == []


async def test_a_huge_request_is_refused_unread(server: CniServer, path: Path) -> None:
    """By its header alone, so that it takes no memory."""
    answer = await said(path, b"netplumb-cni 1 0 %d\n" % (REQUEST_MAX_BYTES + 1), end=False)
    assert "larger than" in taken_apart(answer)[1]["details"]


async def test_the_largest_request_is_read(server: CniServer, path: Path) -> None:
    """A configuration of megabytes, as a pod with large annotations has."""
    padding = b" " * (REQUEST_MAX_BYTES - 1000)
    assert taken_apart(await said(path, request(config=CONFIG + padding)))[0] == 0


async def test_who_stalls_is_told_so(server: CniServer, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that says half a request and no more is not waited for without end."""
    monkeypatch.setattr(server_module, "REQUEST_WITHIN_S", 0.05)
    answer = await said(path, request()[:-5], end=False)
    assert taken_apart(answer)[1]["code"] == 5


async def test_who_says_nothing_is_sent_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the time that a request has."""
    monkeypatch.setattr(server_module, "REQUEST_WITHIN_S", 0.05)
    running = CniServer(Service(FakeNetworks()))
    await running.start(path, 0o660, None)
    assert await said(path, b"", end=False) == b""
    await running.stop(0)


async def test_half_a_request_of_a_client_that_died_does_nothing(
    server: CniServer, networks: FakeNetworks, path: Path
) -> None:
    """A runtime that kills its plugin in the middle asks for nothing."""
    for size in (0, 5, 20, len(request()) - 1):
        assert await said(path, request()[:size]) == b""
    assert networks.asked == []


async def test_a_client_that_leaves_is_carried_out_for(server: CniServer, networks: FakeNetworks, path: Path) -> None:
    """What it asked for is done; the next client is answered as if nothing had been."""
    networks.gate = asyncio.Event()
    _, writer = await asyncio.open_unix_connection(path)
    writer.write(request({"CNI_CONTAINERID": "gone"}))
    await networks.attaching.wait()
    writer.close()
    networks.gate.set()
    assert taken_apart(await said(path, request()))[0] == 0
    assert networks.asked == [("cni/cluster", ("gone", "eth0")), ("cni/cluster", ("c1", "eth0"))]


async def test_many_are_answered_at_once(server: CniServer, path: Path) -> None:
    answers = await asyncio.gather(*(said(path, request({"CNI_CONTAINERID": f"c{n}"})) for n in range(100)))
    assert [taken_apart(answer)[0] for answer in answers] == [0] * 100


async def test_nobody_is_kept_waiting_by_a_stalled_one(server: CniServer, path: Path) -> None:
    _, stalled = await asyncio.open_unix_connection(path)
    stalled.write(b"netplumb-cni 1 ")
    assert taken_apart(await said(path, request()))[0] == 0
    stalled.close()


@pytest.mark.parametrize("mode", [0o600, 0o660])
async def test_the_socket_has_the_mode_of_that_of_grpc(networks: FakeNetworks, path: Path, mode: int) -> None:
    """Whoever may connect may attach, so both are as open, and nothing else is left beside it."""
    running = CniServer(Service(networks))
    await running.start(path, mode, None)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert list(path.parent.iterdir()) == [path]
    await running.stop(0)
    assert not path.exists()


async def test_what_is_no_socket_is_left_alone(networks: FakeNetworks, path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(SocketUnusable, match="is not a socket"):
        await CniServer(Service(networks)).start(path, 0o600, None)
    assert path.read_text() == "mine"


async def test_a_dead_daemons_socket_is_replaced(networks: FakeNetworks, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    running = CniServer(Service(networks))
    await running.start(path, 0o600, None)
    assert taken_apart(await said(path, request()))[0] == 0
    await running.stop(0)


async def test_a_stop_lets_who_runs_finish(server: CniServer, networks: FakeNetworks, path: Path) -> None:
    """Within its grace; and nobody new gets in."""
    networks.gate = asyncio.Event()
    running = asyncio.create_task(said(path, request()))
    await networks.attaching.wait()
    stopping = asyncio.create_task(server.stop(5))
    await asyncio.sleep(0.01)
    with pytest.raises(FileNotFoundError):
        await asyncio.open_unix_connection(path)
    networks.gate.set()
    assert taken_apart(await running)[0] == 0
    await stopping


async def test_a_stop_ends_who_does_not_finish(server: CniServer, networks: FakeNetworks, path: Path) -> None:
    """Its plugin gets no answer, which it takes for a daemon that is away."""
    networks.gate = asyncio.Event()
    running = asyncio.create_task(said(path, request()))
    await networks.attaching.wait()
    await server.stop(0.01)
    assert await running == b""


async def test_who_stalls_longest_makes_room_for_the_next(
    server: CniServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many connect and say nothing, who comes with a request is answered at once."""
    monkeypatch.setattr(server._accepting, "_most", 4)
    stalled = [await asyncio.open_unix_connection(path) for _ in range(12)]
    try:
        status, _ = taken_apart(await said(path, request()))
        assert status == 0
        ended = [await asyncio.wait_for(reader.read(), 5) for reader, _ in stalled[:8]]
        assert ended == [b""] * 8
    finally:
        for _, writer in stalled:
            writer.close()


async def test_large_requests_wait_for_each_other_and_not_the_usual_ones(server: CniServer, path: Path) -> None:
    """Whoever announces one holds memory, so few are read at a time."""
    large = [await asyncio.open_unix_connection(path) for _ in range(server_module.LARGE_MAX)]
    try:
        for _, writer in large:
            writer.write(b"netplumb-cni 1 0 %d\n" % REQUEST_MAX_BYTES)
        await asyncio.sleep(0.05)
        one_more = asyncio.ensure_future(said(path, request(config=CONFIG + b" " * server_module.SMALL_BYTES)))
        status, _ = taken_apart(await said(path, request()))
        assert status == 0
        assert not one_more.done()
        large[0][1].close()
        status, _ = taken_apart(await one_more)
        assert status == 0
    finally:
        for _, writer in large:
            writer.close()


async def test_who_is_gone_again_is_not_served(server: CniServer, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who connects and closes costs no task; one behind hundreds of them is answered."""
    served: list[socket.socket] = []
    serve = server._connected

    async def counted(connection: socket.socket) -> None:
        served.append(connection)
        await serve(connection)

    assert server._accepting is not None
    monkeypatch.setattr(server._accepting, "_serve", counted)
    for _ in range(300):
        with socket.socket(socket.AF_UNIX) as knocking:
            knocking.connect(str(path))
    assert taken_apart(await said(path, request()))[0] == 0
    assert len(served) == 1


async def test_where_many_come_at_once_others_have_their_turns(server: CniServer, path: Path) -> None:
    """They are taken a few at a time, and all of them in the end."""
    knocking = [socket.socket(socket.AF_UNIX) for _ in range(5 * A_TURN)]
    try:
        for each in knocking:
            each.connect(str(path))
        await asyncio.sleep(REST_S / 2)
        assert server._accepting is not None
        assert len(server._accepting._silent) <= 2 * A_TURN
        assert taken_apart(await said(path, request()))[0] == 0
        assert len(server._accepting._silent) == len(knocking)
    finally:
        for each in knocking:
            each.close()
