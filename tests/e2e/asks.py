"""Questions on the wire, asked by hand as a network stack of its own would: ARP, neighbour solicitations, router
advertisements."""

from __future__ import annotations

import socket
import struct
import time
from ipaddress import IPv4Address, IPv6Address

from tests.e2e.hosts import Host

WITHIN_S = 3.0

ETH_P_ARP = 0x0806
ETH_P_IPV6 = 0x86DD
ARP_REQUEST, ARP_REPLY = 1, 2
ROUTER_ADVERTISEMENT, SOLICITATION, ADVERTISEMENT = 134, 135, 136
SOURCE_LINK_ADDRESS, TARGET_LINK_ADDRESS = 1, 2


def _mac_of(host: Host, link: str) -> bytes:
    return bytes.fromhex(host.link(link)["address"].replace(":", ""))


def _packet_socket(host: Host, link: str, protocol: int) -> socket.socket:
    with host.enter():
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
        made.bind((link, protocol))
    made.settimeout(WITHIN_S)
    return made


def arp(host: Host, link: str, source: str, target: str) -> str:
    """The MAC address with which an ARP request for the target is answered."""
    mac = _mac_of(host, link)
    asked = IPv4Address(target).packed
    header = b"\xff" * 6 + mac + struct.pack("!H", ETH_P_ARP)
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, ARP_REQUEST) + mac + IPv4Address(source).packed + bytes(6) + asked
    with _packet_socket(host, link, ETH_P_ARP) as wire:
        wire.send(header + body)
        ends = time.monotonic() + WITHIN_S
        while time.monotonic() < ends:
            reply = wire.recv(2048)[14:]
            if struct.unpack("!H", reply[6:8])[0] == ARP_REPLY and reply[14:18] == asked:
                return reply[8:14].hex(":")
    raise AssertionError(f"no ARP reply for {target}")


def neighbour_discovery(host: Host, link: str, source: str, target: str) -> str:
    """The MAC address with which a neighbour solicitation for the target is answered."""
    mac = _mac_of(host, link)
    asked, own = IPv6Address(target).packed, IPv6Address(source).packed
    group = IPv6Address("ff02::1:ff00:0").packed[:13] + asked[13:]
    message = bytearray(struct.pack("!BBHI", SOLICITATION, 0, 0, 0) + asked)
    message += struct.pack("!BB", SOURCE_LINK_ADDRESS, 1) + mac
    message[2:4] = _checksum(own + group + struct.pack("!IHBB", len(message), 0, 0, 58) + message)
    ethernet = b"\x33\x33" + group[12:] + mac + struct.pack("!H", ETH_P_IPV6)
    packet = struct.pack("!IHBB", 6 << 28, len(message), 58, 255) + own + group + message
    with _packet_socket(host, link, ETH_P_IPV6) as wire:
        wire.send(ethernet + packet)
        ends = time.monotonic() + WITHIN_S
        while time.monotonic() < ends:
            answer = wire.recv(2048)[14 + 40 :]
            if answer[:1] == bytes([ADVERTISEMENT]) and answer[8:24] == asked:
                assert answer[24] == TARGET_LINK_ADDRESS
                return answer[26:32].hex(":")
    raise AssertionError(f"no neighbour advertisement for {target}")


def _checksum(data: bytes | bytearray) -> bytes:
    padded = bytes(data) + bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)


def advertise_router(host: Host, link: str, lifetime_s: int = 1800) -> None:
    """Says to all nodes on the link that this host is a router."""
    # Cur hop limit, flags, lifetime, reachable and retransmission timers; the kernel fills in the checksum.
    message = struct.pack("!BBHBBHII", ROUTER_ADVERTISEMENT, 0, 0, 64, 0, lifetime_s, 0, 0)
    message += struct.pack("!BB", SOURCE_LINK_ADDRESS, 1) + _mac_of(host, link)
    with host.enter():
        index = socket.if_nametoindex(link)
        wire = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    with wire:
        wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        wire.sendto(message, ("ff02::1", 0, 0, index))
