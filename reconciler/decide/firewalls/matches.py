"""Whether one condition of a rule holds for a kind of packet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from netplumb.models.kernel import LINK_GROUP
from netplumb.reconciler.decide.firewalls.answers import NO, UNKNOWN, YES, Answer, Match, any_of, sure
from netplumb.reconciler.decide.firewalls.fields import address, interface, is_few, port, port_range
from netplumb.reconciler.decide.firewalls.traffic import ICMP, ICMPV6, TCP, UDP, Ours, Packet, Party, Side

Elements = Callable[[str], Sequence[Any] | None]
"""The elements of a named set; None where they were not read."""

_PROTOCOLS = {"icmp": ICMP, "tcp": TCP, "udp": UDP, "sctp": 132, "icmpv6": ICMPV6, "ipv6-icmp": ICMPV6}
_PORT_HEADERS = {"tcp": TCP, "udp": UDP, "sctp": 132}
_OTHER_HEADERS = frozenset({"udplite", "dccp", "ah", "esp", "comp", "igmp", "arp", "vlan", "gre", "geneve", "vxlan"})
_FAMILIES = {"ip": 4, "ipv4": 4, "ip6": 6, "ipv6": 6}
_FLAGS = {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ecn": 64, "cwr": 128}
_BEGINNING, _GOING_ON = (0x02, 0xC2), (0x10, 0x18, 0x11, 0x12, 0x04, 0x14)
"""TCP flags as real connections have them."""
_ECHO, _ECHO_REPLY = frozenset({"echo-request", 8, 128}), frozenset({"echo-reply", 0, 129})
_ERRORS = {
    4: (frozenset({"destination-unreachable", 3}),),
    6: (frozenset({"destination-unreachable", 1}), frozenset({"packet-too-big", 2})),
}
_UNICAST = frozenset({"host", "unicast"})


@dataclass(frozen=True, slots=True)
class Judge:
    """Answers for one kind of packet."""

    packet: Packet
    ours: Ours
    elements: Elements

    def match(self, match: Mapping[str, Any]) -> Match:
        """A `match` of libnftables' JSON."""
        op, left, right = match.get("op"), match.get("left"), match.get("right")
        if isinstance(left, Mapping) and "&" in left and isinstance(right, list):
            right = {"|": right}
        if not self._is_of_this_kind(left):
            return NO  # whatever the operator: a rule about another protocol's header is passed over
        if op in ("==", "in"):
            return self.equals(left, right)
        if op in ("!=", "!"):
            return self._differs(left, right)
        if op in ("<", ">", "<=", ">=") and isinstance(right, int):
            first, last = (0, right - (op == "<")) if op in ("<", "<=") else (right + (op == ">"), 0xFFFF)
            return self.equals(left, {"range": [first, last]})
        return UNKNOWN

    def equals(self, left: Any, right: Any) -> Match:
        """Whether a field has one of the values: one, a list of flags, a set, or the name of a set."""
        values = self.values(right)
        return UNKNOWN if values is None else self.among(left, values)

    def _differs(self, left: Any, right: Any) -> Match:
        values = self.values(right)
        if values is None:
            return UNKNOWN
        found = self.among(left, values)
        return YES if found.answer is Answer.PART and is_few(values) else found.negated()

    def among(self, left: Any, values: Sequence[Any]) -> Match:
        if not self._is_of_this_kind(left):
            return NO
        judged = [value for value in values if not (isinstance(value, Mapping) and "unjudged" in value)]
        if len(judged) < len(values):
            return any_of([UNKNOWN, self.among(left, judged)])
        match left:
            case {"concat": parts}:
                return any_of(self._all_parts(parts, value) for value in values)
            case {"meta": {"key": key}}:
                return self._meta(key, values)
            case {"payload": {"protocol": header, "field": field}}:
                return self._payload(header, field, values)
            case {"ct": {"key": "state" | "status" | "direction" | "mark" as key}} if "dir" not in left["ct"]:
                return self._ct(key, values)
            case {"fib": {"result": result, "flags": flags}}:
                return self._fib(result, flags, values)
            case {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, mask]}:
                wanted = {_flags(value) for value in values}
                return self._tcp_flags(lambda flags: flags & _flags(mask) in wanted)
            case _:
                return UNKNOWN

    def values(self, right: Any) -> Sequence[Any] | None:
        if isinstance(right, str) and right.startswith("@"):
            found = self.elements(right[1:])
            return None if found is None else [_bare(it) for it in found]
        if isinstance(right, Mapping) and "set" in right:
            inner = right["set"]
            return [_bare(it) for it in inner] if isinstance(inner, list) else [inner]
        return right if isinstance(right, list) else [right]

    def _all_parts(self, parts: Sequence[Any], value: Any) -> Match:
        values = value.get("concat") if isinstance(value, Mapping) else None
        if not isinstance(values, list) or len(values) != len(parts):
            return UNKNOWN
        found = YES
        for part, each in zip(parts, values, strict=True):
            found = found.both(self.among(part, [each]))
        return found

    def _is_of_this_kind(self, left: Any) -> bool:
        if not isinstance(left, Mapping):
            return True
        if isinstance(masked := left.get("&"), list):
            return self._is_of_this_kind(masked[0])
        header = left["payload"].get("protocol") if isinstance(left.get("payload"), Mapping) else None
        if header in ("ip", "ip6"):
            return self.packet.version == _FAMILIES[header]
        if header in ("icmp", "icmpv6"):
            return self.packet.protocol == _PROTOCOLS[header]
        if header == "th":
            return self.packet.protocol not in (ICMP, ICMPV6)
        return header not in _OTHER_HEADERS and _PORT_HEADERS.get(str(header), self.packet.protocol) == (
            self.packet.protocol
        )

    def _meta(self, key: str, values: Sequence[Any]) -> Match:
        packet = self.packet
        match key:
            case "iifname" | "iif" | "oifname" | "oif":
                return interface(packet.iif if key[0] == "i" else packet.oif, values, self.ours)
            case "iifgroup" | "oifgroup":
                side = packet.iif if key[0] == "i" else packet.oif
                if any(first <= LINK_GROUP <= last for first, last in map(port_range, values)):
                    return Match(Answer.YES, ours=True) if side is Side.OURS else NO
                return UNKNOWN if side in (Side.OUTSIDE, Side.UNDERLAY) else NO
            case "l4proto":
                return sure(packet.protocol in _numbers(values))
            case "nfproto" | "protocol":
                return sure(packet.version in [_FAMILIES.get(str(value)) for value in values])
            case "pkttype":
                return sure(not _UNICAST.isdisjoint(map(str, values)))
            case _:
                return UNKNOWN

    def _payload(self, header: str, field: str, values: Sequence[Any]) -> Match:
        packet = self.packet
        match header, field:
            case "ip" | "ip6", "saddr" | "daddr":
                party = packet.src if field == "saddr" else packet.dst
                return address(party, packet.version, values, self.ours)
            case ("ip", "protocol") | ("ip6", "nexthdr"):
                return sure(packet.protocol in _numbers(values))
            case "tcp", "flags":
                wanted = _flags(values)
                return self._tcp_flags(lambda flags: bool(flags & wanted))
            case "icmp" | "icmpv6", "type":
                return self._icmp_type(values)
            case _, "dport" | "sport":
                return port(packet.dports if field == "dport" else packet.sports, values)
            case _:
                return UNKNOWN

    def _icmp_type(self, values: Sequence[Any]) -> Match:
        """An echo, or errors that a connection cannot do without, each of them."""
        mine = _ERRORS[self.packet.version] if self.packet.error else (_ECHO_REPLY if self.packet.answer else _ECHO,)
        named = {value for value in values if _is_plain(value)}
        met = [not type_.isdisjoint(named) for type_ in mine]
        return YES if all(met) else Match(Answer.SOME) if any(met) else NO

    def _ct(self, key: str, values: Sequence[Any]) -> Match:
        packet = self.packet
        if key == "state":
            return sure(packet.state in values)
        if not packet.tracked:
            return UNKNOWN
        if key == "direction":
            return sure(("reply" if packet.answer else "original") in values)
        if "dnat" in values:
            return sure(packet.mapped)
        return UNKNOWN

    def _fib(self, result: str, flags: Sequence[str], values: Sequence[Any]) -> Match:
        """Ours have a way back: each workload has its route, and an uplink the default route."""
        if result == "oif" and "saddr" in flags and values in ([True], [False]):
            return sure(values == [True])
        if result == "type" and ("daddr" in flags or "saddr" in flags):
            party = self.packet.dst if "daddr" in flags else self.packet.src
            return sure(("local" if party is Party.NODE else "unicast") in values)
        return UNKNOWN

    def _tcp_flags(self, holds: Callable[[int], bool]) -> Match:
        found = {holds(flags) for flags in (_GOING_ON if self.packet.answer else _BEGINNING)}
        return UNKNOWN if len(found) > 1 else sure(found.pop())


def _bare(element: Any) -> Any:
    """Without its comment, timeout and counter."""
    return element["elem"]["val"] if isinstance(element, Mapping) and "elem" in element else element


def _numbers(values: Sequence[Any]) -> set[Any]:
    return {_PROTOCOLS.get(value, value) if isinstance(value, str) else value for value in values if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int)


def _flags(value: Any) -> int:
    """TCP flags as a number: of a name, a number, a list of them, or their disjunction."""
    match value:
        case int():
            return value
        case str():
            return _FLAGS.get(value, 0)
        case list():
            return sum({flag: _flags(flag) for flag in value if _is_plain(flag)}.values())
        case {"|": parts}:
            return _flags(parts)
        case _:
            return 0
