"""How large packets may be on their way beyond the node: echoes of several sizes that nobody may fragment.

A router that drops what is too large and tells nobody, or whose word a firewall drops, is seen by nothing else:
connections open, and hang with the first data (RFC 2923). One whose word comes is no fault: the kernel goes by that.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from struct import pack, unpack_from

from netplumb.models.base import IPAddress
from netplumb.reconciler.tracing.icmp import error_of, listen_for_errors

_MOST = (1 << 16) - 1
_LARGE = (9000, 8951, 8000, 4000)
_USUAL = (1500, 1492, 1480, 1476, 1472, 1460, 1450, 1440, 1430, 1420, 1400, 1380, 1360, 1340, 1320, 1300, 1280)
_SIZES = (*_LARGE, *_USUAL, 1006, 576)
"""Of usual links and tunnels."""
_LEAST = {4: 576, 6: 1280}
"""What every way takes. Where not even that is answered somebody judges echoes by their size."""
_TRIES, _EACH_S = 3, 0.5
_RECEIVED_MOST = 128
_ECHO, _ECHO_REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
_HEADERS = {4: 28, 6: 48}  # IP and ICMP
_DO = 2  # IP_PMTUDISC_DO, IPV6_PMTUDISC_DO; include/uapi/linux/in.h, in6.h: Python's socket has none of them
_UNFRAGMENTED = {
    4: ((socket.IPPROTO_IP, 10, _DO),),
    6: ((socket.IPPROTO_IPV6, 23, _DO), (socket.IPPROTO_IPV6, 62, 1)),
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """In bytes, the largest packets that are `passed`, and the smallest that are `lost` without a word. Both are 0
    where there are none: echoes are not answered, or all that the sender may send is."""

    passed: int = 0
    lost: int = 0


def sizes_passed(
    src: IPAddress | None, dst: IPAddress, mtu: int, inside: Callable[[], AbstractContextManager[None]]
) -> Sizes:
    """Of packets that are as large as the sender's link takes, or smaller. Raises OSError."""
    version = dst.version
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    protocol = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
    with inside():
        asking = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    with asking:
        for option in _UNFRAGMENTED[version]:
            asking.setsockopt(*option)
        listen_for_errors(asking)
        if src is not None:
            asking.bind((str(src), 0))
        echoes = _Echoes(asking, version, str(dst), id(asking) & 0xFFFF)
        mtu = min(mtu, _MOST)
        sizes = sorted({mtu, *(it for it in _SIZES if _LEAST[version] <= it < mtu)}, reverse=True)
        passed, sent = 0, sizes
        for _ in range(_TRIES):
            sent = [it for it in sent if it > passed and echoes.send(it)]
            passed = max(passed, echoes.largest(sent[0])) if sent else passed
            if not passed:
                break
        return Sizes(passed, min((it for it in sent if it > passed), default=0) if passed else 0)


class _Echoes:
    """The number of each is its size."""

    def __init__(self, asking: socket.socket, version: int, dst: str, number: int) -> None:
        self._socket = asking
        self._version = version
        self._dst = dst
        self._number = number

    def send(self, size: int) -> bool:
        """False where the kernel knows that it is too large. An error of one before it is told first."""
        body = pack("!BBHHH", _ECHO[self._version], 0, 0, self._number, size) + bytes(size - _HEADERS[self._version])
        if self._version == 4:
            body = body[:2] + pack("!H", _checksum(body)) + body[4:]
        for _ in range(2):
            while error_of(self._socket) is not None:
                pass
            self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            try:
                self._socket.sendto(body, (self._dst, 0))
            except OSError as error:
                if error.errno != errno.EMSGSIZE:
                    raise
            else:
                return True
        return False

    def largest(self, awaited: int) -> int:
        """Of those that are answered; 0 where none is. No longer than until the one that is awaited."""
        found, ends = 0, time.monotonic() + _EACH_S
        while found < awaited and (left := ends - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                told = self._socket.recvfrom(_RECEIVED_MOST)[0]
            except TimeoutError:
                break
            except OSError:
                continue  # a router's word, which counts when the next is sent
            at = (told[0] & 0xF) * 4 if self._version == 4 else 0
            if len(told) >= at + 8:
                type_, _, _, number, size = unpack_from("!BBHHH", told, at)
                if type_ == _ECHO_REPLY[self._version] and number == self._number:
                    found = max(found, size)
        return found


def _checksum(data: bytes) -> int:
    """RFC 1071. Of zeros behind the header nothing is added."""
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, 8, 2))
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
