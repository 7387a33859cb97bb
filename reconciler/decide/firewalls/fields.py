"""Interfaces, addresses and ports of ours beside the values that a rule names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from netplumb.models.naming import NODE_IF_PREFIX
from netplumb.reconciler.decide.firewalls.answers import (
    NO,
    UNKNOWN,
    YES,
    Answer,
    Match,
    Range,
    any_of,
    covered,
    merged,
)
from netplumb.reconciler.decide.firewalls.traffic import ANY_PORT, EPHEMERAL, Ours, Party, Side, network_range

_MOST_OF_ALL = 3
"""From so few bits on, a prefix is no matter of some others: it holds an eighth of all addresses, or more."""
_FEW_PORTS = 1024
_BITS = {4: 32, 6: 128}


def interface(side: Side, values: Sequence[Any], ours: Ours) -> Match:
    """`np*` stands for every name that begins so."""
    names = [value for value in values if isinstance(value, str)]
    match side:
        case Side.OURS:
            return any_of(_our_link(name, ours) for name in names)
        case Side.OUTSIDE:
            return _uplink(names, ours.uplinks, ours)
        case Side.UNDERLAY:
            return _uplink(names, ours.tunnel.links if ours.tunnel is not None else frozenset(), ours)
        case Side.NOWHERE:
            return NO


def _our_link(name: str, ours: Ours) -> Match:
    if name.endswith("*"):
        start = name[:-1]
        if NODE_IF_PREFIX.startswith(start):
            return Match(Answer.YES, ours=bool(start))
        return Match(Answer.SOME, ours=True) if any(link.startswith(start) for link in ours.links) else NO
    return Match(Answer.SOME, ours=True) if name in ours.links else NO


def _uplink(names: Sequence[str], uplinks: frozenset[str], ours: Ours) -> Match:
    if not names or all(_is_not_outside(name, ours) for name in names):
        return NO
    if not uplinks:
        return UNKNOWN
    meant = [link for link in uplinks if any(_means(name, link) for name in names)]
    if not meant:
        return Match(Answer.FOREIGN)
    return YES if len(meant) == len(uplinks) else Match(Answer.SOME)


def _is_not_outside(name: str, ours: Ours) -> bool:
    return name == "lo" or name in ours.links or (name.endswith("*") and name.startswith(NODE_IF_PREFIX))


def _means(name: str, link: str) -> bool:
    return link.startswith(name[:-1]) if name.endswith("*") else link == name


def address(party: Party, version: int, values: Sequence[Any], ours: Ours) -> Match:
    try:
        ranges = merged(address_range(value) for value in values if _of_version(value, version))
    except (TypeError, ValueError):
        return UNKNOWN
    if not ranges:
        return NO
    everything = ((0, (1 << _BITS[version]) - 1),)
    if ranges == everything:
        return YES
    match party:
        case Party.WORKLOAD:
            return _workloads(ranges, version, ours)
        case Party.NODE:
            return Match(covered(ours.node(version), ranges)) if ours.node(version) else UNKNOWN
        case Party.PEER:
            return Match(covered(ours.tunnel.ranges, ranges)) if ours.tunnel is not None else UNKNOWN
        case Party.FOREIGN:
            return _others(ranges, version, ours)


def _workloads(ranges: Sequence[Range], version: int, ours: Ours) -> Match:
    found = covered(ours.wanted(version), ranges)
    if found is Answer.SOME and covered(ours.held(version), ranges) is Answer.NO:
        found = Answer.UNKNOWN  # addresses that nobody has yet
    return Match(found, ours=found is not Answer.NO)


def _others(ranges: Sequence[Range], version: int, ours: Ours) -> Match:
    mine = merged((*ours.wanted(version), *ours.node(version)))
    if covered(ranges, mine) is Answer.YES:
        return NO
    most = 1 << (_BITS[version] - _MOST_OF_ALL)
    return UNKNOWN if sum(last - first + 1 for first, last in ranges) >= most else Match(Answer.FOREIGN)


def port(mine: Sequence[Range], values: Sequence[Any]) -> Match:
    try:
        ranges = merged(port_range(value) for value in values)
    except (TypeError, ValueError):
        return UNKNOWN
    found = covered(mine, ranges)
    if mine in (ANY_PORT, EPHEMERAL):
        return Match(Answer.PART if found is Answer.SOME else found)
    return Match(found, ours=found is not Answer.NO)


def is_few(values: Sequence[Any]) -> bool:
    try:
        return sum(last - first + 1 for first, last in map(port_range, values)) <= _FEW_PORTS
    except (TypeError, ValueError):
        return False


def _of_version(value: Any, version: int) -> bool:
    return (":" in _first_text(value)) == (version == 6)


def _first_text(value: Any) -> str:
    match value:
        case str():
            return value
        case {"prefix": {"addr": str(found)}}:
            return found
        case {"range": [str(found), *_]}:
            return found
        case _:
            raise TypeError(value)


def address_range(value: Any) -> Range:
    """The first and the last of the addresses that a value of a rule means. Raises TypeError or ValueError."""
    match value:
        case {"prefix": {"addr": text, "len": length}}:
            return network_range(f"{text}/{length}")
        case {"range": [first, last]}:
            return int(ip_address(first)), int(ip_address(last))
        case _:
            return int(ip_address(value)), int(ip_address(value))


def port_range(value: Any) -> Range:
    """As `address_range`, of ports."""
    match value:
        case {"range": [first, last]}:
            return int(first), int(last)
        case Mapping():
            raise TypeError(value)
        case _:
            return int(value), int(value)
