"""Asks the network who has an address: by ARP (RFC 826) or neighbour discovery (RFC 4861), as the kernel does before it
sends there. Nothing else is sent, and the kernel's own table is left as it is, but for what an answer tells it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from struct import Struct

from netplumb.reconciler.kernel.bpf import DROP, JUMP_EQUAL, LOAD_BYTE, RETURN, attach_filter

MANY = 100
"""More hosts than answer for one address."""

_ETH_P_ARP = 0x0806
_BROADCAST = b"\xff" * 6
_ARP = Struct("!HHBBH6s4s6s4s")  # hardware, protocol, their lengths, operation, sender, target
_REQUEST, _REPLY = 1, 2
_IP = 0x0800
_ND = Struct("!BBHI16s")  # type, code, checksum (the kernel's to fill in), flags, target
_SOLICITATION, _ADVERTISEMENT = 135, 136
_SOURCE_MAC, _TARGET_MAC = b"\x01\x01", b"\x02\x01"  # options: their type, and 1 for a length of 8 bytes
_SOLICITED = IPv6Address("ff02::1:ff00:0").packed[:13]
_ON_THE_LINK = 255  # RFC 4861: hop limit of what no router let through
_RECEIVED_MOST = 1 << 11
_ETH_P_IPV6, _IPV6_BYTES = 0x86DD, 40
_ADVERTISEMENTS_ALONE = (
    (LOAD_BYTE, 0, 0, 6),  # the next header
    (JUMP_EQUAL, 0, 3, socket.IPPROTO_ICMPV6),
    (LOAD_BYTE, 0, 0, _IPV6_BYTES),
    (JUMP_EQUAL, 0, 1, _ADVERTISEMENT),
    (RETURN, 0, 0, _RECEIVED_MOST),
    (RETURN, 0, 0, DROP),
)


def who_has(
    link: str, ip: IPv4Address, within_s: float, *, sender: IPv4Address | None = None, enough: int = MANY
) -> list[str]:
    """The MAC addresses that answer for an address by this link, less the link's own: all within the time, or as many
    as are `enough`. Without a `sender` nobody learns anything from it, as RFC 5227 has it for probes.

    Raises OSError."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, socket.htons(_ETH_P_ARP)) as asked:
        asked.bind((link, _ETH_P_ARP))
        own = asked.getsockname()[4]
        from_ip = sender.packed if sender is not None else bytes(4)
        question = _ARP.pack(1, _IP, 6, 4, _REQUEST, own, from_ip, bytes(6), ip.packed)
        asked.sendto(question, (link, _ETH_P_ARP, 0, 0, _BROADCAST))

        def answer(told: bytes) -> str | None:
            if len(told) < _ARP.size:
                return None
            *_, operation, mac, of, _, _ = _ARP.unpack_from(told)
            return mac.hex(":") if operation == _REPLY and of == ip.packed and mac != own else None

        return _answers(asked, within_s, enough, answer)


def who_has_v6(link: str, ip: IPv6Address, within_s: float, *, enough: int = MANY) -> list[str]:
    """The same of IPv6; asked from the link's own link-local address, and heard before any firewall. Raises OSError."""
    index = socket.if_nametoindex(link)
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as heard,
        socket.socket(socket.AF_INET6, kind, socket.IPPROTO_ICMPV6) as asked,
    ):
        attach_filter(heard, _ADVERTISEMENTS_ALONE)  # what an uplink carries is more than can be looked at
        heard.bind((link, _ETH_P_IPV6))
        own = heard.getsockname()[4]
        asked.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
        asked.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _ON_THE_LINK)
        question = _ND.pack(_SOLICITATION, 0, 0, 0, ip.packed) + _SOURCE_MAC + own
        group = IPv6Address(_SOLICITED + ip.packed[13:])
        asked.sendto(question, (str(group), 0, 0, index))

        def answer(told: bytes) -> str | None:
            if len(told) < _IPV6_BYTES + _ND.size:
                return None
            type_, *_, of = _ND.unpack_from(told, _IPV6_BYTES)
            if type_ != _ADVERTISEMENT or of != ip.packed:
                return None
            options = told[_IPV6_BYTES + _ND.size :]
            return options[2:8].hex(":") if options.startswith(_TARGET_MAC) else "an answer without a MAC address"

        return _answers(heard, within_s, enough, answer)


def _answers(asked: socket.socket, within_s: float, enough: int, answer: Callable[[bytes], str | None]) -> list[str]:
    found: dict[str, None] = {}
    ends = time.monotonic() + within_s
    while len(found) < enough and (left := ends - time.monotonic()) > 0:
        asked.settimeout(left)
        try:
            told = asked.recv(_RECEIVED_MOST)
        except TimeoutError:
            break
        if (mac := answer(told)) is not None:
            found[mac] = None
    return list(found)
