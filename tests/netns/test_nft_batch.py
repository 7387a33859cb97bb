"""Transactions of nf_tables in messages of our own, on the real kernel."""

from __future__ import annotations

import errno
import socket

import pytest

from netplumb.reconciler.kernel.netlink.channel import NETLINK_NETFILTER
from netplumb.reconciler.kernel.nftables import batch


@pytest.mark.parametrize("refused", range(3), ids=["the first", "one in the middle", "the last"])
def test_a_message_that_is_refused_ends_all_of_its_transaction(refused: int) -> None:
    """The kernel tells of it though only the last is to be acknowledged, and nothing is made of the others."""
    made = [(batch.NEW_TABLE, batch.table_body(f"t{number}", 0)) for number in range(3)]
    made[refused] = batch.DELETE_TABLE, batch.table_body("nobody's", 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER) as channel:
        assert batch.commit(channel, *made) == errno.ENOENT
        assert [batch.table(channel, f"t{number}") for number in range(3)] == [None] * 3
