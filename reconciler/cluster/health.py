"""PURE: what is wrong with the nodes of a cluster, as far as etcd tells of it to whoever asks from outside. What a node
sees itself, its own conditions tell (`netplumb status` there)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from netplumb.models.base import IPAddress, IPNetwork
from netplumb.models.cluster import ClusterMode, Peer
from netplumb.models.clustersettings import ClusterSettings
from netplumb.models.words import several
from netplumb.reconciler.cluster.claims import Claim, is_inside
from netplumb.reconciler.cluster.parts import has_of_each
from netplumb.reconciler.cluster.presence import BEATS_IN_A_LEASE
from netplumb.reconciler.cluster.records import EndpointRecord
from netplumb.reconciler.cluster.views import otherwise, own_way

TOLD_MAX = 3
MISSED_BEATS = 2


@dataclass(frozen=True, slots=True)
class Trouble:
    """`reason` is a word for scripts."""

    reason: str
    words: str


def lacks_a_prefix(peer: Peer, settings: ClusterSettings) -> bool:
    """As a node that was removed and runs on does, or one that has just come, or that found a pool full."""
    held = [it.cidr for it in peer.prefixes]
    return not held or not has_of_each(settings.pools, held)


def troubles_of(
    peer: Peer,
    void: Iterable[Claim],
    endpoints: Iterable[EndpointRecord],
    shared: Mapping[IPAddress, Collection[str]],
    heard_s: float | None,
    settings: ClusterSettings,
) -> Iterator[Trouble]:
    """`endpoints` are what the node says of its workloads, where it lacks a prefix; `void` are its claims that others
    came before with; `shared` are underlay addresses that several nodes say to have."""
    pools = [it.cidr for it in settings.pools]
    if not peer.present:
        yield Trouble("Away", "away")
        return
    mine = [it.cidr for it in peer.prefixes]
    lost = [
        f"{it.workload_id}/{it.if_name}"
        for it in endpoints
        if any(_is_shared(ip, pools) and not any(ip in cidr for cidr in mine) for ip in it.addresses)
    ]
    if lost:
        yield Trouble(
            "Removed", f"removed, and runs on with addresses that are its no more: {several(lost, TOLD_MAX, ', ')}"
        )
    beat_s = settings.lease_s / BEATS_IN_A_LEASE
    if heard_s is not None and heard_s > MISSED_BEATS * beat_s:
        yield Trouble("Silent", f"silent for {heard_s:.0f} s")
    if claimed := [f"{it.cidr}" for it in void]:
        yield Trouble("PrefixVoid", f"claims what another holds: {several(claimed, TOLD_MAX, ', ')}")
    if pools and (outside := [f"{it.cidr}" for it in peer.prefixes if not is_inside(it.cidr, pools)]):
        yield Trouble("PrefixOutsidePools", f"in no pool of these settings: {several(outside, TOLD_MAX, ', ')}")
    if how := otherwise(peer, settings):
        yield Trouble("ModesDiffer", f"its mode is {how}, and {own_way(settings)} in these settings")
    for ip, nodes in shared.items():
        if peer.node in nodes and peer.mode != ClusterMode.NONE:
            yield Trouble("UnderlayShared", f"{ip} is the underlay address of {' and '.join(nodes)}")
    if not peer.underlay.addresses and peer.mode != ClusterMode.NONE:
        yield Trouble("NoUnderlay", "tells no address at which it is reached")


def _is_shared(address: IPAddress, pools: Collection[IPNetwork]) -> bool:
    """Whether it is the cluster's to give. Settings without pools, for people who only look, do not say."""
    return not pools or any(address in pool for pool in pools)
