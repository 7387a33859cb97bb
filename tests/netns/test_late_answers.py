"""What the kernel answered to a transaction that was given up is on the socket that libnftables lists by."""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import closing

import pytest

from netplumb.models.errors import Retryable
from netplumb.models.network import Node
from netplumb.reconciler.decide.plan import plan
from netplumb.reconciler.decide.render import render_node
from netplumb.reconciler.kernel.nftables import batch, jsonobjects
from netplumb.reconciler.kernel.nftables.libnftables import Libnftables
from netplumb.reconciler.kernel.nftables.table import Nftables, split_table_steps

TABLES = 10


class Deaf(socket.socket):
    """Another descriptor of a socket, by which nothing is heard."""

    def recv(self, *_: int) -> bytes:
        raise BlockingIOError


def test_late_acknowledgements_are_not_taken_for_a_missing_table() -> None:
    """The kernel acknowledged a transaction that we gave up; the listing that follows is whole all the same."""
    with closing(Nftables()) as nftables:
        steps, _ = split_table_steps(plan(render_node(Node()), {}).steps)
        nftables.apply(steps)
    with closing(Libnftables()) as context:
        assert context.channel is not None
        before = context.run([jsonobjects.LIST])
        assert len(before) > len(steps)
        with Deaf(fileno=os.dup(context.channel.fileno())) as deaf, pytest.raises(Retryable, match="does not answer"):
            batch.commit(deaf, *((batch.NEW_TABLE, batch.table_body(f"beside{it}", 0)) for it in range(TABLES)))
        assert "table inet beside0" in subprocess.check_output(["nft", "list", "tables"], text=True)
        assert context.run([jsonobjects.LIST]) == before
