"""Asks the network who has an IPv4 address (RFC 826), from no address of our own, as RFC 5227 has it for probes: nobody
learns anything from it."""

from __future__ import annotations

import socket
import time
from ipaddress import IPv4Address
from struct import Struct

_ETH_P_ARP = 0x0806
_BROADCAST = b"\xff" * 6
_ARP = Struct("!HHBBH6s4s6s4s")  # hardware, protocol, their lengths, operation, sender, target
_REQUEST, _REPLY = 1, 2
_IP = 0x0800


def who_has(link: str, ip: IPv4Address, within_s: float) -> list[str]:
    """The MAC addresses that answer for an address by this link, less the link's own. Raises OSError."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, socket.htons(_ETH_P_ARP)) as asked:
        asked.bind((link, _ETH_P_ARP))
        own = asked.getsockname()[4]
        question = _ARP.pack(1, _IP, 6, 4, _REQUEST, own, bytes(4), bytes(6), ip.packed)
        asked.sendto(question, (link, _ETH_P_ARP, 0, 0, _BROADCAST))
        found: dict[str, None] = {}
        ends = time.monotonic() + within_s
        while (left := ends - time.monotonic()) > 0:
            asked.settimeout(left)
            try:
                told = asked.recv(1 << 11)
            except TimeoutError:
                break
            if len(told) >= _ARP.size:
                *_, operation, mac, sender, _, _ = _ARP.unpack_from(told)
                if operation == _REPLY and sender == ip.packed and mac != own:
                    found[mac.hex(":")] = None
        return list(found)
