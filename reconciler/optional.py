"""What only runs if settings say so: metrics, the page, remote clients, a cluster and the ways to its nodes. What is
off is not even imported."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from contextlib import nullcontext
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING

from netplumb.api.server.roles import Roles
from netplumb.api.server.workloads import Workloads
from netplumb.models.base import IPNetwork
from netplumb.models.cluster import KNOWN_FILE
from netplumb.models.errors import NetplumbError
from netplumb.models.settings import Settings
from netplumb.models.status import NodeStatus
from netplumb.models.steps import Step

if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from netplumb.api.page.server import Page
    from netplumb.api.server.remote import Remote
    from netplumb.reconciler.cluster.part import ClusterPart
    from netplumb.reconciler.desired.state import Desired
    from netplumb.reconciler.history.history import History
    from netplumb.reconciler.history.lasting import Lasted
    from netplumb.reconciler.kernel.nftables.table import Nftables
    from netplumb.reconciler.loop.node import NodeWide
    from netplumb.reconciler.loop.ways import Ways
    from netplumb.reconciler.metrics.exporter import Exporter
    from netplumb.reconciler.sources.declared import DeclaredFiles
    from netplumb.reconciler.status.results import Results

    Leave: TypeAlias = Callable[[DeclaredFiles, Callable[[], None]], Coroutine[Any, Any, None]]


class ExtraMissing(NetplumbError):
    """A setting wants what is not installed; the message says what to do."""


def exporter(
    settings: Settings,
    store: Path,
    status: Callable[[], NodeStatus],
    desired: Desired,
    results: Results,
    history: History,
    nftables: Nftables,
    per_workload: Callable[[], bool],
) -> Exporter | None:
    """What serves metrics; `store` is the file of desired state, whose size is one of them."""
    if settings.metrics is None:
        return None
    from netplumb.api.unixsocket import listening
    from netplumb.reconciler.history.eventfile import path_in
    from netplumb.reconciler.metrics.counting import Counting
    from netplumb.reconciler.metrics.exporter import Exporter

    def listen_at(path: Path) -> tuple[socket, Callable[[], None]]:
        made, published = listening(path, settings.socket_mode, settings.socket_group)
        return made, published.withdraw

    counting = Counting(status, desired, results, history, nftables, per_workload)
    stores = {"desired": store, "events": path_in(settings.data_dir)}
    return Exporter(settings.metrics, listen_at, counting.counted, stores)


def page(settings: Settings, workloads: Workloads) -> Page | None:
    """Raises ExtraMissing."""
    if settings.ui is None:
        return None
    try:
        from netplumb.api.page.server import Page
    except ModuleNotFoundError as error:
        raise ExtraMissing(
            f"ui: the page wants {error.name}, which is not installed: pip install 'netplumb[ui]', or leave ui out"
        ) from None
    return Page(workloads, settings.ui)


def remote(settings: Settings, workloads: Workloads) -> Remote | None:
    if settings.remote is None or not (settings.remote_cert and settings.remote_key and settings.remote_ca):
        return None
    from netplumb.api.server.certificates import Files
    from netplumb.api.server.remote import Remote
    from netplumb.reconciler.kernel.nftables.remoteport import bounded

    files = Files(settings.remote_cert, settings.remote_key, settings.remote_ca)
    per_s = settings.remote_connections_per_s
    return Remote(
        workloads,
        settings.remote,
        files,
        roles(settings),
        bounded(settings.remote, per_s) if per_s else nullcontext(),
    )


def roles(settings: Settings) -> Roles:
    return Roles(frozenset(settings.remote_read), frozenset(settings.remote_all))


def cluster(settings: Settings, boot: str) -> ClusterPart | None:
    """This node as one of many; `boot` names its boot and its namespace. Raises NoNodeName."""
    if settings.cluster is None:
        return None
    from importlib.metadata import version

    from netplumb.reconciler.cluster.part import ClusterPart

    return ClusterPart(settings, boot, version("netplumb"))


def leaving(settings: Settings) -> Leave | None:
    """What is to be done where this node was one of many before, and is not by its settings."""
    known = settings.data_dir / KNOWN_FILE
    if settings.cluster is not None or not known.exists():
        return None
    from netplumb.reconciler.cluster.leaving import leave

    return lambda declared, withdrawn: leave(known, declared, withdrawn)


def ways(
    settings: Settings, nodewide: NodeWide, repaired: Callable[[Sequence[Step], Lasted, float], None]
) -> Ways | None:
    """The ways to other nodes of the cluster; they are made once there is a view of it. Raises Retryable."""
    if (cluster := settings.cluster) is None:
        return None
    from netplumb.reconciler.converge.ways import WaysKernel
    from netplumb.reconciler.decide.ways import Device
    from netplumb.reconciler.loop.ways import Ways

    return Ways(
        Device(cluster.vxlan_name, cluster.vxlan_id, cluster.vxlan_port),
        WaysKernel(),
        node=lambda: nodewide.node,
        known=lambda: nodewide.known,
        is_ready=lambda: nodewide.ready,
        repaired=repaired,
    )


def cluster_prefixes(settings: Settings) -> tuple[IPNetwork, ...]:
    """Those of all nodes' workloads together."""
    return tuple(pool.cidr for pool in settings.cluster.pools) if settings.cluster is not None else ()
