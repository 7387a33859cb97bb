"""PURE: what the registers of nf_tables hold, field by field, and their values, in the words of libnftables-json(5).

A field that is not known here is one that cannot be judged. Values stand in a register as on the wire, but for numbers
of the kernel's own, which are in the machine's byte order.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

META = {
    0: ("length", "other"),
    1: ("protocol", "ethertype"),
    3: ("mark", "host"),
    4: ("iif", "index"),
    5: ("oif", "index"),
    6: ("iifname", "name"),
    7: ("oifname", "name"),
    15: ("nfproto", "nfproto"),
    16: ("l4proto", "number"),
    19: ("pkttype", "pkttype"),
    21: ("iifgroup", "host"),
    22: ("oifgroup", "host"),
}
CT = {0: ("state", "state"), 1: ("direction", "direction"), 2: ("status", "status"), 3: ("mark", "host")}
_STATES = {1: "invalid", 2: "established", 4: "related", 8: "new", 64: "untracked"}
_STATUSES = {1: "expected", 2: "seen-reply", 4: "assured", 8: "confirmed", 16: "snat", 32: "dnat", 512: "dying"}
_NUMBERED: Mapping[str, Mapping[int, str]] = {
    "nfproto": {2: "ipv4", 10: "ipv6"},
    "ethertype": {0x0800: "ip", 0x86DD: "ip6", 0x0806: "arp"},
    "pkttype": {0: "host", 1: "broadcast", 2: "multicast", 3: "other"},
    "direction": {0: "original", 1: "reply"},
    "state": _STATES,
    "status": _STATUSES,
    "route": {1: "unicast", 2: "local", 3: "broadcast", 4: "anycast", 5: "multicast", 6: "blackhole"},
}
SIZES = {"name": 16, "nfproto": 1, "number": 1, "pkttype": 1, "direction": 1, "ethertype": 2}
"""Of what is not as large as the rest, four bytes."""
_HOST_ORDER = frozenset({"host", "index", "state", "status", "route"})
TURNED = frozenset({"host", "index"})
"""Numbers that mean the same in either order of their bytes."""
FLAGS = frozenset({"state", "status"})

# By header: where a field stands, its size, its name and kind.
_NETWORK = {
    4: (("ip", 9, 1, "protocol", "number"), ("ip", 12, 4, "saddr", "address"), ("ip", 16, 4, "daddr", "address")),
    6: (("ip6", 6, 1, "nexthdr", "number"), ("ip6", 8, 16, "saddr", "address"), ("ip6", 24, 16, "daddr", "address")),
}
_PORTS = ((0, 2, "sport", "number"), (2, 2, "dport", "number"))
HEADERS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}
_ICMP = frozenset({1, 58})


@dataclass(frozen=True, slots=True)
class Field:
    """`left` are the words for it; `size` its bytes; `mask` what of it is looked at, where not all is."""

    left: Mapping[str, Any]
    kind: str
    size: int
    mask: bytes = b""


def unknown(what: str, size: int = 4) -> Field:
    return Field({"unjudged": what}, "other", size)


def network(version: int, offset: int, size: int) -> Iterator[Field]:
    """The fields of a load from the network header; one that holds but the first bytes of an address is a prefix."""
    end = offset + size
    while offset < end:
        for header, at, length, name, kind in _NETWORK.get(version, ()):
            taken = min(length, end - offset)
            if at == offset and (taken == length or kind == "address"):
                yield Field({"payload": {"protocol": header, "field": name}}, kind, taken)
                offset += taken
                break
        else:
            yield unknown("header", end - offset)
            return


def transport(protocol: int | None, offset: int, size: int) -> Iterator[Field]:
    header = HEADERS.get(protocol, "th") if protocol is not None else "th"
    if protocol in _ICMP:
        fields: tuple[tuple[int, int, str, str], ...] = ((0, 1, "type", "number"),)
    else:
        fields = (*_PORTS, (13, 1, "flags", "flags")) if protocol == 6 else _PORTS
    end = offset + size
    while offset < end:
        for at, length, name, kind in fields:
            if at == offset and length <= end - offset:
                yield Field({"payload": {"protocol": header, "field": name}}, kind, length)
                offset += length
                break
        else:
            yield Field({"payload": {"protocol": header, "field": "other"}}, "other", end - offset)
            return


def number(kind: str, data: bytes) -> int:
    return int.from_bytes(data, sys.byteorder if kind in _HOST_ORDER else "big")


def value(field: Field, first: bytes, last: bytes, link: Callable[[int], str]) -> Any:
    """The words for a value, or for a range with both ends."""
    kind = field.kind
    if kind == "name":
        return _name(first, last)
    if kind == "address":
        return _addresses(first, last, field)
    start, end = number(kind, first), number(kind, last)
    if kind == "index" and start == end:
        return link(start)
    if kind == "exists":
        return bool(start)
    if (names := _NUMBERED.get(kind)) is not None and start == end:
        return names.get(start, start)
    return start if start == end else {"range": [start, end]}


def _name(first: bytes, last: bytes) -> Any:
    """A wildcard is a range from the name to all that begin so, or the name without its end."""
    text = first.rstrip(b"\0").decode(errors="surrogateescape")
    if first == last:
        return text if first.endswith(b"\0") or len(first) == 16 else f"{text}*"
    return f"{text}*" if last.rstrip(b"\xff") == first.rstrip(b"\0") else {"unjudged": "names"}


def _addresses(first: bytes, last: bytes, field: Field) -> Any:
    header = field.left["payload"]["protocol"]
    length = 4 if header == "ip" else 16
    missing = length - len(first)
    start, end = ip_address(first + bytes(missing)), ip_address(last + b"\xff" * missing)
    if field.mask:
        bits = int.from_bytes(field.mask, "big")
        ones = bits.bit_count()
        if bits != ((1 << ones) - 1) << (8 * length - ones):
            return {"unjudged": "mask"}
        return {"prefix": {"addr": str(start), "len": ones}}
    if start == end:
        return str(start)
    ones = 8 * length - (int(start) ^ int(end)).bit_length()
    whole = ip_network((first + bytes(missing), ones), strict=False)
    if (whole.network_address, whole.broadcast_address) == (start, end):
        return {"prefix": {"addr": str(start), "len": ones}}
    return {"range": [str(start), str(end)]}


def flag_names(kind: str, data: bytes) -> list[str]:
    bits = number(kind, data)
    return [name for bit, name in _NUMBERED[kind].items() if bits & bit]
