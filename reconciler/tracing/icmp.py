"""Who refused a packet that was sent, and why: the error that a router or the other host sent back by ICMP, as the
kernel keeps it for the socket (IP_RECVERR, ip(7))."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import ip_address
from struct import Struct

from netplumb.models.base import IPAddress

# include/uapi/linux/in.h, in6.h, errqueue.h; Python's socket has none of them.
_RECVERR = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}
_EXTENDED = Struct("=IBBBBII")  # errno, origin, type, code, pad, info, data; the offender's address follows
_ORIGINS = {2: 4, 3: 6}  # SO_EE_ORIGIN_ICMP and ICMP6, and the family
_OFFENDER_AT = {4: slice(_EXTENDED.size + 4, _EXTENDED.size + 8), 6: slice(_EXTENDED.size + 8, _EXTENDED.size + 24)}
_RECEIVED_MOST = 1 << 11
_PROHIBITED, _NO_ROUTE, _NOT_THERE = "a firewall there prohibits it", "it has no route", "nobody there has the address"
_EXPIRED = "its time to live ran out"
_WORDS = {
    (4, 3, 0): _NO_ROUTE,
    (4, 3, 1): _NOT_THERE,
    (4, 3, 3): "nobody listens on the port",
    (4, 3, 4): "it is too large",
    **dict.fromkeys(((4, 3, 9), (4, 3, 10), (4, 3, 13)), _PROHIBITED),
    (4, 11, 0): _EXPIRED,
    (6, 1, 0): _NO_ROUTE,
    (6, 1, 1): _PROHIBITED,
    (6, 1, 3): _NOT_THERE,
    (6, 1, 4): "nobody listens on the port",
    (6, 2, 0): "it is too large",
    (6, 3, 0): _EXPIRED,
}
"""By family, type and code: RFC 792, RFC 1812 and RFC 4443."""


@dataclass(frozen=True, slots=True)
class IcmpError:
    sender: IPAddress
    type: int
    code: int

    def __str__(self) -> str:
        words = _WORDS.get((self.sender.version, self.type, self.code), "it is not delivered")
        return f"{words} (ICMP type {self.type}, code {self.code})"


def listen_for_errors(asking: socket.socket) -> None:
    asking.setsockopt(*_RECVERR[asking.family], 1)


def error_of(asking: socket.socket) -> IcmpError | None:
    """What was sent back for what the socket sent; None where the kernel itself refused, or nobody did."""
    while True:
        try:
            _, told, *_ = asking.recvmsg(_RECEIVED_MOST, _RECEIVED_MOST, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
        except OSError:
            return None
        for level, kind, data in told:
            if (level, kind) == _RECVERR[asking.family] and len(data) >= _EXTENDED.size:
                _, origin, type_, code, *_ = _EXTENDED.unpack_from(data)
                if (version := _ORIGINS.get(origin)) and len(data) >= _OFFENDER_AT[version].stop:
                    return IcmpError(ip_address(data[_OFFENDER_AT[version]]), type_, code)
