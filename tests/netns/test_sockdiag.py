"""Which sockets of a namespace something may arrive at, by the real kernel."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from ipaddress import ip_address

import pytest

from netplumb.models.ports import Protocol
from netplumb.models.sockets import Listener
from netplumb.reconciler.kernel.processes import openers
from netplumb.reconciler.kernel.sockdiag import RANGES_MAX, SockDiag

TCP, UDP = Protocol.TCP, Protocol.UDP
V4, V6 = socket.AF_INET, socket.AF_INET6
ALL = ((1, 65535),)


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def diag() -> Iterator[SockDiag]:
    with closing(SockDiag()) as made:
        yield made


def bound(stack: ExitStack, family: int, at: str, port: int, *, udp: bool = False, v6_only: bool = False) -> int:
    """A socket that waits, and its inode."""
    made = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == V6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6_only)
    made.bind((at, port))
    if not udp:
        made.listen()
    return os.fstat(made.fileno()).st_ino


def test_listeners_are_told_with_what_they_hear(sockets: ExitStack, diag: SockDiag) -> None:
    """Families, the one address, and the inode, which leads to the process."""
    wanted = {
        Listener(TCP, 81, (4,), None, bound(sockets, V4, "0.0.0.0", 81)),
        Listener(TCP, 82, (4, 6), None, bound(sockets, V6, "::", 82)),
        Listener(TCP, 83, (6,), None, bound(sockets, V6, "::", 83, v6_only=True)),
        Listener(TCP, 84, (4,), ip_address("127.0.0.1"), bound(sockets, V4, "127.0.0.1", 84)),
        Listener(TCP, 85, (4,), ip_address("127.0.0.1"), bound(sockets, V6, "::ffff:127.0.0.1", 85)),
    }
    assert set(diag.listeners(TCP, ALL)) == wanted
    assert {it.pid for it in openers([it.inode for it in wanted]).values()} == {os.getpid()}
    datagrams = {Listener(UDP, 81, (4,), None, bound(sockets, V4, "0.0.0.0", 81, udp=True))}
    assert set(diag.listeners(UDP, ALL)) == datagrams
    assert list(diag.listeners(Protocol.SCTP, ALL)) == []
    assert openers([]) == openers([1 << 40]) == {}


def test_what_is_connected_is_not_told(sockets: ExitStack, diag: SockDiag) -> None:
    """Nor what is bound and does not listen: nothing new arrives there."""
    bound(sockets, V4, "127.0.0.1", 81)
    asking = sockets.enter_context(socket.socket(V4, socket.SOCK_STREAM))
    asking.bind(("127.0.0.1", 90))
    asking.connect(("127.0.0.1", 81))
    sending = sockets.enter_context(socket.socket(V4, socket.SOCK_DGRAM))
    sending.bind(("127.0.0.1", 91))
    sending.connect(("127.0.0.1", 92))
    idle = sockets.enter_context(socket.socket(V4, socket.SOCK_STREAM))
    idle.bind(("127.0.0.1", 93))
    assert {it.port for it in diag.listeners(TCP, ALL)} == {81}
    assert list(diag.listeners(UDP, ALL)) == []


def test_the_kernel_filters_by_port(sockets: ExitStack, diag: SockDiag) -> None:
    """One range, several, and as many as there may be; the ends belong to it."""
    ports = range(1000, 1000 + 10 * RANGES_MAX, 5)
    for port in ports:
        bound(sockets, V4, "0.0.0.0", port, udp=True)
    for asked in (
        [(1005, 1005)],
        [(1001, 1004), (1010, 1020)],
        [(1, 999), (1030, 1030), (1040, 1049), (60000, 65535)],
        [(port, port) for port in ports[::2]],
    ):
        wanted = {port for port in ports if any(first <= port <= last for first, last in asked)}
        assert len(asked) <= RANGES_MAX
        assert {it.port for it in diag.listeners(UDP, asked)} == wanted
    assert list(diag.listeners(UDP, [])) == []
