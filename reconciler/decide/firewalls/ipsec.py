"""PURE: which policies of IPsec concern what the node forwards for workloads. No rule lets pass what one stops."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from netplumb.models.base import IPNetwork
from netplumb.models.nodestate import IpsecPolicy

_HALF = 1  # bits of a prefix that is everything, or one of two that are


def concerning(policies: Iterable[IpsecPolicy], pools: Sequence[IPNetwork]) -> Iterator[tuple[IpsecPolicy, bool]]:
    """Each with whether it is for all that workloads of a pool send beyond the node, or are sent from there. One for a
    site elsewhere is meant; one for all seldom is."""
    for policy in policies:
        src, dst = policy.src, policy.dst
        if policy.direction != "in" and (_holds(src, pools) or _holds(dst, pools)):
            ends = ((src, dst), (dst, src))
            yield policy, policy.for_all and any(_holds(one, pools) and far.prefixlen <= _HALF for one, far in ends)


def _holds(network: IPNetwork, pools: Iterable[IPNetwork]) -> bool:
    return any(network.version == pool.version and network.overlaps(pool) for pool in pools)
