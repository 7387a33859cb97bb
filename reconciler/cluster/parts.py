"""PURE: which part of a cluster's pool a node is to claim."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network

from netplumb.models.base import IPNetwork, is_within
from netplumb.models.clustersettings import ClusterPool
from netplumb.reconciler.cluster.claims import Claim


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


def has_of_each(pools: Iterable[ClusterPool], held: Collection[IPNetwork]) -> bool:
    """Whether a part of each pool is among what is held."""
    return all(any(is_within(cidr, pool.cidr) for cidr in held) for pool in pools)


def ahead_of(node: str, pool: IPNetwork, held: Iterable[Claim], present: Mapping[str, int]) -> int:
    """How many nodes are to take a prefix of the pool before this one: those that are there and have none yet, in the
    order in which they came. `present` says at which revision each did. So nodes that join at one moment do not all
    claim the same prefix, and each need know of no more than of those that came before it."""
    having = {it.node for it in held if is_within(it.cidr, pool)}
    waiting = {name: since for name, since in present.items() if name not in having}
    mine = waiting.pop(node, None)
    return len(waiting) if mine is None else sum(since < mine for since in waiting.values())
