"""PURE: what became of the node's pools, uplinks and gateways, as events, and as the condition that lasts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Set

from netplumb.models.events import Event, EventKind
from netplumb.models.nodenetwork import Gateway, NodeNetwork
from netplumb.models.status import Condition, PoolUsage
from netplumb.models.words import asking
from netplumb.reconciler.decide.firewalls.words import FORWARD_BLOCKED

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


def firewall_events(before: Iterable[Condition], after: Iterable[Condition]) -> Iterator[Event]:
    """What others' rules certainly drop, each time that it is something else."""
    was, now = (
        next((it.message for it in found if it.type == FORWARD_BLOCKED and it.status), "") for found in (before, after)
    )
    if now and now != was:
        yield Event(EventKind.FORWARD_BLOCKED, None, now)
    elif was and not now:
        yield Event(EventKind.FORWARD_FREE, None, "no rule of others is certain to drop workloads' packets any more")


GATEWAY_SILENT = "GatewaySilent"


def gateway_events(before: Set[Gateway], after: Set[Gateway], gateways: Collection[Gateway]) -> Iterator[Event]:
    """One that is no gateway any more is told of by what it is not: the uplinks changed."""
    for it in sorted(after - before, key=str):
        yield Event(EventKind.GATEWAY_SILENT, None, f"the gateway {_unanswered(it)}")
    for it in sorted(before - after, key=str):
        if it in gateways:
            yield Event(EventKind.GATEWAY_ANSWERS, None, f"the gateway {it} answers again")


def gateway_condition(silent: Set[Gateway]) -> Iterator[Condition]:
    """Nothing of the node is wrong then, and no check fails by it."""
    if silent:
        found = sorted(silent, key=str)
        message = (
            f"the gateway {', '.join(map(_unanswered, found))}: what workloads send beyond the node by it is lost, and "
            "so are answers; netplumb doctor tells whether the node hides it from itself; else see whether it is up "
            f"and has this address: {asking(found[0].link, found[0].ip)}"
        )
        yield Condition(GATEWAY_SILENT, status=True, reason="NoAnswer", message=message)


def _unanswered(it: Gateway) -> str:
    return f"{it} does not answer {'ARP' if it.ip.version == 4 else 'neighbour discovery'}"
