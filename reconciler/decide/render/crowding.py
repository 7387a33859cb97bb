"""PURE: what a workload is kept from that holds too much of the table of flows while that is nearly full.

What it has goes on. Of new flows it may begin a few, so that who is kept from more than it should still looks up names
and is asked whether it lives; so it is with those that somebody who is no workload here begins to it. A new flow that
ends before it has left is in no table. There are no such chains as long as nobody is in the way: a packet costs nothing
more then, and else one look at whether it begins a flow.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator

from netplumb.models.flows import Crowding
from netplumb.models.kernel import KernelObject
from netplumb.models.network import Node
from netplumb.models.nft import NftChain, canonical_rule
from netplumb.reconciler.decide.render.expressions import (
    COUNTER,
    DROP,
    NEW,
    NOT_FROM_WORKLOAD,
    PRIORITY_CROWDING,
    Expression,
    jump,
    match,
    meta,
)

NEW_FLOWS_A_SECOND = 100
"""All of them together, in each direction."""

_MORE: Expression = {
    "limit": {"burst": NEW_FLOWS_A_SECOND, "inv": True, "per": "second", "rate": NEW_FLOWS_A_SECOND},
}


def render_crowding(node: Node) -> Iterator[NftChain]:
    yield from _chains("begin", "prerouting", (NEW,), "iifname", node.crowding.begins)
    yield from _chains("begun", "forward", (NEW, NOT_FROM_WORKLOAD), "oifname", node.crowding.is_begun)


def crowding_of(table: Iterable[KernelObject]) -> Crowding:
    """Whom these chains bound, for who is not told: only a daemon that runs knows why."""
    links = {it.name: frozenset(map(_link, it.rules)) for it in table if isinstance(it, NftChain)}
    begins, is_begun = (links.get(f"crowding_{what}_whose", frozenset()) for what in ("begin", "begun"))
    return Crowding(begins, is_begun)


def _link(rule: str) -> str:
    """In a rule of any kind what its first match compares with, which of ours is a link."""
    first = json.loads(rule)["expr"][0]
    return str(first.get("match", {}).get("right", "")) if isinstance(first, dict) else ""


def _chains(
    what: str, hook: str, which: tuple[Expression, ...], interface: str, links: Collection[str]
) -> Iterator[NftChain]:
    if not links:
        return
    more, whose = f"crowding_{what}_more", f"crowding_{what}_whose"
    yield NftChain(more, rules=(canonical_rule([_MORE, COUNTER, DROP], "the table of flows is nearly full"),))
    yield NftChain(
        whose, rules=tuple(canonical_rule([match(meta(interface), name), jump(more)]) for name in sorted(links))
    )
    rule = canonical_rule([*which, jump(whose)])
    yield NftChain(f"crowding_{what}", "filter", hook, PRIORITY_CROWDING, "accept", (rule,))
