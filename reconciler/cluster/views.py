"""PURE: what the cluster's keys say → what the loop is given, and what is told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from netplumb.models.base import IPAddress, IPNetwork
from netplumb.models.cluster import ClusterMode, ClusterView, HeldPrefix, Peer, Underlay
from netplumb.models.clustersettings import ClusterPool
from netplumb.models.network import Pool
from netplumb.models.nodenetwork import NodeNetwork
from netplumb.reconciler.cluster.claims import Claim
from netplumb.reconciler.cluster.etcd.entries import Entry
from netplumb.reconciler.cluster.keys import Layout
from netplumb.reconciler.cluster.records import NodeRecord, read


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
    """The node's own pools that follow from what it holds, in the order of the settings. One of a cluster pool that the
    settings no longer name gives no addresses."""
    held = list(claims)
    return tuple(
        Pool(cidr=claim.cidr, name=pool.name, labels=pool.labels)
        for pool in pools
        for claim in held
        if claim.pool == pool.cidr
    )


def view(
    layout: Layout,
    entries: Mapping[str, Entry],
    claims: Iterable[Claim],
    *,
    node: str,
    mode: ClusterMode,
    own: Underlay,
    pools: Iterable[IPNetwork],
    revision: int,
    away_since: float | None,
) -> ClusterView:
    prefixes: dict[str, list[HeldPrefix]] = defaultdict(list)
    for claim in claims:
        prefixes[claim.node].append(HeldPrefix(claim.pool, claim.cidr))
    peers = {}
    nodes = (key.removeprefix(layout.nodes.first) for key in entries if key.startswith(layout.nodes.first))
    for name in sorted({*nodes, *prefixes}):
        entry = entries.get(layout.node(name))
        record = read(NodeRecord, entry.value) if entry is not None else None
        peers[name] = Peer(
            name,
            underlay(record.underlay) if record is not None else Underlay(),
            tuple(sorted(prefixes.get(name, ()), key=lambda it: (it.cidr.version, it.cidr.network_address.packed))),
            record.identity.boot if record is not None else "",
            record.version if record is not None else "",
            layout.presence(name) in entries,
        )
    itself = peers.pop(node, None)
    return ClusterView(
        node,
        mode,
        own,
        tuple(pools),
        itself.prefixes if itself is not None else (),
        MappingProxyType(peers),
        revision,
        away_since,
    )
