"""Connections between hosts, both ends in the test's hands."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.e2e.hosts import Host
from tests.e2e.streams import open_socket


@contextmanager
def connected(
    source: Host, target: Host, to: str, port: int, inner: int = 0
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A TCP connection, both ends; to a port that leads to an inner one, or is the target's own."""
    wildcard = "::" if ":" in to else "0.0.0.0"
    with ExitStack() as stack:
        listener = stack.enter_context(open_socket(target, wildcard, socket.SOCK_STREAM))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((wildcard, inner or port))
        listener.listen()
        connecting = stack.enter_context(open_socket(source, to, socket.SOCK_STREAM))
        connecting.connect((to, port))
        accepted = stack.enter_context(listener.accept()[0])
        for end in (connecting, accepted):
            end.settimeout(0.5)
        assert passes(connecting, accepted)
        assert passes(accepted, connecting)
        yield connecting, accepted


def passes(sender: socket.socket, receiver: socket.socket) -> bool:
    """Whether what one end sends reaches the other in time."""
    try:
        sender.sendall(b"ping")
        return receiver.recv(16) != b""
    except OSError:
        return False
