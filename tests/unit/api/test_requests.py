"""Requests that are broken, too many or too large, over a real socket: each is refused in words, and costs little."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeAlias

import grpc
import pytest

from netplumb.api import wishes
from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.client.errors import ClientError
from netplumb.api.errors import ANSWERED
from netplumb.api.server import servicer
from netplumb.api.server.server import CALLS_MAX, REQUEST_MAX_BYTES, SERVICE, Server
from netplumb.api.unixsocket import why_unreachable
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.models.errors import InvalidRequest
from tests.e2e.frames import END_HEADERS, HEADERS, OPENING, call_headers, frame, said
from tests.unit.api.fake import FakeWorkloads
from tests.unit.api.test_wishes_and_answers import attach_request
from tests.unit.recorder import until

BROKEN = {
    "a tag without its value": b"\x0a",
    "a length beyond the end": b"\x0a\x7fweb",
    "a group that does not end": b"\x0b",
    "an endless varint": b"\x80" * 20,
    "nonsense": b"\xff\xff\xff",
}
RawCall: TypeAlias = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
RawStream: TypeAlias = grpc.aio.UnaryStreamMultiCallable[bytes, bytes]
METHODS = [method.name for method in pb.DESCRIPTOR.services_by_name["WorkloadNetworking"].methods]


@pytest.fixture
async def channel(server: Server, socket_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"unix:{socket_path}") as opened:
        yield opened


async def status_of(channel: grpc.aio.Channel, method: str, request: bytes) -> grpc.aio.AioRpcError:
    """The error that raw bytes are answered with."""
    path = f"/{SERVICE}/{method}"
    stream: RawStream = channel.unary_stream(path)
    call: RawCall = channel.unary_unary(path)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (anext(aiter(stream(request, timeout=5))) if method == "Watch" else call(request, timeout=5))
    return caught.value


@pytest.mark.parametrize("method", METHODS)
async def test_bytes_that_are_no_message_are_an_invalid_argument(
    channel: grpc.aio.Channel, workloads: FakeWorkloads, method: str
) -> None:
    """Of every method; the answer names the message and nothing of Python, and nothing reaches the workloads."""
    for request in BROKEN.values():
        error = await status_of(channel, method, request)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert (error.details() or "").startswith(f"the request is not a netplumb.v1.{method}Request: ")
        assert "class" not in (error.details() or "")
        assert ANSWERED in tuple(error.trailing_metadata())
    assert workloads.asked == []


async def test_text_that_is_not_utf8_is_an_invalid_argument(channel: grpc.aio.Channel) -> None:
    error = await status_of(channel, "Get", b"\x0a\x02\xc3\x28")
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "UTF-8" in (error.details() or "")


async def test_a_request_beyond_the_limit_is_refused_unread(channel: grpc.aio.Channel) -> None:
    """RESOURCE_EXHAUSTED, for one that is large and for one that would be when decompressed."""
    large = bytes(REQUEST_MAX_BYTES + 1)
    assert (await status_of(channel, "Attach", large)).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    call: RawCall = channel.unary_unary(f"/{SERVICE}/Attach")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(bytes(64 << 20), timeout=30, compression=grpc.Compression.Gzip)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_thousands_of_calls_at_once_are_all_answered(socket_path: Path, server: Server) -> None:
    """gRPC's own limit cancels calls at random from the thousandth waiting one on: a node that starts, or one noisy
    client, would cost others their calls. A client holds back what the daemon would refuse of one connection."""
    async with AsyncClient(socket_path, timeout_s=60) as one, AsyncClient(socket_path, timeout_s=60) as other:
        answers = await asyncio.gather(*(client.status() for client in (one, other) for _ in range(2000)))
    assert all(answer.ready for answer in answers)


async def test_calls_beyond_the_limit_of_a_connection_are_refused_and_no_others(
    channel: grpc.aio.Channel, client: AsyncClient, workloads: FakeWorkloads
) -> None:
    """They are UNAVAILABLE, which says to try again; who has another connection is served."""
    workloads.gate = asyncio.Event()
    call: RawCall = channel.unary_unary(f"/{SERVICE}/Attach")
    request = attach_request().SerializeToString()
    calls = [call(request, timeout=30) for _ in range(2 * CALLS_MAX)]
    await asyncio.wait_for(workloads.attaching.wait(), 10)
    assert (await client.status()).ready
    workloads.gate.set()
    codes = Counter([await one.code() for one in calls])
    assert codes[grpc.StatusCode.OK] >= CALLS_MAX
    assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_call_that_ends_grpcs_server_does_not_end_the_api(
    client: AsyncClient, server: Server, workloads: FakeWorkloads, socket_path: Path
) -> None:
    """gRPC's own loop fails at a path that is not UTF-8. Another takes over, every time; clients find it, and a call
    in flight is answered."""
    workloads.gate = asyncio.Event()
    waiting = asyncio.ensure_future(client.attach(attach_request()))
    await asyncio.wait_for(workloads.attaching.wait(), 5)
    block = call_headers("Attach").replace(b"Attach", b"\xc4ttach")
    for _ in range(2):
        with said(socket_path, OPENING + frame(HEADERS, block, flags=END_HEADERS, stream=1)):
            await until(lambda: why_unreachable(socket_path) is not None)
            workloads.gate.set()
            assert (await waiting).attachment.phase == "Attached"
            async with AsyncClient(socket_path, timeout_s=10) as another:
                assert (await another.status()).ready
    assert list(socket_path.parent.iterdir()) == [socket_path]


async def test_watches_are_limited(
    client: AsyncClient, workloads: FakeWorkloads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more than the limit is RESOURCE_EXHAUSTED; when one ends, another has its place."""
    monkeypatch.setattr(servicer, "STREAMS_MAX", 2)
    first, second = client.watch(), client.watch()
    for watch in (first, second):
        await anext(watch)
    with pytest.raises(ClientError, match="2 streams are open already") as caught:
        await anext(client.watch())
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    workloads.unwatched.clear()
    await first.aclose()  # type: ignore[attr-defined]
    await asyncio.wait_for(workloads.unwatched.wait(), 5)
    await asyncio.sleep(0)
    assert (await anext(client.watch())).change == pb.WatchResponse.PRESENT


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (attach_request(addresses=["::"] * 17), "addresses: has more than 16 entries"),
        (attach_request(routes=[pb.Route()] * 257), "routes: has more than 256 entries"),
        (attach_request(port_mappings=[pb.PortMapping()] * 1025), "port_mappings: has more than 1024 entries"),
        (attach_request(dns=pb.DNS(servers=[""] * 17)), "dns.servers: has more than 16 entries"),
        (attach_request(dns=pb.DNS(searches=[" "] * 33)), "dns.searches"),
        (attach_request(labels={f"\n{n}": "" for n in range(65)}), "labels: has more than 64 entries"),
        (attach_request(sysctls={str(n): "" for n in range(65)}), "sysctls: has more than 64 entries"),
    ],
)
def test_of_too_many_entries_none_is_looked_at(request_: pb.AttachRequest, message: str) -> None:
    """Half a million wrong entries fit a request; wording a mistake for each would hold the daemon up for seconds."""
    with pytest.raises(InvalidRequest, match=message.replace(".", r"\.")):
        wishes.attachment_spec(request_)


@pytest.mark.parametrize(
    "text", ["fe80::1%\n", "fe80::1%eth0\nnameserver 192.0.2.66", "fe80::1%" + "x" * 16, "::1%\x1b[31m"]
)
def test_an_address_brings_no_text_along(text: str) -> None:
    """Behind the % of an IPv6 address Python takes anything; resolv.conf and a terminal must not get it."""
    with pytest.raises(InvalidRequest, match=r"dns\.servers\[0\]"):
        wishes.attachment_spec(attach_request(dns=pb.DNS(servers=[text])))
    with pytest.raises(InvalidRequest, match=r"routes\[0\]"):
        wishes.attachment_spec(attach_request(routes=[pb.Route(dst="fd00::/8", gw=text)]))
    with pytest.raises(InvalidRequest, match=r"routes\[0\]\.dst"):
        wishes.attachment_spec(attach_request(routes=[pb.Route(dst=f"{text}/128")]))
    with pytest.raises(InvalidRequest, match=r"addresses"):
        wishes.attachment_spec(attach_request(addresses=[text]))


def test_a_link_local_name_server_may_name_its_interface() -> None:
    (server,) = wishes.attachment_spec(attach_request(dns=pb.DNS(servers=["fe80::53%eth0"]))).dns.servers
    assert str(server) == "fe80::53%eth0"


def test_annotations_may_be_as_large_as_kubernetes_allows() -> None:
    """256 KiB of them, keys of 317 characters, values of several lines: no reason to refuse a workload its network."""
    annotations = {
        f"{'d' * 253}/{'n' * 63}": "x" * 1000,
        "kubectl.kubernetes.io/last-applied-configuration": "{\n" + "y" * (255 << 10) + "}\n",
    }
    request = attach_request(annotations=annotations)
    assert request.ByteSize() < REQUEST_MAX_BYTES
    wishes.attachment_spec(request)
