"""Inside the daemon under test: netlink sockets whose requests are refused, cut off in the middle of a batch, not
answered, or answered with an interrupted dump."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.e2e.faultcounts import DUMP, FAULTS, die
from tests.e2e.faults import Kind

NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12
NLMSG_ERROR, NLM_F_DUMP_INTR, NLM_F_DUMP = 2, 0x10, 0x300
HEADER = struct.Struct("=IHHII")

# The first of each four message types of rtnetlink: NEW, DEL, GET, SET; include/uapi/linux/rtnetlink.h
RTNETLINK = {
    16: "LINK",
    20: "ADDR",
    24: "ROUTE",
    28: "NEIGH",
    32: "RULE",
    36: "QDISC",
    40: "TCLASS",
    44: "TFILTER",
    88: "NSID",
}
RTM_GETNEIGH = 30
NFNL_MSG_BATCH_BEGIN = 16
IPCTNL_MSG_CT_DELETE = 1 << 8 | 2


@dataclass(frozen=True, slots=True)
class Message:
    type: int
    flags: int
    sequence: int
    port_id: int
    raw: bytes

    @property
    def is_periodic(self) -> bool:
        """The look at proxy neighbours, which goes on whatever a scenario does, by a socket that the kernel numbers."""
        return self.type == RTM_GETNEIGH and not self.port_id

    def call(self, protocol: int) -> tuple[str, bool]:
        """Its name, and whether it changes something."""
        if protocol == NETLINK_ROUTE:
            verb = ("NEW", "DEL", "GET", "SET")[self.type & 3]
            dump = DUMP if verb == "GET" and self.flags & NLM_F_DUMP == NLM_F_DUMP else ""
            return f"{dump}RTM_{verb}{RTNETLINK.get(self.type & ~3, self.type)}", verb != "GET"
        return f"netfilter {self.type >> 8}/{self.type & 255}", self.type in (
            NFNL_MSG_BATCH_BEGIN,
            IPCTNL_MSG_CT_DELETE,
        )


def messages(data: bytes) -> Iterator[Message]:
    offset = 0
    while offset + HEADER.size <= len(data):
        size, type_, flags, sequence, port_id = HEADER.unpack_from(data, offset)
        end = offset + ((size + 3) & ~3)
        yield Message(type_, flags, sequence, port_id, data[offset:end])
        offset = end


def is_transaction(data: bytes) -> bool:
    """Whether the kernel carries out all of the messages or none."""
    return next(messages(bytes(data))).type == NFNL_MSG_BATCH_BEGIN


class Socket(socket.socket):
    """A netlink socket whose requests and answers meet faults; any other is as always."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._made_up: deque[bytes] = deque()
        self._interrupted: set[int] = set()
        self._lost = 0

    def send(self, data: Any, flags: int = 0) -> int:
        if self.family != socket.AF_NETLINK or self.proto not in (NETLINK_ROUTE, NETLINK_NETFILTER):
            return super().send(data, flags)
        kept, refused = b"", False
        for message in messages(bytes(data)):
            if self.proto == NETLINK_ROUTE and message.is_periodic:
                kept += message.raw
                continue
            call, changes = message.call(self.proto)
            fault = FAULTS.meet(call, changes=changes)
            match fault.kind:
                case Kind.DIE_BEFORE | Kind.DIE_AFTER:
                    if fault.kind is Kind.DIE_AFTER:
                        kept = bytes(data) if is_transaction(data) else kept + message.raw
                    if kept:
                        super().send(kept, flags)
                    die()
                case Kind.SEND:
                    raise OSError(fault.code, os.strerror(fault.code))
                case Kind.REFUSE:
                    self._made_up.append(_refusal(message, fault.code))
                    refused = True
                    continue
                case Kind.RECEIVE:
                    self._lost = fault.code
                case Kind.INTERRUPT:
                    self._interrupted.add(message.sequence)
            kept += message.raw
        if kept and not (refused and is_transaction(data)):
            super().send(kept, flags)
        return len(data)

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        if self._lost:
            code, self._lost = self._lost, 0
            code = errno.EAGAIN if code == errno.ETIMEDOUT else code  # so SO_RCVTIMEO says it
            raise OSError(code, os.strerror(code))
        if self._made_up:
            return self._made_up.popleft()
        data = super().recv(bufsize, flags)
        return self._marked(data) if self._interrupted else data

    def _marked(self, data: bytes) -> bytes:
        marked = b""
        for message in messages(data):
            flags = message.flags | (NLM_F_DUMP_INTR if message.sequence in self._interrupted else 0)
            marked += message.raw[:6] + struct.pack("=H", flags) + message.raw[8:]
        return marked


def _refusal(request: Message, code: int) -> bytes:
    """What the kernel sends in place of carrying a request out: the error, and the request's header."""
    return HEADER.pack(36, NLMSG_ERROR, 0, request.sequence, 0) + struct.pack("=i", -code) + request.raw[:16]
