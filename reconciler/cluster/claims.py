"""PURE: which prefixes are whose, and which are free.

etcd orders all writes by revision, and of claims to the same addresses the oldest holds: a claim holds if no older one
of another node overlaps it. So a claim that holds does so until it is deleted, whatever else is claimed or deleted
meanwhile, and two claims that hold have no address in common, whatever their lengths and pools. Whoever knows
everything up to a claim's revision knows whether it holds; what comes later is younger.

- A claim is as old as its last write, so that no claim can be edited into an older one.
- A claim outside of the pool that it names does not count, nor does one that is longer than any node may be given: the
  route to a single address could not be told from that of a workload.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from netplumb.models.base import IPNetwork, is_within
from netplumb.models.clustersettings import LONGEST_NODE_PREFIX
from netplumb.reconciler.cluster.etcd.entries import Entry
from netplumb.reconciler.cluster.keys import Layout
from netplumb.reconciler.cluster.records import PrefixRecord, read

_Place: TypeAlias = tuple[int, int, int]
"""IP version, first address and length: a network, as it is looked up and put in order."""


@dataclass(frozen=True, slots=True)
class Claim:
    """That a node holds a prefix, of a pool, since a revision."""

    node: str
    cidr: IPNetwork
    pool: IPNetwork
    since: int

    @property
    def age(self) -> tuple[int, str]:
        """The oldest is the least. One node's of one revision do not compete."""
        return self.since, self.node


@dataclass(frozen=True, slots=True)
class Claims:
    """All of a cluster: those that hold and those that are void since an older one is in their way, each the oldest
    first. `taken` is what is not free: also what a key says that cannot be read, since it is somebody's too."""

    held: tuple[Claim, ...] = ()
    void: tuple[Claim, ...] = ()
    taken: frozenset[IPNetwork] = frozenset()

    def said_by(self, node: str) -> frozenset[IPNetwork]:
        """The prefixes that a node claims, whether they hold or not."""
        return frozenset(it.cidr for it in (*self.held, *self.void) if it.node == node)


def claims(layout: Layout, entries: Mapping[str, Entry]) -> Claims:
    """Of all keys of prefixes, complete as of some revision."""
    ledger = Ledger(layout)
    for key, entry in entries.items():
        ledger.take(key, entry)
    return ledger.claims


def is_inside(cidr: IPNetwork, pools: Iterable[IPNetwork]) -> bool:
    return any(is_within(cidr, pool) for pool in pools)


class Ledger:
    """Claims, kept up key by key: a change costs what it overlaps, whatever else is claimed."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._keys: dict[str, tuple[str, IPNetwork]] = {}
        self._claims: dict[str, Claim] = {}
        self._at: defaultdict[_Place, dict[str, Claim]] = defaultdict(dict)
        self._places: list[_Place] = []
        self._lengths: dict[int, Counter[int]] = {4: Counter(), 6: Counter()}
        self._void: set[Claim] = set()
        self._by_node: defaultdict[str, set[Claim]] = defaultdict(set)

    @property
    def claims(self) -> Claims:
        every = sorted(self._claims.values(), key=_in_order)
        held = tuple(it for it in every if it not in self._void)
        void = tuple(it for it in every if it in self._void)
        return Claims(held, void, frozenset(cidr for _, cidr in self._keys.values()))

    def held_by(self, node: str) -> list[Claim]:
        """The oldest first."""
        return sorted((it for it in self._by_node.get(node, ()) if it not in self._void), key=_in_order)

    def void_of(self, node: str) -> list[Claim]:
        return sorted((it for it in self._by_node.get(node, ()) if it in self._void), key=_in_order)

    def holder_of(self, cidr: IPNetwork) -> Claim | None:
        """The oldest that holds addresses of it."""
        held = (it for it in self._overlapping(cidr) if it not in self._void)
        return min(held, key=lambda it: it.age, default=None)

    def take(self, key: str, entry: Entry | None) -> set[str]:
        """What a key says by now, None where it is gone. Returns the nodes of which something is otherwise."""
        said = self._layout.prefix_in(key)
        if said is None:
            return set()
        touched = self._remove(key)
        if entry is None:
            self._keys.pop(key, None)
            return touched
        self._keys[key] = said
        record = read(PrefixRecord, entry.value)
        if record is not None and is_within(said[1], record.pool) and _is_a_nodes(said[1]):
            touched |= self._add(key, Claim(*said, record.pool, entry.modified))
        return touched

    def _add(self, key: str, claim: Claim) -> set[str]:
        place = _place(claim.cidr)
        around = list(self._overlapping(claim.cidr))
        if place not in self._at:
            insort(self._places, place)
            self._lengths[place[0]][place[2]] += 1
        self._at[place][claim.node] = claim
        self._claims[key] = claim
        self._by_node[claim.node].add(claim)
        return {claim.node, *self._judge([claim, *around])}

    def _remove(self, key: str) -> set[str]:
        claim = self._claims.pop(key, None)
        if claim is None:
            return set()
        place = _place(claim.cidr)
        del self._at[place][claim.node]
        if not self._at[place]:
            del self._at[place]
            del self._places[bisect_left(self._places, place)]
            self._lengths[place[0]] -= Counter([place[2]])
        self._by_node[claim.node].discard(claim)
        self._void.discard(claim)
        return {claim.node, *self._judge(list(self._overlapping(claim.cidr)))}

    def _judge(self, some: Iterable[Claim]) -> Iterator[str]:
        """Anew; yields whose are void now and were not, or the other way around."""
        for claim in some:
            is_void = any(it.node != claim.node and it.age < claim.age for it in self._overlapping(claim.cidr))
            if is_void != (claim in self._void):
                self._void ^= {claim}
                yield claim.node

    def _overlapping(self, cidr: IPNetwork) -> Iterator[Claim]:
        """Networks that overlap are one inside of the other: those of each shorter length, and those that follow."""
        version, first, length = _place(cidr)
        bits = cidr.max_prefixlen
        for shorter in self._lengths[version]:
            if shorter < length:
                begin = first >> (bits - shorter) << (bits - shorter)
                yield from self._at.get((version, begin, shorter), {}).values()
        last = int(cidr.broadcast_address)
        for number in range(bisect_left(self._places, (version, first, length)), len(self._places)):
            place = self._places[number]
            if place[0] != version or place[1] > last:
                return
            yield from self._at[place].values()


def _is_a_nodes(cidr: IPNetwork) -> bool:
    return cidr.prefixlen <= LONGEST_NODE_PREFIX[cidr.version]


def _place(cidr: IPNetwork) -> _Place:
    return cidr.version, int(cidr.network_address), cidr.prefixlen


def _in_order(claim: Claim) -> tuple[tuple[int, str], _Place]:
    return claim.age, _place(claim.cidr)
