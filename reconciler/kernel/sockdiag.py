"""Asks the kernel which sockets of the node something may arrive at (sock_diag(7)).

It filters by state and port, so that thousands of sockets cost their walk in the kernel and nothing here.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Sequence
from ipaddress import IPv6Address, ip_address
from struct import Struct

from netplumb.models.base import IPAddress
from netplumb.models.errors import Retryable, errno_name
from netplumb.models.ports import Protocol
from netplumb.models.sockets import Listener
from netplumb.reconciler.kernel.netlink.channel import (
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    REPLY_TIMEOUT_S,
)
from netplumb.reconciler.kernel.netlink.wire import HEADER, Buffer, attribute, attributes, messages

RANGES_MAX = 64
"""The kernel proves the filter before it runs it, in time that grows with the square of its length."""

_NETLINK_SOCK_DIAG = 4
_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY, include/uapi/linux/sock_diag.h
# include/uapi/linux/inet_diag.h
_REQ_BYTECODE, _SKV6ONLY = 1, 11
_REQUEST = Struct("=BBBxI48x")
_MESSAGE = Struct("=Bxxx2sxx16s32xIIxxxxI")  # family, source port, source address, both queues, inode
_JUMP, _PORT_AT_LEAST, _PORT_AT_MOST = 1, 2, 3
_OPERATION = Struct("=BBH")
_STATES = {Protocol.TCP: 1 << 10, Protocol.UDP: 1 << 7}  # LISTEN; CLOSE, which UDP's are in while not connected
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


class SockDiag:
    """The sockets of the namespace in which it was made; used by one thread at a time."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)
        self._socket.settimeout(REPLY_TIMEOUT_S)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def listeners(self, protocol: Protocol, ranges: Sequence[tuple[int, int]]) -> Iterator[Listener]:
        """Those at ports within the ranges, at most RANGES_MAX. Raises Retryable when the kernel does not tell."""
        if protocol in _STATES and ranges:
            for family in _FAMILIES:
                for body in self._dump(family, protocol, attribute(_REQ_BYTECODE, port_filter(ranges))):
                    yield _listener(protocol, body)

    def _dump(self, family: int, protocol: Protocol, filtered: bytes) -> Iterator[Buffer]:
        self._sequence += 1
        body = _REQUEST.pack(family, protocol.number, 0, _STATES[protocol]) + filtered
        header = HEADER.pack(16 + len(body), _BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, self._sequence, 0)
        try:
            self._socket.send(header + body)
            while True:
                for type_, _, sequence, _, told in messages(memoryview(self._socket.recv(1 << 16))):
                    if sequence != self._sequence:
                        continue  # of a dump that was given up
                    if type_ == NLMSG_DONE:
                        return
                    if type_ == NLMSG_ERROR:
                        code = -int.from_bytes(told[:4], "little", signed=True)
                        raise Retryable(f"the kernel lists no {protocol} sockets: {errno_name(code)}", code=code)
                    yield told
        except OSError as error:
            words = f"the kernel does not list {protocol} sockets: {errno_name(error.errno or errno.ETIMEDOUT)}"
            raise Retryable(words, code=error.errno or 0) from None


def port_filter(ranges: Sequence[tuple[int, int]]) -> bytes:
    """The kernel's bytecode for "the local port is in one of these": each operation says how far to go on when it
    holds, and how far when not; what goes on to the very end is listed, what goes beyond is not."""
    code = b""
    for first, last in reversed(ranges):
        jump = _OPERATION.pack(_JUMP, 4, 4 + len(code)) if code else b""
        otherwise = 16 + (len(jump) or 4)
        lower = _OPERATION.pack(_PORT_AT_LEAST, 8, otherwise) + _OPERATION.pack(0, 0, first)
        upper = _OPERATION.pack(_PORT_AT_MOST, 8, otherwise - 8) + _OPERATION.pack(0, 0, last)
        code = lower + upper + jump + code
    return code


def _listener(protocol: Protocol, body: Buffer) -> Listener:
    family, port, source, waiting, room, inode = _MESSAGE.unpack_from(body)
    versions, ip = ((4,), ip_address(source[:4])) if family == socket.AF_INET else _of_ipv6(IPv6Address(source), body)
    queue = {"waiting": waiting, "room": room} if protocol is Protocol.TCP else {}
    at = None if ip.is_unspecified else ip
    return Listener(protocol, int.from_bytes(port, "big"), versions, at, inode, **queue)


def _of_ipv6(ip: IPv6Address, body: Buffer) -> tuple[tuple[int, ...], IPAddress]:
    """The families that an IPv6 socket hears: one at no address hears IPv4 too unless it was told not to."""
    if (mapped := ip.ipv4_mapped) is not None:
        return (4,), mapped
    only = attributes(body, _MESSAGE.size).get(_SKV6ONLY, b"\0")
    return ((4, 6) if ip.is_unspecified and not only[0] else (6,)), ip
