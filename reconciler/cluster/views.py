"""PURE: what the cluster's keys say → what the loop is given, and what is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from netplumb.models.base import IPAddress, IPNetwork, is_within
from netplumb.models.cluster import ClusterMode, ClusterView, Peer, Underlay
from netplumb.models.clustersettings import ClusterPool, ClusterSettings
from netplumb.models.network import Pool
from netplumb.models.nodenetwork import NodeNetwork
from netplumb.reconciler.cluster.claims import Claim


def underlay_of(setting: IPAddress | str | None, known: NodeNetwork) -> Underlay:
    """An address as it stands; of an interface one of each family that it has, the lowest. Without a setting it is the
    interface of a way out, the first by name of those that have one."""
    if not isinstance(setting, str | None):
        return underlay([setting])
    links = [setting] if isinstance(setting, str) else sorted(known.uplinks)
    for link in links:
        # Neither what the kernel gives by itself nor what another node could not reach.
        found = sorted(
            (ip for ip, its_link in known.foreign if its_link == link and not (ip.is_link_local or ip.is_loopback)),
            key=int,
        )
        if found:
            return underlay(found)
    return Underlay()


def underlay(addresses: Iterable[IPAddress]) -> Underlay:
    """The first of each family."""
    found = list(addresses)
    return Underlay(
        next((it for it in found if it.version == 4), None), next((it for it in found if it.version == 6), None)
    )


def pools_of(claims: Iterable[Claim], pools: Iterable[ClusterPool]) -> tuple[Pool, ...]:
    """The node's own pools that follow from what it holds, in the order of the settings. One that is in none of the
    cluster's pools that the settings name gives no addresses."""
    held = list(claims)
    return tuple(
        Pool(cidr=claim.cidr, name=pool.name, labels=pool.labels)
        for pool in pools
        for claim in held
        if is_within(claim.cidr, pool.cidr)
    )


def otherwise(peer: Peer, settings: ClusterSettings) -> str:
    """How a node sends to others, where these settings say otherwise, so that nothing passes between the two; nothing
    where somebody else makes the ways, and of what the node does not say."""
    if not peer.mode or ClusterMode.NONE in (peer.mode, settings.mode):
        return ""
    if peer.mode != settings.mode:
        return peer.mode
    if peer.vxlan and settings.vxlan and peer.vxlan != settings.vxlan:
        return f"{peer.mode} {_network(peer.vxlan)}"
    return ""


def own_way(settings: ClusterSettings) -> str:
    """How these settings say it."""
    return f"{settings.mode} {_network(settings.vxlan)}" if settings.vxlan else settings.mode


def _network(vxlan: tuple[int, int]) -> str:
    return f"{vxlan[0]} at port {vxlan[1]}"


def view(
    peers: Mapping[str, Peer],
    *,
    node: str,
    mode: ClusterMode,
    own: Underlay,
    pools: Iterable[IPNetwork],
    revision: int,
    away_since: float | None,
) -> ClusterView:
    """`peers` are all nodes, this one among them."""
    others = dict(peers)
    itself = others.pop(node, None)
    return ClusterView(
        node,
        mode,
        own,
        tuple(pools),
        itself.prefixes if itself is not None else (),
        MappingProxyType(others),
        revision,
        away_since,
    )
