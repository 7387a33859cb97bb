"""What others do to packets of ours that drops none, and yet keeps them from being translated as they should be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from netplumb.reconciler.decide.firewalls.ruleset import Chain, Ruleset
from netplumb.reconciler.decide.firewalls.traffic import Ours, Packet, Side
from netplumb.reconciler.decide.firewalls.weigh import (
    DROPS,
    NOTRACKS,
    REDIRECTS,
    SOURCES,
    TRANSLATES,
    ZONES,
    Drop,
    each_chain,
    packets_ended,
    weigh,
)
from netplumb.reconciler.decide.render.expressions import PRIORITY_CONNTRACK, PRIORITY_DSTNAT, PRIORITY_SRCNAT

_Way = tuple[int, int, bool, bool]
"""A direction of a kind of flow."""


def hindrances(ruleset: Ruleset, ours: Ours) -> tuple[list[Drop], list[str]]:
    """The same, and what ends the way of our packets otherwise."""
    drops, unread = weigh(ruleset, ours)
    untranslated = [*untracked(ruleset, ours), *zoned(ruleset, ours), *translated(ruleset, ours, PRIORITY_DSTNAT)]
    return [*drops, *redirected(ruleset, ours), *untranslated], unread


def redirected(ruleset: Ruleset, ours: Ours) -> list[Drop]:
    """REDIRECT leads to an address of the interface that a packet came by. Workloads' links have none, so that the
    kernel drops what came by one."""
    found = _met(ruleset, ours, lambda it: _translates(it, "prerouting"), REDIRECTS)
    of_ours = ((drop, tuple(it for it in drop.packets if it.iif is Side.OURS)) for drop in found)
    return [replace(drop, packets=packets, by=DROPS) for drop, packets in of_ours if packets]


def untracked(ruleset: Ruleset, ours: Ours) -> list[Drop]:
    """What is kept from connection tracking is not translated: it reaches no mapped port, and leaves for nowhere under
    a workload's own address."""
    return _met(ruleset, ours, _is_before_conntrack, NOTRACKS)


def zoned(ruleset: Ruleset, ours: Ours) -> list[Drop]:
    """What is put into a zone of connection tracking that its answers, or what they answer, are not: neither is
    known as the other's, and none is translated back. Where rules put both into zones, whether into one is not judged,
    but of the same rule."""
    found = _met(ruleset, ours, _is_before_conntrack, ZONES)
    put = {way for drop in found for way in map(_way_of, drop.packets)}
    apart = []
    for drop in found:
        here = set(map(_way_of, drop.packets))
        packets = tuple(it for it in drop.packets if not drop.certain or _way_back(it) not in here)
        if packets:
            certain = drop.certain and any(_way_back(it) not in put for it in packets)
            apart.append(replace(drop, certain=certain, packets=packets))
    return apart


def _way_of(packet: Packet) -> _Way:
    return packet.version, packet.protocol, packet.mapped, packet.answer


def _way_back(packet: Packet) -> _Way:
    return packet.version, packet.protocol, packet.mapped, not packet.answer


def leaving_as_others(ruleset: Ruleset, ours: Ours) -> list[Drop]:
    """What gives what workloads send out another source than masquerading would. It flows, if answers come back."""
    if not ours.masquerade:
        return []
    return _met(ruleset, ours, lambda it: _translates(it, "postrouting") and it.priority <= PRIORITY_SRCNAT, SOURCES)


def translated(ruleset: Ruleset, ours: Ours, priority: int) -> list[Drop]:
    """What takes packets for mapped ports elsewhere before our own translation, which has this priority, has its turn:
    the first chain that translates a packet is the only one. Of equal priority the older chain comes first, and which
    that is nobody tells."""
    return _met(ruleset, ours, lambda it: _translates(it, "prerouting") and it.priority <= priority, TRANSLATES)


def _met(ruleset: Ruleset, ours: Ours, is_meant: Callable[[Chain], bool], ends: frozenset[str]) -> list[Drop]:
    """What the chains that are meant give such an end."""

    def of_chain(chain: Chain, ruleset: Ruleset, ours: Ours) -> Iterator[Drop]:
        if is_meant(chain):
            yield from packets_ended(chain, ruleset, ours, ends)

    return each_chain(ruleset, ours, of_chain)[0]


def _translates(chain: Chain, hook: str) -> bool:
    return chain.type == "nat" and chain.hook == hook


def _is_before_conntrack(chain: Chain) -> bool:
    return chain.hook == "prerouting" and chain.priority < PRIORITY_CONNTRACK
