"""PURE: what became of the node's pools and uplinks, as events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set

from netplumb.models.events import Event, EventKind
from netplumb.models.nodenetwork import NodeNetwork
from netplumb.models.status import PoolUsage

NEARLY_FULL, RELIEVED = 0.9, 0.8
"""The part of a pool that is held when it is told of, and below which it would be told of again."""


def nearly_full(usage: Iterable[PoolUsage], before: Set[str]) -> frozenset[str]:
    """The pools that are; one that was stays so until there is room again."""
    return frozenset(
        pool.name
        for pool in usage
        if pool.size and pool.held >= pool.size * (RELIEVED if pool.name in before else NEARLY_FULL)
    )


def pool_events(usage: Iterable[PoolUsage], before: Set[str], after: Set[str]) -> Iterator[Event]:
    for pool in usage:
        if pool.name in after and pool.name not in before:
            message = f"pool {pool.name}: {pool.held} of {pool.size} addresses are held"
            yield Event(EventKind.POOL_NEARLY_FULL, None, message)


def network_events(before: NodeNetwork, after: NodeNetwork) -> Iterator[Event]:
    was, now = uplink_words(before), uplink_words(after)
    if was != now:
        yield Event(EventKind.UPLINK_CHANGED, None, f"{now}; it was {was}")


def uplink_words(network: NodeNetwork) -> str:
    if not network.uplinks:
        return "no uplink"
    mtu = f", MTU {network.uplink_mtu}" if network.uplink_mtu else ""
    return f"{'uplink' if len(network.uplinks) == 1 else 'uplinks'} {' '.join(sorted(network.uplinks))}{mtu}"
