"""Hears of the packets that rules of our table tell of by NFLOG, and reads their headers.

The kernel tells only so many of each workload, the socket holds a bounded number, and a drain takes so many of them:
who has much denied costs nobody more than that. What does not fit is lost, and counted by the table all the same.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import islice
from struct import pack

from netplumb.models.base import IPAddress
from netplumb.models.errors import Retryable, StepError, errno_name
from netplumb.models.ports import Protocol
from netplumb.reconciler.kernel.netlink.channel import NETLINK_NETFILTER, NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR
from netplumb.reconciler.kernel.netlink.datagrams import waiting
from netplumb.reconciler.kernel.netlink.wire import HEADER, Buffer, attribute, attributes, messages, string

# include/uapi/linux/netfilter/nfnetlink_log.h; NFNL_SUBSYS_ULOG << 8 | message
_PACKET, _CONFIGURE = 4 << 8, 4 << 8 | 1
_COMMAND, _MODE, _THRESHOLD = 1, 2, 5  # NFULA_CFG_CMD, _MODE, _QTHRESH
_BIND, _COPY_PACKET = 1, 2
_INPUT, _OUTPUT, _PAYLOAD, _PREFIX = 4, 5, 9, 10  # NFULA_IFINDEX_INDEV, _OUTDEV, _PAYLOAD, _PREFIX
_BUFFER_BYTES = 1 << 17
_RECEIVE_BYTES = 1 << 16
_ANSWER_WITHIN_S = 1.0
DRAINED_MOST = 64

# IPv6 headers that may stand before the one that has ports (RFC 8200): hop-by-hop, routing, destination; fragment.
_EXTENSIONS, _FRAGMENT = frozenset({0, 43, 60}), 44
_EXTENSIONS_MOST = 4
_WITH_PORTS = frozenset(it.number for it in Protocol)


@dataclass(frozen=True, slots=True)
class Told:
    """A packet that a rule told of: the rule's prefix, the interfaces by index, 0 where there is none, and what its
    headers say. `port` is that of the destination, 0 for protocols without and where it is not in the packet."""

    prefix: str
    iif: int
    oif: int
    source: IPAddress
    destination: IPAddress
    protocol: int
    port: int


def is_there() -> bool:
    """Whether this kernel has it at all. What it is asked for is nothing."""
    with _opened() as asked:
        try:
            _configure(asked, 0, b"")
        except StepError as error:
            return error.code not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT)
    return True


def _opened() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)


class Nflog:
    """Hears one group, of the network namespace in which it was made. Raises StepError where somebody else has it."""

    def __init__(self, group: int, most_bytes: int) -> None:
        self._socket = _opened()
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            _configure(self._socket, group, attribute(_COMMAND, pack("B", _BIND)))
            mode = attribute(_MODE, pack(">IBx", most_bytes, _COPY_PACKET))
            _configure(self._socket, group, mode + attribute(_THRESHOLD, pack(">I", 1)))
            self._socket.setblocking(False)
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def drain(self) -> Iterator[Told]:
        """What waits, or the first of it."""
        for datagram in islice(waiting(self._socket, _RECEIVE_BYTES), DRAINED_MOST):
            for type_, _, _, _, body in messages(memoryview(datagram or b"")):
                if type_ == _PACKET and (told := told_of(body)) is not None:
                    yield told


def told_of(body: Buffer) -> Told | None:
    """A message's content; None where it has no packet that can be read."""
    fields = attributes(body, 4)
    with suppress(IndexError, ValueError):
        headers = _headers(fields.get(_PAYLOAD, b""))
        iif, oif = (int.from_bytes(fields.get(which, b""), "big") for which in (_INPUT, _OUTPUT))
        return Told(string(fields.get(_PREFIX)), iif, oif, *headers)
    return None


def _headers(packet: Buffer) -> tuple[IPAddress, IPAddress, int, int]:
    """Raises IndexError or ValueError."""
    if packet[0] >> 4 == 4:
        source, destination, protocol = packet[12:16], packet[16:20], packet[9]
        begins = (packet[0] & 0xF) * 4
        whole = not int.from_bytes(packet[6:8], "big") & 0x1FFF
    else:
        source, destination = packet[8:24], packet[24:40]
        protocol, begins, whole = _behind_extensions(packet)
    port = packet[begins + 2 : begins + 4] if whole and protocol in _WITH_PORTS else b""
    return ip_address(bytes(source)), ip_address(bytes(destination)), protocol, int.from_bytes(port, "big")


def _behind_extensions(packet: Buffer) -> tuple[int, int, bool]:
    """The protocol, where its header begins, and whether it is there."""
    protocol, begins, whole = packet[6], 40, True
    for _ in range(_EXTENSIONS_MOST):
        if protocol in _EXTENSIONS:
            protocol, begins = packet[begins], begins + (packet[begins + 1] + 1) * 8
        elif protocol == _FRAGMENT:
            whole &= not int.from_bytes(packet[begins + 2 : begins + 4], "big") >> 3
            protocol, begins = packet[begins], begins + 8
        else:
            break
    return protocol, begins, whole


def _configure(asked: socket.socket, group: int, body: bytes) -> None:
    """Raises StepError as the kernel refuses."""
    payload = pack("=BB", socket.AF_UNSPEC, 0) + pack(">H", group) + body  # struct nfgenmsg
    asked.settimeout(_ANSWER_WITHIN_S)
    try:
        asked.send(HEADER.pack(16 + len(payload), _CONFIGURE, NLM_F_REQUEST | NLM_F_ACK, 0, 0) + payload)
        while True:
            for type_, _, _, _, told in messages(memoryview(asked.recv(_RECEIVE_BYTES))):
                if type_ == NLMSG_ERROR:
                    if code := -int.from_bytes(told[:4], sys.byteorder, signed=True):
                        raise Retryable(f"NFLOG group {group} is refused: {errno_name(code)}", code=code)
                    return
    except OSError as error:
        raise Retryable(f"NFLOG does not answer: {error}", code=error.errno or 0) from None
