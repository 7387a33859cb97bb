"""Packets made by hand and put on a link as they are: sources and segments that no socket would send. And what is seen
of packets on a link."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address

from tests.e2e.hosts import Host

ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 0x0003, 0x0800, 0x86DD
PACKET_OUTGOING = 4
ETHERNET_BYTES = 14
FIN, SYN, RST, PSH, ACK = (1 << bit for bit in range(5))


def _checksum(data: bytes) -> int:
    padded = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(source: str, target: str, protocol: int, content: bytes, *, checksum_at: int | None = None) -> bytes:
    """An IP packet; where a checksum over the pseudo header belongs into the content, it is filled in."""
    src, dst = ip_address(source), ip_address(target)
    if checksum_at is not None:
        pseudo = src.packed + dst.packed + struct.pack("!II", len(content), protocol)
        checksum = struct.pack("!H", _checksum(pseudo + content) or 0xFFFF)
        content = content[:checksum_at] + checksum + content[checksum_at + 2 :]
    if src.version == 6:
        return struct.pack("!IHBB", 6 << 28, len(content), protocol, 64) + src.packed + dst.packed + content
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(content), 1, 0, 64, protocol, 0) + src.packed + dst.packed
    return header[:10] + struct.pack("!H", _checksum(header)) + header[12:] + content


def icmp(source: str, target: str, kind: int, code: int = 0, content: bytes = bytes(4)) -> bytes:
    """An ICMP or ICMPv6 packet; `content` is what follows the checksum."""
    made = struct.pack("!BBH", kind, code, 0) + content
    if ":" in source:
        return packet(source, target, socket.IPPROTO_ICMPV6, made, checksum_at=2)
    return packet(source, target, socket.IPPROTO_ICMP, made[:2] + struct.pack("!H", _checksum(made)) + made[4:])


def datagram(source: tuple[str, int], target: tuple[str, int], content: bytes = b"", *, sound: bool = True) -> bytes:
    """A UDP packet; one that is not sound has a wrong checksum."""
    header = struct.pack("!HHHH", source[1], target[1], 8 + len(content), 0)
    made = packet(source[0], target[0], socket.IPPROTO_UDP, header + content, checksum_at=6)
    at = len(made) - len(content) - 2
    return made if sound else made[:at] + bytes((made[at] ^ 0x55, made[at + 1])) + made[at + 2 :]


def segment(
    source: tuple[str, int], target: tuple[str, int], flags: int, content: bytes = b"", *, seq: int = 1, ack: int = 1
) -> bytes:
    """A TCP packet."""
    header = struct.pack("!HHIIBBHHH", source[1], target[1], seq % (1 << 32), ack, 5 << 4, flags, 1024, 0, 0)
    return packet(source[0], target[0], socket.IPPROTO_TCP, header + content, checksum_at=16)


def put(host: Host, link: str, neighbour: str, content: bytes) -> None:
    """Sends a packet from the host's link to the neighbour's MAC."""
    kind = ETH_P_IPV6 if content[0] >> 4 == 6 else ETH_P_IP
    own = bytes.fromhex(host.link(link)["address"].replace(":", ""))
    with host.enter():
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        wire.bind((link, 0))
    with wire:
        wire.send(bytes.fromhex(neighbour.replace(":", "")) + own + struct.pack("!H", kind) + content)


@dataclass(frozen=True, slots=True)
class Seen:
    """A packet as it was on the link. `flags`, `seq` and `ack` are those of TCP."""

    source: str
    target: str
    protocol: int
    ports: tuple[int, int]
    flags: int = 0
    seq: int = 0
    ack: int = 0


@dataclass(slots=True)
class Tap:
    """What comes in by a link."""

    wire: socket.socket
    _seen: list[Seen] = field(default_factory=list)

    def seen(self, *, for_s: float = 0.5) -> list[Seen]:
        """All packets until now and for a while."""
        ends = time.monotonic() + for_s
        while (left := ends - time.monotonic()) > 0:
            self.wire.settimeout(left)
            try:
                content, address = self.wire.recvfrom(2048)
            except TimeoutError:
                break
            if address[2] != PACKET_OUTGOING and (one := _parsed(content[ETHERNET_BYTES:])) is not None:
                self._seen.append(one)
        return list(self._seen)


@contextmanager
def tapped(host: Host, link: str) -> Iterator[Tap]:
    with host.enter():
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        wire.bind((link, ETH_P_ALL))
    with wire:
        yield Tap(wire)


def _parsed(content: bytes) -> Seen | None:
    version = content[0] >> 4 if content else 0
    if version == 4:
        rest, protocol = content[(content[0] & 0xF) * 4 :], content[9]
        source, target = str(IPv4Address(content[12:16])), str(IPv4Address(content[16:20]))
    elif version == 6:
        rest, protocol = content[40:], content[6]
        source, target = str(IPv6Address(content[8:24])), str(IPv6Address(content[24:40]))
    else:
        return None
    if protocol == socket.IPPROTO_TCP and len(rest) >= 20:
        sport, dport, seq, ack, _, flags = struct.unpack("!HHIIBB", rest[:14])
        return Seen(source, target, protocol, (sport, dport), flags, seq, ack)
    ports = (
        (int.from_bytes(rest[:2], "big"), int.from_bytes(rest[2:4], "big"))
        if protocol in (socket.IPPROTO_UDP, socket.IPPROTO_SCTP)
        else (0, 0)
    )
    return Seen(source, target, protocol, ports)
