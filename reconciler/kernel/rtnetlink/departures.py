"""Hears that links are gone from the node, and nothing else.

The kernel tells so as soon as a link has no name, no addresses and no routes any more, and answers the request that
removed it some twenty times later: it waits for an RCU barrier in between, after it has let go of its lock.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

from netplumb.reconciler.kernel.bpf import attach_filter
from netplumb.reconciler.kernel.netlink.channel import NETLINK_ADD_MEMBERSHIP, SOL_NETLINK
from netplumb.reconciler.kernel.netlink.datagrams import waiting
from netplumb.reconciler.kernel.netlink.socketfilter import type_filter
from netplumb.reconciler.kernel.netlink.wire import messages
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt

RTNLGRP_LINK = 1
_RECEIVE_BYTES = 1 << 16


class Departures:
    """A socket in the namespace where it is made. What is lost of it (ENOBUFS) is told by the request's answer."""

    def __init__(self) -> None:
        flags = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, flags, socket.NETLINK_ROUTE)
        try:
            attach_filter(self._socket, type_filter(rt.RTM_DELLINK))
            self._socket.bind((0, 0))
            self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, RTNLGRP_LINK)
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> Iterator[int]:
        """The indexes of the links that are gone since."""
        for datagram in waiting(self._socket, _RECEIVE_BYTES):
            for type_, _, _, _, body in messages(datagram or b""):
                family, _, index, _, _ = rt.IFINFOMSG.unpack_from(body)
                if type_ == rt.RTM_DELLINK and family == rt.AF_UNSPEC:  # AF_BRIDGE: it has left a bridge
                    yield index

    def close(self) -> None:
        self._socket.close()
