"""PURE: who holds too much of the table of flows while it is nearly full.

What is kept in it is shared out as water finds its level: nobody loses anything to let others have more than itself.
So a workload that holds most of the table is over that level, and one with a few flows never is. The part that is no
workload's is nobody's to bound, and takes part in the sharing: workloads do not pay for it. Who holds less than a small
part of the table is let be in any case, since to bound it would help nobody; where all hold so little, there are just
too many flows for this table, and people are told so.

A flow is its source's. One that begins beyond the node's workloads is that of the workload it leads to: these are
bounded apart, so that somebody outside who floods a workload takes none of what that one begins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from netplumb.models.flows import Crowding, Flow

NEARLY_FULL, RELIEVED = 7 / 8, 3 / 4
"""The part of the table from which on somebody is in the way, and what all together are brought back to."""

FULL = 15 / 16
"""From here on what others begin is about to be lost, and flows of those who are in the way are forgotten, down to
`NEARLY_FULL`: they may have come faster than anybody looked, and stay for days."""

LEAST = 1 / 64
"""The part of the table that nobody is in the way with."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A workload, by the link of its default route, with all links that its packets may come by; and whether the flows
    begin from it or come to it from elsewhere."""

    link: str
    begins: bool
    links: frozenset[str] = field(compare=False)


@dataclass(frozen=True, slots=True)
class Shares:
    """What a table with room for `most` keeps, 0 where nothing bounds it, and about how many of them these hold."""

    kept: int
    most: int
    held: Mapping[Holder, int] = field(default_factory=dict)

    @property
    def is_nearly_full(self) -> bool:
        return 0 < NEARLY_FULL * self.most <= self.kept


def holder_of(flow: Flow, links: Mapping[bytes, Sequence[str]]) -> Holder | None:
    """`links` are those of workloads' addresses, as `flows.links_of` tells them."""
    for ip, begins in ((flow.source[0], True), (flow.answerer[0], False)):
        if (by := links.get(ip)) is not None:
            return Holder(by[-1], begins, frozenset(by))
    return None


def shares(sample: Iterable[Flow], links: Mapping[bytes, Sequence[str]], kept: int, most: int) -> Shares:
    """By a part of the flows that is like the rest."""
    found = Counter(holder_of(flow, links) for flow in sample)
    size = found.total()
    return Shares(kept, most, {it: count * kept // size for it, count in found.items() if it is not None})


def over_level(found: Shares) -> dict[Holder, int]:
    """Those who are in the way, each with how many flows it holds beyond its part."""
    others = max(found.kept - sum(found.held.values()), 0)
    part = max(_level((*found.held.values(), others), int(RELIEVED * found.most)), int(LEAST * found.most))
    return {it: held - part for it, held in found.held.items() if held > part}


def _level(amounts: Iterable[int], room: int) -> int:
    """The level at which these, each cut off there, fill the room; the room itself where they do not."""
    rest = sorted(amounts)
    for index, amount in enumerate(rest):
        if amount * (len(rest) - index) >= room:
            return room // (len(rest) - index)
        room -= amount
    return sum(rest) + room


def crowding(holders: Iterable[Holder]) -> Crowding:
    holders = tuple(holders)
    by, to = (frozenset(link for it in holders if it.begins is begins for link in it.links) for begins in (True, False))
    return Crowding(by, to)


def to_forget(found: Shares, over: Mapping[Holder, int]) -> dict[Holder, int]:
    """How many flows of whom are to go; none while there is room yet."""
    beyond = sum(over.values())
    excess = found.kept - int(NEARLY_FULL * found.most)
    if not beyond or found.kept < FULL * found.most:
        return {}
    return {it: min(count, -(-count * excess // beyond)) for it, count in over.items()}
