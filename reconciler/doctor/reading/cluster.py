"""What a node was last told of its cluster, from the file that its daemon keeps: pools of its own, and the others."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from netplumb.models.cluster import ClusterView
from netplumb.models.nodenetwork import NetworkFacts, NodeNetwork
from netplumb.models.settings import Settings
from netplumb.reconciler.decide.nodenetwork import surveyed
from netplumb.reconciler.decide.policies.verdict import Endpoint
from netplumb.reconciler.desired.store import boot_id
from netplumb.reconciler.doctor.facts import ClusterFacts
from netplumb.reconciler.kernel.netlink.channel import Channel

if TYPE_CHECKING:
    from netplumb.reconciler.cluster.part import ClusterPart


def with_cluster(settings: Settings) -> tuple[Settings, ClusterView | None]:
    """The settings with the pools that the node has of the cluster, and the view, where there is one. Raises
    NetplumbError, StepError."""
    part = _looked_at(settings)
    return (settings, None) if part is None else (part.with_pools(settings), part.view)


def elsewhere(settings: Settings) -> list[Endpoint]:
    """Workloads of other nodes, as was last known. Raises NetplumbError, StepError."""
    part = _looked_at(settings)
    return asyncio.run(part.endpoints.found()) if part is not None else []


def read_etcd(settings: Settings) -> ClusterFacts:
    """What etcd's members answer to this node, where it is in a cluster."""
    if settings.cluster is None:
        return ClusterFacts()
    from netplumb.reconciler.doctor.reading import etcd

    return etcd.read_etcd(settings.cluster)


def _looked_at(settings: Settings) -> ClusterPart | None:
    if settings.cluster is None:
        return None
    from netplumb.reconciler.cluster.part import ClusterPart

    with Channel() as channel:
        return ClusterPart(settings, f"{boot_id()}/{channel.netns_cookie}", version("netplumb"), looks_only=True)


def known_of(network: NetworkFacts, settings: Settings, view: ClusterView | None) -> NodeNetwork:
    return surveyed(network, settings.pools, view.pools if view is not None else ())


def with_underlay(view: ClusterView | None, settings: Settings, known: NodeNetwork) -> ClusterView | None:
    """The node's own underlay is looked up, as the daemon does, and not kept."""
    if view is None or settings.cluster is None:
        return view
    from netplumb.reconciler.cluster.views import underlay_of

    return replace(view, underlay=underlay_of(settings.cluster.underlay, known))
