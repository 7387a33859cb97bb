"""What others do to packets of ours that drops none, and yet keeps them from being translated as they should be."""

from __future__ import annotations

from collections.abc import Iterator
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
from netplumb.reconciler.decide.render.expressions import PRIORITY_DSTNAT, PRIORITY_SRCNAT

_CONNTRACK = -200  # NF_IP_PRI_CONNTRACK, include/uapi/linux/netfilter_ipv4.h
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

    def of_chain(chain: Chain, ruleset: Ruleset, ours: Ours) -> Iterator[Drop]:
        if chain.type == "nat" and chain.hook == "prerouting":
            for drop in packets_ended(chain, ruleset, ours, REDIRECTS):
                if packets := tuple(it for it in drop.packets if it.iif is Side.OURS):
                    yield replace(drop, packets=packets, by=DROPS)

    return each_chain(ruleset, ours, of_chain)[0]


def untracked(ruleset: Ruleset, ours: Ours) -> list[Drop]:
    """What is kept from connection tracking is not translated: it reaches no mapped port, and leaves for nowhere under
    a workload's own address."""

    def of_chain(chain: Chain, ruleset: Ruleset, ours: Ours) -> Iterator[Drop]:
        if chain.hook == "prerouting" and chain.priority < _CONNTRACK:
            yield from packets_ended(chain, ruleset, ours, NOTRACKS)

    return each_chain(ruleset, ours, of_chain)[0]


def zoned(ruleset: Ruleset, ours: Ours) -> list[Drop]:
    """What is put into a zone of connection tracking that its answers, or what they answer, are not: neither is
    known as the other's, and none is translated back. Where rules put both into zones, whether into one is not judged,
    but of the same rule."""

    def of_chain(chain: Chain, ruleset: Ruleset, ours: Ours) -> Iterator[Drop]:
        if chain.hook == "prerouting" and chain.priority < _CONNTRACK:
            yield from packets_ended(chain, ruleset, ours, ZONES)

    found = each_chain(ruleset, ours, of_chain)[0]
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

    def of_chain(chain: Chain, ruleset: Ruleset, ours: Ours) -> Iterator[Drop]:
        if chain.type == "nat" and chain.hook == "postrouting" and chain.priority <= PRIORITY_SRCNAT:
            yield from packets_ended(chain, ruleset, ours, SOURCES)

    return each_chain(ruleset, ours, of_chain)[0] if ours.masquerade else []


def translated(ruleset: Ruleset, ours: Ours, priority: int) -> list[Drop]:
    """What takes packets for mapped ports elsewhere before our own translation, which has this priority, has its turn:
    the first chain that translates a packet is the only one. Of equal priority the older chain comes first, and which
    that is nobody tells."""

    def of_chain(chain: Chain, ruleset: Ruleset, ours: Ours) -> Iterator[Drop]:
        if chain.type == "nat" and chain.hook == "prerouting" and chain.priority <= priority:
            yield from packets_ended(chain, ruleset, ours, TRANSLATES)

    return each_chain(ruleset, ours, of_chain)[0]
