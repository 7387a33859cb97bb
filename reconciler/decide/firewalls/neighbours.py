"""PURE: which chains may keep a next hop from being found: by ARP, or by neighbour discovery, which is ICMPv6 and
passes the same chains as what people think of when they write a policy that drops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from netplumb.models.base import IPAddress
from netplumb.reconciler.decide.firewalls.answers import UNKNOWN, Match, sure
from netplumb.reconciler.decide.firewalls.exact import ExactJudge, OnePacket
from netplumb.reconciler.decide.firewalls.ruleset import Chain, Ruleset
from netplumb.reconciler.decide.firewalls.traffic import ICMPV6, Ours, Packet, Party, Side
from netplumb.reconciler.decide.firewalls.weigh import DROPS, Drop, met_by
from netplumb.reconciler.decide.firewalls.words import remedy_by_port, where

_TYPES = {True: frozenset({"nd-neighbor-advert", 136}), False: frozenset({"nd-neighbor-solicit", 135})}
"""Of the answer, and of the question."""
_FAMILIES = {4: frozenset({"arp", "netdev"}), 6: frozenset({"ip6", "inet", "netdev"})}
_HOOKS = frozenset({"ingress", "prerouting", "input", "output", "postrouting", "egress"})
_ARP = frozenset({"arp", 0x0806})
_COMING_IN = frozenset({"ingress", "prerouting", "input"})


class _NeighbourJudge(ExactJudge):
    """Conntrack leaves neighbour discovery alone. From which of its addresses a neighbour answers is not known."""

    def _meta(self, key: str, values: Sequence[Any]) -> Match:
        if key == "protocol" and not self.packet.version:
            return sure(not _ARP.isdisjoint(it for it in values if isinstance(it, str | int)))
        return super()._meta(key, values)

    def _payload(self, header: str, field: str, values: Sequence[Any]) -> Match:
        return UNKNOWN if field in ("saddr", "daddr") else super()._payload(header, field, values)

    def _icmp_type(self, values: Sequence[Any]) -> Match:
        return sure(not _TYPES[self.packet.answer].isdisjoint(it for it in values if isinstance(it, str | int)))

    def _ct(self, key: str, values: Sequence[Any]) -> Match:
        return sure("untracked" in values) if key == "state" else super()._ct(key, values)


def hiding(ruleset: Ruleset, ip: IPAddress, link: str) -> Iterator[Drop]:
    """What drops, or may drop, the question for a neighbour behind a link, or its answer."""
    for chain in ruleset.chains.values():
        if chain.hook in _HOOKS and chain.id.family in _FAMILIES[ip.version]:
            try:
                found = met_by(chain, ruleset, _judge(chain, ruleset, ip, link), DROPS)
            except (LookupError, TypeError, ValueError, AttributeError):  # words of a newer kernel
                continue
            yield from (Drop(chain, rule, certain, ()) for rule, certain in found.items())


def hidden(ruleset: Ruleset, ip: IPAddress, link: str, *, answers: bool) -> tuple[str, str]:
    """Why a neighbour is not found, in words, and what helps; empty where nothing is known to hide it. Where it is seen
    to answer, and the kernel does not take that, a rule that cannot be judged is under suspicion too."""
    found = sorted(hiding(ruleset, ip, link), key=lambda it: not it.certain)
    drop = next((it for it in found if it.certain or answers), None)
    if drop is None:
        return "", ""
    words = f"chain {where(drop)} {'drops' if drop.certain else 'may drop'}"
    return words, remedy_by_port(drop, ICMPV6, 0, ruleset, answer=False) if ip.version == 6 else _let_pass(drop)


def _let_pass(drop: Drop) -> str:
    """A chain of ARP has nothing else in it than what finds neighbours."""
    return f"nft insert rule {drop.chain.id.family} {drop.chain.id.table} {drop.chain.id.name} accept"


def _judge(chain: Chain, ruleset: Ruleset, ip: IPAddress, link: str) -> _NeighbourJudge:
    inwards = chain.hook in _COMING_IN
    version, protocol = (6, ICMPV6) if ip.version == 6 else (0, 0)  # ARP is neither of IP
    one = OnePacket(ip, ip, protocol, iif=link if inwards else "", oif="" if inwards else link)
    kind = Packet(
        "a neighbour's", version, protocol, Side.NOWHERE, Side.NOWHERE, Party.FOREIGN, Party.FOREIGN, answer=inwards
    )
    family, table, *_ = chain.id
    return _NeighbourJudge(kind, Ours(), lambda name: ruleset.sets.get((family, table, name)), one)
