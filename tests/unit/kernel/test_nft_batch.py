"""What a kernel's answer to a question about a table is taken for."""

from __future__ import annotations

import errno
import socket
from struct import pack

import pytest

from netplumb.models.errors import Retryable
from netplumb.reconciler.kernel.netlink.channel import NLMSG_ERROR
from netplumb.reconciler.kernel.netlink.wire import HEADER
from netplumb.reconciler.kernel.nftables import batch


def asked(*codes: int) -> bytes | memoryview | None:
    """Asks a kernel that answers with these errors."""
    ours, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, kernel:
        for code in codes:
            kernel.send(HEADER.pack(36, NLMSG_ERROR, 0, 0, 0) + pack("=i", -code) + bytes(16))
        return batch.table(ours, "t")


def test_a_table_that_is_not_there_is_none() -> None:
    """ENOENT is the kernel's word for that."""
    assert asked(errno.ENOENT) is None


@pytest.mark.parametrize("codes", [(errno.EBUSY,), (errno.EEXIST,), ()], ids=["busy", "a lie", "no answer"])
def test_what_the_kernel_does_not_say_is_not_believed(codes: tuple[int, ...]) -> None:
    """A question that fails is asked again: a table taken for gone would get its rules twice."""
    with pytest.raises(Retryable, match="does not tell of table t"):
        asked(*codes)
