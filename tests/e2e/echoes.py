"""Servers that answer who asked, and those who ask them: what tells whose address a server saw, and who answered."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from tests.e2e.hosts import Host
from tests.e2e.streams import Served, open_socket

ANY_V4, ANY_V6 = "0.0.0.0", "::"
ASK_S = 1.5
UNANSWERED_S = 0.3  # all that is asked is on this machine
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


@contextmanager
def serving(
    host: Host,
    port: int,
    name: str = "",
    protocols: tuple[str, ...] = ("tcp", "udp"),
    at: tuple[str, ...] = (ANY_V4, ANY_V6),
) -> Iterator[None]:
    """The host answers on this port with its name and with who asked, at all of its addresses or at those given."""
    said = name or host.name
    with ExitStack() as stack:
        for protocol in protocols:
            for address in at:
                bound = open_socket(host, address, KINDS[protocol])
                bound.settimeout(None)
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if ":" in address:
                    bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                bound.bind((address, port))
                if protocol == "tcp":
                    bound.listen(64)
                    stack.enter_context(Served(bound, lambda bound: _answer_streams(bound, said)))
                else:
                    stack.enter_context(Served(bound, lambda bound: _answer_datagrams(bound, said)))
        yield


def _answer_streams(bound: socket.socket, name: str) -> None:
    while True:
        connection, peer = bound.accept()
        with connection, suppress(OSError):
            connection.sendall(f"{name} {peer[0]}".encode())


def _answer_datagrams(bound: socket.socket, name: str) -> None:
    while (peer := bound.recvfrom(64)[1]) is not None:  # None: shut down
        with suppress(OSError):
            bound.sendto(f"{name} {peer[0]}".encode(), peer)


def ask(
    source: Host, address: str, port: int, protocol: str = "tcp", *, bind: str = "", within_s: float = ASK_S
) -> str | None:
    """What is answered: the server's name and the address that it saw. None where nobody answers."""
    with open_socket(source, address, KINDS[protocol]) as asking:
        asking.settimeout(within_s)
        if bind:
            asking.bind((bind, 0))
        with suppress(OSError):
            asking.connect((address, port))
            if protocol == "udp":
                asking.send(b"?")
            return asking.recv(256).decode()
    return None


def unanswered(source: Host, address: str, port: int, protocol: str = "tcp", *, bind: str = "") -> bool:
    """Whether nobody answers."""
    return ask(source, address, port, protocol, bind=bind, within_s=UNANSWERED_S) is None
