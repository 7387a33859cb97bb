"""PURE: iptables' own matches, as the kernel holds them, in the words of libnftables-json(5).

libnftables only names such a match, and iptables-legacy has no others. What is not decoded here cannot be judged.
Structures: include/uapi/linux/netfilter/xt_*.h, and netfilter_ipv4/ipt_*.h.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from struct import error, unpack_from
from typing import Any

Expression = dict[str, Any]

_CT_STATE, _CT_STATE_ALIAS = 1 << 0, 1 << 13  # XT_CONNTRACK_*
_CT_WIDE_BYTES = 154  # from revision 2 on
_CT_STATES = ("invalid", "established", "related", "new", "", "", "snat", "dnat", "untracked")
_CT_NATS = frozenset({"snat", "dnat"})
_STATES = ("invalid", "established", "related", "new", "", "", "untracked")
_ADDRESS_TYPES = ("unspec", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole")
_PACKET_TYPES = ("host", "broadcast", "multicast", "other")
_CONNMARK_MODE_AT = {1: 12, 2: 14}  # of struct xt_connmark_tginfo1, and 2
_CT_NOTRACK, _CT_ZONE_OF_ORIGINAL, _CT_ZONE_BY_MARK = 1, 4, 16  # XT_CT_*, include/uapi/linux/netfilter/xt_CT.h
_CT_BYTES = 4  # flags and zone come first
_RESTORE = b"\x02"  # XT_CONNMARK_RESTORE
_ANY_PORT = (0, 0xFFFF)
_FLAG_NAMES = ("fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr")


def decoded(name: str, revision: int, data: bytes, version: int) -> list[Expression] | None:
    """What a match says, None where that is not known. `version` is the address family of its table."""
    decoder = _DECODERS.get((name, revision))
    try:
        return decoder(data, version) if decoder is not None else None
    except (error, ValueError, IndexError):
        return None  # another kernel's structure of the same name


def targeted(name: str, revision: int, data: bytes) -> Expression:
    """What a target does. Of those of connection tracking the ones that keep packets from it, or put them into a zone,
    are told apart. Of those of marks only what sets the packet's, not the connection's, is one."""
    mode_at = _CONNMARK_MODE_AT.get(revision, len(data))
    if name == "MARK" or (name == "CONNMARK" and data[mode_at : mode_at + 1] == _RESTORE):
        return {"mark": None}
    flags, zone = unpack_from("=HH", data) if name == "CT" and len(data) >= _CT_BYTES else (0, 0)
    if name == "NOTRACK" or flags & _CT_NOTRACK:
        return {"notrack": None}
    if (zone or flags & _CT_ZONE_BY_MARK) and not flags & _CT_ZONE_OF_ORIGINAL:
        return {"ct zone": None}
    return {"xt": {"type": "target", "name": name}}


def matching(left: Mapping[str, Any], right: Any, *, inverted: bool = False, op: str = "==") -> Expression:
    return {"match": {"op": "!=" if inverted else op, "left": left, "right": right}}


def header(protocol: str, field: str) -> Expression:
    return {"payload": {"protocol": protocol, "field": field}}


def port_range(first: int, last: int) -> Any:
    return first if first == last else {"range": [first, last]}


def _comment(_data: bytes, _version: int) -> list[Expression]:
    return []


def _conntrack(data: bytes, _version: int) -> list[Expression] | None:
    flags, inverted = unpack_from("=HH", data, 146)
    mask, _ = unpack_from("=BB" if len(data) < _CT_WIDE_BYTES else "=HH", data, 150)
    if flags & ~_CT_STATE_ALIAS != _CT_STATE:
        return None
    names = _named(_CT_STATES, mask)
    key = "state" if _CT_NATS.isdisjoint(names) else "status" if _CT_NATS.issuperset(names) else ""
    return [matching({"ct": {"key": key}}, names, inverted=bool(inverted & _CT_STATE), op="in")] if key else None


def _state(data: bytes, _version: int) -> list[Expression]:
    (mask,) = unpack_from("=I", data)
    return [matching({"ct": {"key": "state"}}, _named(_STATES, mask), op="in")]


def _named(names: Sequence[str], mask: int) -> list[str]:
    return [name for bit, name in enumerate(names) if mask >> bit & 1]


def _tcp(data: bytes, _version: int) -> list[Expression] | None:
    *ports, option, mask, compared, inverted = unpack_from("=4H4B", data)
    if option:
        return None
    found = _ports("tcp", ports, inverted)
    if mask:
        flags = {"&": [header("tcp", "flags"), _named(_FLAG_NAMES, mask)]}
        found.append(matching(flags, _flag_value(compared), inverted=bool(inverted & 4)))
    return found


def _flag_value(flags: int) -> Any:
    return {"|": _named(_FLAG_NAMES, flags)} if flags else 0


def _udp(data: bytes, _version: int) -> list[Expression]:
    *ports, inverted = unpack_from("=4HB", data)
    return _ports("udp", ports, inverted)


def _ports(protocol: str, ports: Sequence[int], inverted: int) -> list[Expression]:
    return [
        matching(header(protocol, field), port_range(*pair), inverted=bool(inverted & bit))
        for field, pair, bit in (("sport", tuple(ports[:2]), 1), ("dport", tuple(ports[2:]), 2))
        if pair != _ANY_PORT or inverted & bit
    ]


def _multiport(data: bytes, _version: int) -> list[Expression] | None:
    which, count = data[0], data[1]
    ports, more, inverted = unpack_from("=15H", data, 2), data[32:47], data[47]
    if which > 1 or count > len(ports):
        return None  # "either end"
    elements, at = [], 0
    while at < count:
        last = at + 1 if more[at] else at
        elements.append(port_range(ports[at], ports[last]))
        at = last + 1
    return [matching(header("th", ("sport", "dport")[which]), {"set": elements}, inverted=bool(inverted))]


def _addrtype(data: bytes, _version: int) -> list[Expression]:
    source, dest, flags = unpack_from("=HHI", data)
    return [
        matching(
            {"fib": {"result": "type", "flags": [field]}},
            {"set": _named(_ADDRESS_TYPES, mask)},
            inverted=bool(flags & bit),
        )
        for field, mask, bit in (("saddr", source, 1), ("daddr", dest, 2))
        if mask
    ]


def _mark(data: bytes, _version: int) -> list[Expression]:
    mark, mask, inverted = unpack_from("=IIB", data)
    return [matching({"&": [{"meta": {"key": "mark"}}, mask]}, mark, inverted=bool(inverted))]


def _iprange(data: bytes, version: int) -> list[Expression]:
    size = 4 if version == 4 else 16
    ends = [str(ip_address(data[at : at + size])) for at in (0, 16, 32, 48)]
    flags = data[64]
    family = "ip" if version == 4 else "ip6"
    return [
        matching(header(family, field), {"range": pair}, inverted=bool(flags & bit << 4))
        for field, pair, bit in (("saddr", ends[:2], 1), ("daddr", ends[2:], 2))
        if flags & bit
    ]


def _devgroup(data: bytes, _version: int) -> list[Expression] | None:
    flags, source, source_mask, dest, dest_mask = unpack_from("=5I", data)
    whole = 0xFFFFFFFF
    sides = (("iifgroup", source, source_mask, 1), ("oifgroup", dest, dest_mask, 4))
    if any(flags & bit and mask != whole for _, _, mask, bit in sides):
        return None
    return [
        matching({"meta": {"key": key}}, group, inverted=bool(flags & bit << 1))
        for key, group, _, bit in sides
        if flags & bit
    ]


def _icmp(data: bytes, version: int) -> list[Expression]:
    type_, _, _, inverted = data[:4]
    if type_ == 0xFF and version == 4:
        return []
    return [matching(header("icmp" if version == 4 else "icmpv6", "type"), type_, inverted=bool(inverted & 1))]


def _rpfilter(data: bytes, _version: int) -> list[Expression]:
    passes = not data[0] & 8  # XT_RPFILTER_INVERT
    return [matching({"fib": {"result": "oif", "flags": ["saddr", "iif"]}}, passes)]


def _pkttype(data: bytes, _version: int) -> list[Expression]:
    type_, inverted = unpack_from("=ii", data)
    name = _PACKET_TYPES[type_] if 0 <= type_ < len(_PACKET_TYPES) else str(type_)
    return [matching({"meta": {"key": "pkttype"}}, name, inverted=bool(inverted))]


_DECODERS: Mapping[tuple[str, int], Callable[[bytes, int], list[Expression] | None]] = {
    ("comment", 0): _comment,
    **dict.fromkeys([("conntrack", 1), ("conntrack", 2), ("conntrack", 3)], _conntrack),
    ("state", 0): _state,
    ("tcp", 0): _tcp,
    ("udp", 0): _udp,
    ("multiport", 1): _multiport,
    ("addrtype", 1): _addrtype,
    ("mark", 1): _mark,
    ("iprange", 1): _iprange,
    ("devgroup", 0): _devgroup,
    ("icmp", 0): _icmp,
    ("icmp6", 0): _icmp,
    ("rpfilter", 0): _rpfilter,
    ("pkttype", 0): _pkttype,
}
