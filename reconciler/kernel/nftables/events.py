"""Hears who commits to the nftables ruleset: each commit's generation, and whether it touched our table."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from netplumb.reconciler.kernel.netlink.channel import NETLINK_ADD_MEMBERSHIP, NETLINK_NETFILTER, SOL_NETLINK
from netplumb.reconciler.kernel.netlink.datagrams import waiting
from netplumb.reconciler.kernel.netlink.wire import attributes, messages, string
from netplumb.reconciler.kernel.nftables.jsonobjects import TABLE

NFNLGRP_NFTABLES = 7
_NEWGEN = 15  # NFT_MSG_NEWGEN, the end of a commit; the low byte of a message's type
_NFGENMSG_BYTES = 4
_NAME = 1  # NFTA_*_TABLE, the first attribute of every kind of object; NFTA_GEN_ID of NEWGEN
_RECEIVE_BYTES = 1 << 17


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit to the ruleset."""

    generation: int
    ours: bool


@dataclass(slots=True)
class NftHeard:
    """What was heard since the last time. `lost` means that there was more."""

    commits: list[Commit] = field(default_factory=list)
    lost: bool = False


class NftListener:
    """Hears the network namespace in which it was made. Never blocks."""

    def __init__(self) -> None:
        flags = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, flags, NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES)
        self._ours = False

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> NftHeard:
        heard = NftHeard()
        for datagram in waiting(self._socket, _RECEIVE_BYTES):
            if datagram is None:
                heard.lost = True
                continue
            for type_, _, _, _, body in messages(memoryview(datagram)):
                name = attributes(body, _NFGENMSG_BYTES).get(_NAME)
                if type_ & 0xFF == _NEWGEN:
                    generation = int.from_bytes(name, "big") if name is not None else 0
                    heard.commits.append(Commit(generation, self._ours))
                    self._ours = False
                elif string(name) == TABLE:
                    self._ours = True
        return heard

    def close(self) -> None:
        self._socket.close()
