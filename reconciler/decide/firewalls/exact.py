"""Whether a condition of a rule holds for one packet whose every header is known, where `matches` answers for kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from netplumb.models.base import IPAddress
from netplumb.models.flows import CUT
from netplumb.reconciler.decide.firewalls.answers import NO, UNKNOWN, Match, any_of, sure
from netplumb.reconciler.decide.firewalls.fields import address_range, port_range
from netplumb.reconciler.decide.firewalls.matches import Elements, Judge
from netplumb.reconciler.decide.firewalls.traffic import Ours, Packet, Party, Side


@dataclass(frozen=True, slots=True)
class OnePacket:
    """A packet as one hook sees it. `state` is conntrack's; `statuses` are `dnat` and `snat`, as far as it was
    translated. `src_type` and `dst_type` are how the kernel would route them; `way_back` is whether it has one for the
    source over the interface that the packet came by."""

    src: IPAddress
    dst: IPAddress
    protocol: int
    sport: int = 0
    dport: int = 0
    iif: str = ""
    oif: str = ""
    iif_group: int = 0
    oif_group: int = 0
    state: str = "new"
    statuses: frozenset[str] = frozenset()
    src_type: str = "unicast"
    dst_type: str = "unicast"
    way_back: bool = True
    mark: int | None = 0
    """None where somebody may have set one that is not known."""

    @property
    def version(self) -> int:
        return self.dst.version

    @property
    def answer(self) -> bool:
        return self.state == "established"


@dataclass(frozen=True)
class ExactJudge(Judge):
    one: OnePacket

    def _meta(self, key: str, values: Sequence[Any]) -> Match:
        one = self.one
        match key:
            case "iifname" | "iif" | "oifname" | "oif":
                name = one.iif if key[0] == "i" else one.oif
                return sure(any(isinstance(value, str) and fnmatchcase(name, value) for value in values))
            case "iifgroup" | "oifgroup":
                return _within(one.iif_group if key[0] == "i" else one.oif_group, values, port_range)
            case "mark":
                return UNKNOWN if one.mark is None else _within(one.mark, values, port_range)
            case _:
                return super()._meta(key, values)

    def _payload(self, header: str, field: str, values: Sequence[Any]) -> Match:
        one = self.one
        match header, field:
            case "ip" | "ip6", "saddr" | "daddr":
                return _within(int(one.src if field == "saddr" else one.dst), values, address_range)
            case _, "dport" | "sport":
                return _within(one.dport if field == "dport" else one.sport, values, port_range)
            case _:
                return super()._payload(header, field, values)

    def _ct(self, key: str, values: Sequence[Any]) -> Match:
        one = self.one
        if key == "status" and one.state != "invalid" and not {"dnat", "snat"}.isdisjoint(values):
            return sure(not one.statuses.isdisjoint(values))
        if key == "mark" and list(values) == [CUT]:
            return NO  # it begins a flow, or answers what did: only one that was there before was cut
        return super()._ct(key, values)

    def _fib(self, result: str, flags: Sequence[str], values: Sequence[Any]) -> Match:
        one = self.one
        if result == "oif" and "saddr" in flags and values in ([True], [False]):
            return sure(values == [one.way_back])
        if result == "type" and ("daddr" in flags or "saddr" in flags):
            return sure((one.dst_type if "daddr" in flags else one.src_type) in values)
        return UNKNOWN


def _within(number: int, values: Sequence[Any], ends_of: Any) -> Match:
    return any_of(_is_in(number, value, ends_of) for value in values)


def _is_in(number: int, value: Any, ends_of: Any) -> Match:
    try:
        first, last = ends_of(value)
    except (TypeError, ValueError):
        return UNKNOWN
    return sure(first <= number <= last)


def judge(one: OnePacket, elements: Elements, *, tracked: bool) -> ExactJudge:
    """`tracked` is whether conntrack has seen it when the chain does."""
    kind = Packet(
        "the packet",
        one.version,
        one.protocol,
        Side.NOWHERE,
        Side.NOWHERE,
        Party.FOREIGN,
        Party.FOREIGN,
        answer=one.answer,
        tracked=tracked,
    )
    return ExactJudge(kind, Ours(), elements, one)
