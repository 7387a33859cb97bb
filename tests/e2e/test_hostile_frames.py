"""What is no gRPC, no HTTP/2, or too much of it: it ends the connection or its call, and concerns nobody else."""

from __future__ import annotations

import asyncio
import struct
import time
from random import Random

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.server.server import REQUEST_MAX_BYTES
from tests.e2e.daemons import Daemon
from tests.e2e.frames import (
    CANCEL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    OPENING,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    call,
    call_headers,
    frame,
    header_block,
    message,
    said,
)
from tests.e2e.hosts import Host, kernel_state
from tests.e2e.processes import descriptors_when_connected, let_go
from tests.e2e.wishes import attach, detach
from tests.fuzz import budget

RANDOM_STREAMS = budget.inputs(300)
ANSWERED_WITHIN_S = 10.0

ATTACH = call_headers("Attach")
OPEN_CALL = frame(HEADERS, ATTACH, flags=END_HEADERS, stream=1)


def _body(data: bytes) -> bytes:
    return OPENING + OPEN_CALL + frame(DATA, data, flags=END_STREAM, stream=1)


def _many(count: int, made: bytes) -> bytes:
    return OPENING + made * count


def _rapid_reset(calls: int) -> bytes:
    """Calls that are taken back at once (CVE-2023-44487)."""
    reset = struct.pack("!I", CANCEL)
    streams = range(1, 2 * calls, 2)
    return OPENING + b"".join(
        frame(HEADERS, ATTACH, flags=END_HEADERS, stream=stream) + frame(RST_STREAM, reset, stream=stream)
        for stream in streams
    )


CASES = {
    "nothing": b"",
    "HTTP/1": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "TLS": bytes.fromhex("16030100050100000100"),
    "a preface cut in the middle": PREFACE[:10],
    "no settings": PREFACE + OPEN_CALL,
    "zeros": bytes(1 << 20),
    "a frame that is too long": OPENING + b"\xff\xff\xff" + frame(DATA, stream=1)[3:] + bytes(1 << 16),
    "an unknown kind of frame": OPENING + frame(0xEE, b"x" * 100) * 1000,
    "odd settings": PREFACE + frame(SETTINGS, struct.pack("!HIHIHI", 4, 2**32 - 1, 5, 1, 3, 0)),
    "settings without end": PREFACE + frame(SETTINGS, struct.pack("!HI", 4, 1)) * 20_000,
    "pings without end": _many(20_000, frame(PING, bytes(8))),
    "acknowledged pings that nobody sent": _many(1000, frame(PING, bytes(8), flags=1)),
    "window updates beyond the end": _many(10, frame(WINDOW_UPDATE, struct.pack("!I", 2**31 - 1))),
    "an empty window update": OPENING + frame(WINDOW_UPDATE, struct.pack("!I", 0)),
    "a stream that depends on itself": OPENING + frame(PRIORITY, struct.pack("!IB", 1, 0), stream=1) * 100,
    "a pushed promise": OPENING + frame(PUSH_PROMISE, struct.pack("!I", 2) + ATTACH, flags=END_HEADERS, stream=1),
    "goaway, and then a call": OPENING + frame(GOAWAY, bytes(8)) + call("Status", b""),
    "data of no call": OPENING + frame(DATA, b"x" * 1000, stream=1),
    "a call on an even stream": OPENING + call("Status", b"", stream=2),
    "calls on falling streams": OPENING + call("Status", b"", stream=9) + call("Status", b"", stream=3),
    "a path that is not UTF-8": OPENING
    + frame(HEADERS, ATTACH.replace(b"Attach", b"\xc4ttach"), flags=END_HEADERS | END_STREAM, stream=1),
    "headers that are garbage": OPENING + frame(HEADERS, b"\xff" * 500, flags=END_HEADERS, stream=1),
    "an index beyond the table": OPENING + frame(HEADERS, b"\xbf\xff\x7f", flags=END_HEADERS, stream=1),
    "a table larger than allowed": OPENING + frame(HEADERS, b"\x3f\xff\xff\xff\xff\x0f", flags=END_HEADERS, stream=1),
    "headers that never end": OPENING + frame(HEADERS, ATTACH, stream=1) + frame(CONTINUATION, b"", stream=1) * 20_000,
    "a megabyte of headers": OPENING
    + frame(HEADERS, ATTACH, stream=1)
    + frame(CONTINUATION, header_block({"x": "y" * 16_000}), stream=1) * 64,
    "headers and then another frame": OPENING + frame(HEADERS, ATTACH, stream=1) + frame(PING, bytes(8)),
    "no path": OPENING + frame(HEADERS, header_block({":method": "POST"}), flags=END_HEADERS, stream=1),
    "another content": OPENING + call("Attach", b"", content_type="text/html"),
    "an encoding that nobody knows": OPENING + call("Attach", b"", grpc_encoding="zip-bomb"),
    "a timeout that is none": OPENING + call("Attach", b"", grpc_timeout="soon"),
    "a timeout of centuries": OPENING + call("Attach", b"", grpc_timeout="99999999H"),
    "a timeout of nothing": OPENING + call("Attach", b"", grpc_timeout="0n"),
    "control characters in metadata": OPENING + call("Attach", b"", x_odd="a\x1b[31m\n\0"),
    "binary metadata that is none": OPENING + call("Attach", b"", x_odd_bin="!!!"),
    "half a message header": _body(b"\0\0"),
    "a message that is longer than it says": _body(message(bytes(100), length=3)),
    "a message that is shorter than it says": _body(message(bytes(3), length=100)),
    "a message of four gigabytes": _body(message(b"", length=2**32 - 1)),
    "a message beyond the limit": _body(message(b"", length=REQUEST_MAX_BYTES + 1)),
    "a message that claims to be compressed": _body(message(b"x" * 100, compressed=1)),
    "a message with an odd flag": _body(message(b"", compressed=77)),
    "two messages where one is due": _body(message(b"") * 2),
    "no message": OPENING + frame(HEADERS, ATTACH, flags=END_HEADERS | END_STREAM, stream=1),
    "a call that does not go on": OPENING + OPEN_CALL,
    "data after the end": OPENING + call("Attach", b"") + frame(DATA, message(b""), stream=1),
    "a thousand calls at once": OPENING + b"".join(call("Status", b"", stream=n) for n in range(1, 2000, 2)),
    "calls that are taken back at once": _rapid_reset(5000),
}


async def _answers(client: AsyncClient) -> float:
    """Somebody else is answered; the seconds that it took."""
    began = time.monotonic()
    async with asyncio.timeout(ANSWERED_WITHIN_S):
        await client.status()
    return time.monotonic() - began


async def test_garbage_concerns_nobody_else(daemon: Daemon, client: AsyncClient, node: Host, web: Host) -> None:
    """After each kind of garbage, its connection still open, another client is answered; in the end nothing has
    changed and no descriptor is left."""
    kernel, before = kernel_state(node, web), await descriptors_when_connected(daemon, client)
    took = {}
    for name, data in CASES.items():
        connection = await asyncio.to_thread(said, daemon.socket, data)
        with connection:
            took[name] = await _answers(client)
        assert daemon.running, name
    slowest = max(took, key=lambda name: took[name])
    print(f"{len(took)} kinds; the slowest answer beside one took {took[slowest] * 1000:.0f} ms, beside {slowest}")
    await _nothing_changed(daemon, client, node, web, kernel, before)


async def test_damaged_streams_concern_nobody_else(daemon: Daemon, client: AsyncClient, node: Host, web: Host) -> None:
    """Whole calls with bytes changed, cut or repeated, on a connection each."""
    random = Random(1 if budget.SCALE == 1 else None)
    kernel, before = kernel_state(node, web), await descriptors_when_connected(daemon, client)
    originals = [
        OPENING + call("Attach", attach("/run/netns/nobody")) + call("Status", b"", stream=3),
        OPENING + call("Watch", b"") + frame(PING, bytes(8)) + call("Detach", detach("nobody"), stream=3),
        OPENING + OPEN_CALL + frame(DATA, message(bytes(100))[:50], stream=1) + frame(DATA, bytes(55), stream=1),
    ]
    for number in range(RANDOM_STREAMS):
        data = bytearray(random.choice(originals))
        for _ in range(random.randrange(1, 6)):
            start = random.randrange(len(data))
            end = start + random.randrange(9)
            data[start:end] = random.choice((random.randbytes(random.randrange(9)), data[start:end] * 3))
        (await asyncio.to_thread(said, daemon.socket, bytes(data))).close()
        if number % 50 == 0:
            await _answers(client)
    await _nothing_changed(daemon, client, node, web, kernel, before)


async def _nothing_changed(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, kernel: set[str], before: int
) -> None:
    assert [it async for it in client.list()] == []
    assert kernel_state(node, web) == kernel
    assert (await client.attach(attach(web))).attachment.phase == "Attached"
    await client.detach(detach("web"))
    await let_go(daemon, before)
    errors = [line for line in daemon.logged().splitlines() if '"level": "error"' in line]
    assert all("another server took over" in line for line in errors), errors
    assert errors or "Traceback" not in daemon.logged()
