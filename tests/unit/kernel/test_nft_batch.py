"""What a kernel's answers are taken for, to a question about a table and to a transaction."""

from __future__ import annotations

import errno
import socket
from struct import pack
from typing import Any

import pytest

from netplumb.models.errors import Retryable
from netplumb.reconciler.kernel.netlink.channel import NLMSG_ERROR
from netplumb.reconciler.kernel.netlink.wire import HEADER
from netplumb.reconciler.kernel.nftables import batch


class Channel(socket.socket):
    """To a kernel that answers to whatever is sent with these errors, before the send returns."""

    def __init__(self, *codes: int) -> None:
        ours, self.kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        super().__init__(fileno=ours.detach())
        self._codes = codes

    def send(self, data: Any, *_: int) -> int:
        self.answer(*self._codes)
        return len(data)

    def answer(self, *codes: int) -> None:
        for code in codes:
            self.kernel.send(HEADER.pack(36, NLMSG_ERROR, 0, 0, 0) + pack("=i", -code) + bytes(16))

    def close(self) -> None:
        self.kernel.close()
        super().close()


def asked(*codes: int) -> bytes | memoryview | None:
    """Asks a kernel that answers with these errors."""
    with Channel(*codes) as channel:
        return batch.table(channel, "t")


def committed(*codes: int, late: tuple[int, ...] = ()) -> int:
    """Has two messages carried out by a kernel that answers with these errors, after others to what went before."""
    with Channel(*codes) as channel:
        channel.answer(*late)
        return batch.commit(channel, (batch.NEW_TABLE, b""), (batch.NEW_CHAIN, b""))


def test_a_table_that_is_not_there_is_none() -> None:
    """ENOENT is the kernel's word for that."""
    assert asked(errno.ENOENT) is None


@pytest.mark.parametrize("codes", [(errno.EBUSY,), (errno.EEXIST,), ()], ids=["busy", "a lie", "no answer"])
def test_what_the_kernel_does_not_say_is_not_believed(codes: tuple[int, ...]) -> None:
    """A question that fails is asked again: a table taken for gone would get its rules twice."""
    with pytest.raises(Retryable, match="does not tell of table t"):
        asked(*codes)


def test_a_transaction_is_refused_by_the_first_error() -> None:
    """What the kernel says of others in it does not count, and all is well where it acknowledges the last alone."""
    assert committed(0) == 0
    assert committed(errno.EBUSY) == errno.EBUSY
    assert committed(errno.EEXIST, 0) == errno.EEXIST


def test_a_transaction_without_an_answer_is_not_taken_for_done() -> None:
    """It may have been carried out or not; whoever reads the table anew knows."""
    with pytest.raises(Retryable, match="does not answer"):
        committed()


def test_late_answers_are_no_answer() -> None:
    """Those to a transaction that was given up tell nothing of the next."""
    assert committed(0, late=(errno.EBUSY,)) == 0
    with pytest.raises(Retryable, match="does not answer"):
        committed(late=(0, 0))
