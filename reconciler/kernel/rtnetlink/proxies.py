"""A cheap look at the node's IPv6 proxy neighbours, of whose deletion the kernel tells nobody.

The same request brings the same bytes as long as nothing changed, so that a look that finds nothing new costs the
kernel's dump and one comparison: 0.1 ms for 500 of them.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Set
from dataclasses import dataclass

from netplumb.models.errors import Retryable, errno_name
from netplumb.reconciler.kernel.netlink.channel import (
    NETLINK_GET_STRICT_CHK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    REPLY_TIMEOUT_S,
    SOL_NETLINK,
)
from netplumb.reconciler.kernel.netlink.wire import HEADER, messages
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt

_RECEIVE_BYTES = 1 << 16
_DONE_BYTES = 20  # a header and the dump's errno


@dataclass(frozen=True, slots=True)
class _Look:
    datagrams: tuple[bytes, ...] = ()
    indexes: Set[int] = frozenset()


class ProxyNeighbours:
    """Looks from the namespace in which it was made: the node's."""

    def __init__(self) -> None:
        self._socket = _opened()
        body = rt.NDMSG.pack(rt.AF_INET6, 0, 0, rt.NTF_PROXY, 0)
        self._request = HEADER.pack(16 + len(body), rt.RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + body
        self._last = _Look()

    def close(self) -> None:
        self._socket.close()

    def indexes(self) -> Set[int]:
        """The interfaces that have one. Raises Retryable when the kernel does not say."""
        datagrams = self._dump()
        if datagrams != self._last.datagrams:
            self._last = _Look(datagrams, _indexes(datagrams))
        return self._last.indexes

    def _dump(self) -> tuple[bytes, ...]:
        datagrams: list[bytes] = []
        try:
            self._socket.send(self._request)
            while not datagrams or not _is_last(datagrams[-1]):
                datagrams.append(self._socket.recv(_RECEIVE_BYTES))
        except OSError as error:
            # What was left of this dump would be taken for the next one's, which has the same number.
            self._socket.close()
            self._socket = _opened()
            raise Retryable(f"cannot read proxy neighbours: {errno_name(error.errno or errno.ETIMEDOUT)}") from error
        return tuple(datagrams)


def _opened() -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    made.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
    made.settimeout(REPLY_TIMEOUT_S)
    return made


def _is_last(datagram: bytes) -> bool:
    """Whether the dump ends here: with the message that says so, at the end of the datagram, or with an error."""
    size, type_, *_ = HEADER.unpack_from(datagram, max(len(datagram) - _DONE_BYTES, 0))
    return (size, type_) == (_DONE_BYTES, NLMSG_DONE) or HEADER.unpack_from(datagram)[1] == NLMSG_ERROR


def _indexes(datagrams: tuple[bytes, ...]) -> Set[int]:
    found = set()
    for datagram in datagrams:
        for type_, flags, _, _, body in messages(datagram):
            if type_ == NLMSG_ERROR or flags & NLM_F_DUMP_INTR:
                raise Retryable("the kernel's dump of proxy neighbours was interrupted", reason="DumpInterrupted")
            if type_ == rt.RTM_NEWNEIGH:
                found.add(rt.NDMSG.unpack_from(body)[1])
    return frozenset(found)
