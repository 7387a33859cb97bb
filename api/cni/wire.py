"""What plugin and daemon say to each other over the unix socket. Pure.

A request is a line with two lengths, then the environment (`NAME=value`, parted by NUL), then the configuration. The
answer is a line with the exit status and a length, then what the plugin prints. The lengths tell a whole message from
one whose sender died.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

HEADER_MAX_BYTES = 64
REQUEST_MAX_BYTES = 2 << 20
"""Room for the 256 KiB of a pod's annotations, and for a GC that names twenty thousand attachments. It is taken apart
where everybody waits, which takes up to an eighth of a second a megabyte."""

_HEADER = re.compile(rb"netplumb-cni 1 (\d{1,9}) (\d{1,9})\n")


class MalformedRequest(Exception):
    """Not a plugin of ours, or not a whole request."""


def socket_path(daemon_socket: Path) -> Path:
    """The plugin's socket: beside the one that gRPC is served on, so that one setting tells of both."""
    return daemon_socket.with_name(f"{daemon_socket.name}.cni")


def lengths(header: bytes) -> tuple[int, int]:
    """How many bytes of environment and of configuration follow the header."""
    if not (found := _HEADER.fullmatch(header)):
        raise MalformedRequest("this socket is for the CNI plugin of the same netplumb")
    environment, config = int(found[1]), int(found[2])
    if environment + config > REQUEST_MAX_BYTES:
        raise MalformedRequest(f"environment and configuration are larger than {REQUEST_MAX_BYTES} bytes")
    return environment, config


def environment(data: bytes) -> Mapping[str, str]:
    """The variables; what is not UTF-8 in one is kept as it is and told where it is shown."""
    pairs = (entry.partition(b"=") for entry in data.split(b"\0") if entry)
    return {_text(name): _text(value) for name, _, value in pairs}


def _text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


def answer(status: int, body: bytes) -> bytes:
    return b"%d %d\n%s" % (status, len(body), body)
