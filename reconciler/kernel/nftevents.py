"""Hears that the nftables ruleset changed. Whether ours did is for the generation number and a read to tell."""

from __future__ import annotations

import errno
import socket

from reconciler.kernel.channel import SOL_NETLINK
from reconciler.kernel.listener import NETLINK_ADD_MEMBERSHIP

NETLINK_NETFILTER = 12
NFNLGRP_NFTABLES = 7


class NftListener:
    """Hears the network namespace in which it was made. Never blocks; what was heard is counted, not read."""

    def __init__(self) -> None:
        flags = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, flags, NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES)

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> bool:
        """Whether anything was heard, lost messages included."""
        heard = False
        while True:
            try:
                self._socket.recv(1 << 15)
            except BlockingIOError:
                return heard
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
            heard = True

    def close(self) -> None:
        self._socket.close()
