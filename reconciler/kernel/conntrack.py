"""Forgets flows that connection tracking keeps: the one place that speaks ctnetlink.

The kernel picks what it lists by IP version, status, protocol and port; addresses are compared here, since what it
picks by an IPv6 address is all but that (Linux 6.18). A flow is deleted by its tuple and its number, so that a newer
one between the same ends is left alone. The table may be large, and whose flows fill it is not trusted: flows are
looked at as they come, and none is kept.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from struct import Struct, pack
from typing import Self

from netplumb.models.errors import Retryable, errno_name
from netplumb.models.flows import CUT, Flow, Walk
from netplumb.reconciler.kernel.descriptors import RESERVE, opened
from netplumb.reconciler.kernel.netlink.channel import (
    NETLINK_CAP_ACK,
    NETLINK_NETFILTER,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    REPLY_TIMEOUT_S,
    SOL_NETLINK,
)
from netplumb.reconciler.kernel.netlink.wire import HEADER, Buffer, attribute, attributes, messages

# NFNL_SUBSYS_CTNETLINK << 8 | message, and attributes: include/uapi/linux/netfilter/nfnetlink_conntrack.h
_CT_NEW, _CT_GET, _CT_DELETE = (1 << 8 | message for message in (0, 1, 2))
_TUPLE_ORIG, _TUPLE_REPLY, _STATUS, _MARK, _ID, _ZONE, _MARK_MASK, _FILTER, _STATUS_MASK = (
    1,
    2,
    3,
    8,
    12,
    18,
    21,
    25,
    26,
)
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_IP_SRC, _IP_DST = {4: 1, 6: 3}, {4: 2, 6: 4}
_PROTO_NUM, _PROTO_SRC_PORT, _PROTO_DST_PORT = 1, 2, 3
_FILTER_ORIG_FLAGS, _FILTER_REPLY_FLAGS = 1, 2
_BY_PROTOCOL, _BY_DST_PORT = 1 << 3, 1 << 5  # CTA_FILTER_FLAG, net/netfilter/nf_conntrack_netlink.c
_NESTED = 1 << 15
_FAMILIES: Mapping[int, int] = {0: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}
_VERSIONS = {family: version for version, family in _FAMILIES.items()}
ALL = Walk()
_CUT = pack(">I", CUT)
_RECEIVE_BYTES = 1 << 16
_DELETIONS_A_SEND = 64  # whose acknowledgements fit the socket's buffer


class Conntrack:
    """The flows of the namespace in which it was made; used by one thread at a time. After a walk that was not taken to
    its end, as when flows are thinned out, another one has to be made."""

    def __init__(self) -> None:
        self._listing, self._deleting = (
            opened(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER))
            for _ in range(2)
        )
        self._deleting.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        for each in (self._listing, self._deleting):
            each.settimeout(REPLY_TIMEOUT_S)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listing.close()
        self._deleting.close()
        RESERVE.keep()

    def flows(self, walk: Walk = ALL) -> Iterator[Flow]:
        """Raises Retryable when the kernel does not answer."""
        return (flow for _, body in self._dump(walk) if (flow := _flow(body)) is not None)

    def forget(
        self, walk: Walk, is_wrong: Callable[[Flow], bool], is_cut: Callable[[Flow], bool] = lambda _: False
    ) -> int:
        """Forgets what is wrong among what a walk finds, or marks it where it `is_cut`, and returns how many flows that
        were. Raises Retryable when the kernel does not answer."""
        done = 0
        wrong: list[tuple[int, int, bytes]] = []
        for family, body in self._dump(walk):
            if (flow := _flow(body)) is None or not is_wrong(flow):
                continue
            if not is_cut(flow):
                wrong.append((_CT_DELETE, family, _identity(body)))
            elif not _is_cut(body):
                wrong.append((_CT_NEW, family, _identity(body) + attribute(_MARK, _CUT)))
            if len(wrong) == _DELETIONS_A_SEND:
                done += self._carry_out(wrong)
                wrong = []
        return done + (self._carry_out(wrong) if wrong else 0)

    def thin_out(self, is_meant: Callable[[Flow], bool], most: int) -> int:
        """Forgets about so many of the flows that are meant, whichever they are, and returns how many. What is marked
        as cut stays: it would begin anew. Raises Retryable when the kernel does not answer."""
        done = 0
        meant: list[tuple[int, int, bytes]] = []
        for family, body in self._dump(ALL):
            if (flow := _flow(body)) is None or not is_meant(flow) or _is_cut(body):
                continue
            meant.append((_CT_DELETE, family, _identity(body)))
            if len(meant) == _DELETIONS_A_SEND:
                done += self._carry_out(meant)
                meant = []
            if done >= most:
                break
        return done + (self._carry_out(meant) if meant else 0)

    def _dump(self, walk: Walk) -> Iterator[tuple[int, Buffer]]:
        expected = self._sequence = self._sequence + 1
        payload = pack("=BBH", _FAMILIES[walk.version], 0, 0) + _asked(walk)  # struct nfgenmsg
        flags = NLM_F_REQUEST | NLM_F_DUMP
        try:
            self._listing.send(HEADER.pack(16 + len(payload), _CT_GET, flags, expected, 0) + payload)
            while True:
                for type_, _, sequence, _, body in messages(memoryview(self._listing.recv(_RECEIVE_BYTES))):
                    if sequence != expected:
                        continue  # of a walk that was given up
                    if type_ in (NLMSG_DONE, NLMSG_ERROR):
                        if code := _code(body):
                            raise _refused("lists no flows", code)
                        return
                    yield body[0], body
        except OSError as error:
            raise _lost(error) from None

    def _carry_out(self, flows: list[tuple[int, int, bytes]]) -> int:
        """Returns how many were still there."""
        datagram = bytearray()
        first = self._sequence + 1
        for type_, family, identity in flows:
            self._sequence += 1
            payload = pack("=BBH", family, 0, 0) + identity
            flags = NLM_F_REQUEST | NLM_F_ACK
            datagram += HEADER.pack(16 + len(payload), type_, flags, self._sequence, 0) + payload
        waiting, gone = len(flows), 0
        try:
            self._deleting.send(datagram)
            while waiting:
                for answer, _, sequence, _, body in messages(memoryview(self._deleting.recv(_RECEIVE_BYTES))):
                    if sequence < first or answer != NLMSG_ERROR:
                        continue
                    waiting -= 1
                    code = _code(body)
                    if code not in (0, errno.ENOENT, errno.EBUSY):  # it ended by itself; it is in a flow table
                        raise _refused("forgets no flow", code)
                    gone += not code
        except OSError as error:
            raise _lost(error) from None
        return gone


def _asked(walk: Walk) -> bytes:
    asked = b""
    if walk.mark:
        asked += attribute(_MARK, pack(">I", walk.mark)) + attribute(_MARK_MASK, pack(">I", 0xFFFFFFFF))
    if walk.mask:
        asked += attribute(_STATUS, pack(">I", walk.status)) + attribute(_STATUS_MASK, pack(">I", walk.mask))
    if walk.protocol:
        flags = _BY_PROTOCOL | (_BY_DST_PORT if walk.port else 0)
        proto = attribute(_PROTO_NUM, bytes((walk.protocol,)))
        if walk.port:
            proto += attribute(_PROTO_DST_PORT, walk.port.to_bytes(2, "big"))
        by = attribute(_FILTER_ORIG_FLAGS, pack("=I", flags)) + attribute(_FILTER_REPLY_FLAGS, pack("=I", 0))
        asked += attribute(_TUPLE_ORIG | _NESTED, attribute(_TUPLE_PROTO | _NESTED, proto))
        asked += attribute(_FILTER | _NESTED, by)
    return asked


def _tuples(version: int, value: int) -> bytes:
    """Both tuples of a flow with ports, as the kernel writes them, and with these bytes for all that varies."""
    size = 4 if version == 4 else 16
    ip = attribute(_IP_SRC[version], bytes((value,)) * size) + attribute(_IP_DST[version], bytes((value,)) * size)
    ports = (attribute(port, bytes((value,)) * 2) for port in (_PROTO_SRC_PORT, _PROTO_DST_PORT))
    proto = attribute(_PROTO_NUM, bytes((value,))) + b"".join(ports)
    ends = attribute(_TUPLE_IP | _NESTED, ip) + attribute(_TUPLE_PROTO | _NESTED, proto)
    return attribute(_TUPLE_ORIG | _NESTED, ends) + attribute(_TUPLE_REPLY | _NESTED, ends)


class _Layout:
    """Where the values of both tuples stand. Taking an attribute after the other costs ten times as much, and there may
    be hundreds of thousands of flows."""

    def __init__(self, version: int) -> None:
        ip = "4s" if version == 4 else "16s"
        ends = f"12x{ip}4x{ip}8xB7xH6xH2x"
        self.values = Struct(f">4x{ends}{ends}").unpack_from
        empty, full = (int.from_bytes(_tuples(version, value), "big") for value in (0, 0xFF))
        self._ends_at = 4 + len(_tuples(version, 0))
        self._fixed = ~(empty ^ full)
        self._empty = empty

    def fits(self, body: Buffer) -> bool:
        return int.from_bytes(body[4 : self._ends_at], "big") & self._fixed == self._empty


_LAYOUTS = {_FAMILIES[version]: _Layout(version) for version in (4, 6)}


def _flow(body: Buffer) -> Flow | None:
    if (layout := _LAYOUTS.get(body[0])) is None:
        return None
    if layout.fits(body):
        source, to, protocol, sport, dport, answerer, answered, _, answerer_port, answered_port = layout.values(body)
        return Flow(protocol, (source, sport), (to, dport), (answerer, answerer_port), (answered, answered_port))
    version, found = _VERSIONS[body[0]], attributes(body, 4)
    if _TUPLE_ORIG not in found or _TUPLE_REPLY not in found:
        return None
    protocol, source_end, to_end = _ends(version, found[_TUPLE_ORIG])
    _, answerer_end, answered_end = _ends(version, found[_TUPLE_REPLY])
    return Flow(protocol, source_end, to_end, answerer_end, answered_end)


def _ends(version: int, body: Buffer) -> tuple[int, tuple[bytes, int], tuple[bytes, int]]:
    found = attributes(body)
    ip, proto = attributes(found[_TUPLE_IP]), attributes(found[_TUPLE_PROTO])
    sport, dport = (int.from_bytes(proto.get(port, b""), "big") for port in (_PROTO_SRC_PORT, _PROTO_DST_PORT))
    return proto[_PROTO_NUM][0], (bytes(ip[_IP_SRC[version]]), sport), (bytes(ip[_IP_DST[version]]), dport)


def _identity(body: Buffer) -> bytes:
    found = attributes(body, 4)
    identity = attribute(_TUPLE_ORIG | _NESTED, bytes(found[_TUPLE_ORIG]))
    return identity + b"".join(attribute(type_, bytes(found[type_])) for type_ in (_ZONE, _ID) if type_ in found)


def _is_cut(body: Buffer) -> bool:
    return bytes(attributes(body, 4).get(_MARK, b"")) == _CUT


def _code(body: Buffer) -> int:
    return -int.from_bytes(body[:4], sys.byteorder, signed=True)


def _refused(what: str, code: int) -> Retryable:
    return Retryable(f"the kernel {what}: {errno_name(code)}", code=code, reason="FlowsFailed")


def _lost(error: OSError) -> Retryable:
    return Retryable(f"the kernel does not tell its flows: {error}", code=error.errno or 0, reason="FlowsFailed")
