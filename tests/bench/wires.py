"""Netlink with the least around it: datagrams assembled beforehand, sent at once, acknowledgements read."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from struct import pack, unpack_from

from netplumb.reconciler.kernel.netlink.channel import NETLINK_CAP_ACK, NLM_F_ACK, NLM_F_REQUEST, SOL_NETLINK
from netplumb.reconciler.kernel.netlink.wire import HEADER, Request

_ANSWER_WITHIN_S = 20
_RECEIVE_BYTES = 1 << 12


@dataclass(frozen=True, slots=True)
class Datagram:
    """Requests as the bytes of one send, and how many acknowledgements they bring."""

    data: bytes
    acknowledgements: int


def assemble(requests: Sequence[Request]) -> Datagram:
    data = b"".join(
        HEADER.pack(16 + len(request.body), request.type, request.flags | NLM_F_REQUEST | NLM_F_ACK, number, 0)
        + request.body
        for number, request in enumerate(requests, 1)
    )
    return Datagram(data, len(requests))


def opened() -> socket.socket:
    """An rtnetlink socket of the calling thread's namespace. Blocking: Python's timeout would poll before a read."""
    wire = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    wire.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, pack("@ll", _ANSWER_WITHIN_S, 0))
    return wire


def carry_out(wire: socket.socket, datagram: Datagram) -> None:
    """One send; the kernel carries all out before it returns. Each acknowledgement is a datagram of its own."""
    wire.send(datagram.data)
    for number in range(datagram.acknowledgements):
        (code,) = unpack_from("=i", wire.recv(_RECEIVE_BYTES), 16)
        if code:
            raise OSError(-code, f"request {number + 1} of {datagram.acknowledgements}: {os.strerror(-code)}")
