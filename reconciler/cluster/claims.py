"""PURE: which prefixes are whose, and which is free.

Two nodes do not come to claim addresses in common by what they write, which is one transaction; but they can by what
people do to etcd. Then the older claim holds. One that is not inside of the pool that it is said to be of is none.
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


def claims(layout: Layout, entries: Mapping[str, Entry]) -> list[Claim]:
    """Those that hold, the oldest first. One that overlaps an older one of another node does not."""
    found = [it for it in _said(layout, entries) if is_inside(it.cidr, [it.pool])]
    found.sort(key=lambda it: (it.since, it.node, str(it.cidr)))
    held: list[Claim] = []
    # Networks that overlap are one inside of the other, so that in order of addresses only neighbours need be compared.
    for version in (4, 6):
        of_version = [it for it in found if it.cidr.version == version]
        held += _without_overlaps(of_version)
    held.sort(key=lambda it: (it.since, it.node, str(it.cidr)))
    return held


def strays(layout: Layout, entries: Mapping[str, Entry], pools: Collection[IPNetwork]) -> list[Claim]:
    """Those that are in none of these pools, or not in the one that they are said to be of."""
    found = [it for it in _said(layout, entries) if not (is_inside(it.cidr, pools) and is_inside(it.cidr, [it.pool]))]
    return sorted(found, key=lambda it: (it.node, str(it.cidr)))


def _said(layout: Layout, entries: Mapping[str, Entry]) -> Iterator[Claim]:
    for key, entry in entries.items():
        if (said := layout.prefix_in(key)) is not None and (record := read(PrefixRecord, entry.value)) is not None:
            yield Claim(*said, record.pool, entry.created)


def is_inside(cidr: IPNetwork, pools: Iterable[IPNetwork]) -> bool:
    return any(is_within(cidr, pool) for pool in pools)


def _without_overlaps(found: list[Claim]) -> list[Claim]:
    in_order = sorted(found, key=lambda it: (int(it.cidr.network_address), it.cidr.prefixlen))
    suspects: set[int] = set()
    around: Claim | None = None
    for claim in in_order:
        if around is not None and around.cidr.overlaps(claim.cidr):
            suspects |= {id(around), id(claim)}
            continue
        around = claim
    if not suspects:
        return found
    held = [it for it in found if id(it) not in suspects]
    for claim in (it for it in found if id(it) in suspects):
        if not any(it.cidr.overlaps(claim.cidr) and it.node != claim.node for it in held):
            held.append(claim)
    return held


def free_part(pool: ClusterPool, taken: Iterable[IPNetwork]) -> IPNetwork | None:
    """The first part of the pool that overlaps nothing that is taken, None where there is none."""
    width = pool.cidr.max_prefixlen
    size = 1 << (width - pool.node_length)
    begin, end = int(pool.cidr.network_address), int(pool.cidr.broadcast_address)
    stretches = sorted(
        (int(it.network_address), int(it.broadcast_address)) for it in taken if it.version == pool.version
    )
    candidate = begin
    for first, last in stretches:
        if last < candidate:
            continue
        if first >= candidate + size:
            break
        candidate = begin + ((last + 1 - begin) + size - 1) // size * size
    if candidate + size - 1 > end:
        return None
    kind = IPv4Network if pool.version == 4 else IPv6Network
    return kind((candidate, pool.node_length))
