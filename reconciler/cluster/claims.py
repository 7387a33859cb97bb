"""PURE: which prefixes are whose, and which is free.

etcd orders all writes by revision, and of claims to the same addresses the oldest holds: a claim holds as long as no
older one of another node overlaps it. So one that holds goes on doing so until it is deleted, whatever else is claimed
or deleted meanwhile, and two that hold have no address in common, of whatever lengths and pools they are. Whoever knows
all up to a claim's revision knows whether it holds; what comes later is younger.

- A claim is as old as its last write, so that none is changed into an older one.
- One that is not inside of the pool that it is said to be of is none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from netplumb.models.base import IPNetwork, is_within
from netplumb.models.clustersettings import ClusterPool
from netplumb.reconciler.cluster.etcd.entries import Entry
from netplumb.reconciler.cluster.keys import Layout
from netplumb.reconciler.cluster.records import PrefixRecord, read


@dataclass(frozen=True, slots=True)
class Claim:
    """That a node holds a prefix, of a pool, since a revision."""

    node: str
    cidr: IPNetwork
    pool: IPNetwork
    since: int


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
    taken = frozenset(said[1] for key in entries if (said := layout.prefix_in(key)) is not None)
    found = sorted((it for it in _said(layout, entries) if is_inside(it.cidr, [it.pool])), key=_age)
    void = _void(found)
    return Claims(tuple(it for it in found if it not in void), tuple(it for it in found if it in void), taken)


def strays(layout: Layout, entries: Mapping[str, Entry], pools: Collection[IPNetwork]) -> list[Claim]:
    """Those that are in none of these pools, or not in the one that they are said to be of."""
    found = [it for it in _said(layout, entries) if not (is_inside(it.cidr, pools) and is_inside(it.cidr, [it.pool]))]
    return sorted(found, key=lambda it: (it.node, str(it.cidr)))


def _said(layout: Layout, entries: Mapping[str, Entry]) -> Iterator[Claim]:
    for key, entry in entries.items():
        if (said := layout.prefix_in(key)) is not None and (record := read(PrefixRecord, entry.value)) is not None:
            yield Claim(*said, record.pool, entry.modified)


def is_inside(cidr: IPNetwork, pools: Iterable[IPNetwork]) -> bool:
    return any(is_within(cidr, pool) for pool in pools)


def _age(claim: Claim) -> tuple[int, str, str]:
    return claim.since, claim.node, str(claim.cidr)


def _void(found: Iterable[Claim]) -> set[Claim]:
    """Those that an older one of another node overlaps. Networks that overlap are one inside of the other, so that in
    order of addresses each need only be compared with those that it lies in."""
    void: set[Claim] = set()
    around: list[Claim] = []
    for claim in sorted(found, key=lambda it: (it.cidr.version, int(it.cidr.network_address), it.cidr.prefixlen)):
        while around and not is_within(claim.cidr, around[-1].cidr):
            around.pop()
        void |= {max(claim, it, key=_age) for it in around if it.node != claim.node}
        around.append(claim)
    return void


def free_part(pool: ClusterPool, taken: Iterable[IPNetwork], ahead: int = 0) -> IPNetwork | None:
    """Of the parts of the pool that overlap nothing that is taken the first, or the one after so many `ahead`, counted
    around where there are not so many. None where there is none."""
    size = 1 << (pool.cidr.max_prefixlen - pool.node_length)
    gaps = list(_gaps(pool, size, taken))
    left = ahead % max(1, sum(number for _, number in gaps))
    kind = IPv4Network if pool.version == 4 else IPv6Network
    for first, number in gaps:
        if left < number:
            return kind((int(pool.cidr.network_address) + (first + left) * size, pool.node_length))
        left -= number
    return None


def _gaps(pool: ClusterPool, size: int, taken: Iterable[IPNetwork]) -> Iterator[tuple[int, int]]:
    """Stretches of free parts: the number of the first, and how many there are."""
    begin = int(pool.cidr.network_address)
    stretches = sorted(
        ((int(it.network_address) - begin) // size, (int(it.broadcast_address) - begin) // size)
        for it in taken
        if it.version == pool.version and it.overlaps(pool.cidr)
    )
    number = 0
    for first, last in stretches:
        if first > number:
            yield number, first - number
        number = max(number, last + 1)
    if number < pool.parts:
        yield number, pool.parts - number


def ahead_of(node: str, pool: IPNetwork, held: Iterable[Claim], present: Mapping[str, int]) -> int:
    """How many nodes are to take a prefix of the pool before this one: those that are there and have none yet, in the
    order in which they came. `present` says at which revision each did. So nodes that join at one moment do not all
    claim the same prefix, and each need know of no more than of those that came before it."""
    having = {it.node for it in held if it.pool == pool}
    waiting = {name: since for name, since in present.items() if name not in having}
    mine = waiting.pop(node, None)
    return len(waiting) if mine is None else sum(since < mine for since in waiting.values())
