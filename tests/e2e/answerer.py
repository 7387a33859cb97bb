"""`python -m tests.e2e.answerer INTERFACE`: sends back each UDP datagram that comes by the interface, whatever port."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress

_SO_RCVBUFFORCE = 33
_UDP = 17
_ETHERNET, _IP = 14, 20
_BUFFER_BYTES = 1 << 26


def answered(frame: bytes) -> bytes:
    """With both ends the other way round. The IP header's sum is the same then; the kernel left UDP's to a device, and
    0 says that there is none."""
    to, source, kind = frame[:6], frame[6:12], frame[12:14]
    ip, udp = frame[_ETHERNET : _ETHERNET + _IP], frame[_ETHERNET + _IP :]
    return source + to + kind + ip[:12] + ip[16:20] + ip[12:16] + udp[2:4] + udp[:2] + udp[4:6] + bytes(2) + udp[8:]


def answer(interface: str) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        sock.bind((interface, 0))
        while True:
            frame, (_, _, direction, *_) = sock.recvfrom(256)
            if direction == socket.PACKET_HOST and frame[_ETHERNET + 9] == _UDP:
                with suppress(OSError):  # more than there is room for
                    sock.send(answered(frame))


if __name__ == "__main__":
    answer(sys.argv[1])
