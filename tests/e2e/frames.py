"""HTTP/2 and gRPC by hand, on a plain socket: what no client library would send.

RFC 9113 for the frames, RFC 7541 for header blocks (literals without indexing only), and gRPC's
PROTOCOL-HTTP2.md for what is in them.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from google.protobuf.message import Message

from netplumb.api.server.server import SERVICE

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS = 0x1, 0x4
NO_ERROR, CANCEL = 0, 8

SEND_TIMEOUT_S = 10.0
CONNECT_WITHIN_S = 10.0


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


OPENING = PREFACE + frame(SETTINGS)


def header_block(fields: Mapping[str, str]) -> bytes:
    block = b""
    for name, value in fields.items():
        block += b"\0" + _text(name) + _text(value)
    return block


def _text(text: str) -> bytes:
    encoded = text.encode()
    size, prefix = len(encoded), b""
    if size < 127:
        return bytes([size]) + encoded
    size -= 127
    while size > 127:
        prefix += bytes([size & 0x7F | 0x80])
        size >>= 7
    return b"\x7f" + prefix + bytes([size]) + encoded


def call_headers(method: str, **more: str) -> bytes:
    """The header block of a call; underscores in a keyword stand for dashes."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": f"/{SERVICE}/{method}",
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    return header_block(fields | {name.replace("_", "-"): value for name, value in more.items()})


def message(content: bytes, *, compressed: int = 0, length: int | None = None) -> bytes:
    """A message as it stands in DATA frames. The length may lie."""
    return struct.pack("!BI", compressed, len(content) if length is None else length) + content


def call(method: str, content: bytes | Message, *, stream: int = 1, **more: str) -> bytes:
    """The frames of a whole call."""
    encoded = content.SerializeToString() if isinstance(content, Message) else content
    return frame(HEADERS, call_headers(method, **more), flags=END_HEADERS, stream=stream) + frame(
        DATA, message(encoded), flags=END_STREAM, stream=stream
    )


def connected(path: Path) -> socket.socket:
    """A connection that has said nothing yet. A server that takes over from one that failed is waited for."""
    ends = time.monotonic() + CONNECT_WITHIN_S
    while True:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.settimeout(SEND_TIMEOUT_S)
        try:
            made.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError, BlockingIOError):  # the last: the backlog is full
            made.close()
            if time.monotonic() > ends:
                raise
            time.sleep(0.02)
        else:
            return made


def said(path: Path, data: bytes) -> socket.socket:
    """A connection on which this was sent, as far as the other side took it."""
    made = connected(path)
    with suppress(BrokenPipeError, ConnectionResetError):  # the daemon had enough, which is its right
        made.sendall(data)
    return made
