"""Datagrams that wait on a socket: all of them, whole, in their order, one at a time or many."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from netplumb.reconciler.kernel.netlink.datagrams import Batches, waiting

MOST_BYTES = 4096
MANY = 150  # more than a batch


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
    with ours, theirs:
        yield ours, theirs


def _sent(theirs: socket.socket, count: int) -> list[bytes]:
    """As many as the queue takes."""
    datagrams = [bytes([number]) * (1 + number * 20) for number in range(count)]
    theirs.setblocking(False)
    for number, datagram in enumerate(datagrams):
        try:
            theirs.send(datagram)
        except BlockingIOError:
            return datagrams[:number]
    return datagrams


def test_all_that_waits_is_read_and_nothing_is_waited_for(pair: tuple[socket.socket, socket.socket]) -> None:
    """One after the other, and then it ends, though the socket blocks."""
    ours, theirs = pair
    sent = _sent(theirs, MANY)
    assert list(waiting(ours, MOST_BYTES)) == sent
    assert list(waiting(ours, MOST_BYTES)) == []


def test_batches_hold_each_datagram_whole(pair: tuple[socket.socket, socket.socket]) -> None:
    """Batch after batch, each with its own sizes; those of the socket's own namespace have no number."""
    ours, theirs = pair
    batches = Batches(ours, MOST_BYTES)
    for _ in range(2 * MANY):
        sent = _sent(theirs, MANY)
        read = []
        for namespaces in batches.waiting():
            assert namespaces is not None
            assert set(namespaces) == {None}
            read += [batches[number] for number in range(len(namespaces))]
        assert read == sent


def test_what_is_too_long_is_cut(pair: tuple[socket.socket, socket.socket]) -> None:
    """The next one is not hurt."""
    ours, theirs = pair
    batches = Batches(ours, 8)
    theirs.send(b"0123456789")
    theirs.send(b"abc")
    (namespaces,) = batches.waiting()
    assert namespaces == [None, None]
    assert [batches[0], batches[1]] == [b"01234567", b"abc"]


def test_what_is_wrong_with_the_socket_is_raised() -> None:
    """By either way."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as unconnected:
        with pytest.raises(OSError, match=r"Invalid argument|not connected"):
            list(waiting(unconnected, 8))
        with pytest.raises(OSError, match=r"Invalid argument|not connected"):
            list(Batches(unconnected, 8).waiting())
