"""The doctor's edge: reads all that is judged, once. What cannot be read is told and is no reason to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from netplumb.models.cluster import ClusterView
from netplumb.models.errors import NetplumbError
from netplumb.models.network import Node, Pool, Surroundings
from netplumb.models.nodenetwork import NetworkFacts, NodeNetwork
from netplumb.models.nodestate import LinkProgram, LinkState
from netplumb.models.settings import Settings
from netplumb.models.status import PlannedChange
from netplumb.reconciler.converge.surroundings import read_surroundings
from netplumb.reconciler.decide.firewalls.ruleset import Ruleset
from netplumb.reconciler.doctor.facts import ClusterFacts, DaemonFacts, Facts, HostFacts, ToolFacts
from netplumb.reconciler.doctor.reading import cluster, daemon, desired, host, node, tools, workloads
from netplumb.reconciler.kernel import xfrm
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.rtnetlink import linkstates
from netplumb.reconciler.kernel.rtnetlink.nodenetwork import read_network
from netplumb.reconciler.kernel.rtnetlink.programs import read_programs

_T = TypeVar("_T")
_REPAIRED_WITHIN_S = 0.5
_NO_LINKS: tuple[LinkState, ...] = ()
_UNCOMPARED: tuple[Node, tuple[PlannedChange, ...]] = (Node(), ())


@dataclass(slots=True)
class _Parts:
    """Reads part by part, and keeps what could not be read."""

    unread: list[str] = field(default_factory=list)

    def read(self, what: str, read: Callable[[], _T], otherwise: _T) -> _T:
        """Whoever is woken at night is not helped by a traceback: a mistake of ours in one part is told as such."""
        try:
            return read()
        except (NetplumbError, OSError) as error:
            self.unread.append(f"{what}: {error}")
        except Exception as error:
            self.unread.append(f"{what}: internal error: {error!r}")
        return otherwise


def read(settings: Settings, mistakes: Sequence[str] = ()) -> Facts:
    """Called in the node's namespace. Takes as long as the slowest part, which is a daemon that does not answer."""
    parts = _Parts()
    alone: tuple[Settings, ClusterView | None] = (settings, None)
    settings, view = parts.read("the cluster", lambda: cluster.with_cluster(settings), alone)
    told = parts.read("the daemon", lambda: daemon.read_daemon(settings.socket), DaemonFacts())
    settings = _with_pools(settings, told.pools)
    wanted = parts.read(
        "desired state", lambda: desired.read_wanted(settings.data_dir, settings.pools), desired.Wanted()
    )
    network = parts.read("the node's addresses and routes", read_network, NetworkFacts())
    known = cluster.known_of(network, settings, view)
    view = cluster.with_underlay(view, settings, known)
    links = parts.read("the node's interfaces", lambda: _in_channel(linkstates.read_links), _NO_LINKS)
    ruleset, unread_tables = parts.read("other firewalls", node.read_ruleset, (Ruleset(), list[str]()))
    rendered, differences = _UNCOMPARED
    if told.process or wanted.attachments:  # else nobody wants anything of this node
        rendered, differences = parts.read(
            "the difference from desired state",
            lambda: _differences(settings, wanted, known, view, repaired=bool(told.process)),
            _UNCOMPARED,
        )
    parts.unread += unread_tables
    return Facts(
        settings=settings,
        settings_mistakes=tuple(mistakes),
        attachments=wanted.attachments,
        store=wanted.trouble,
        daemon=told,
        view=view,
        cluster=parts.read("etcd", lambda: cluster.read_etcd(settings), ClusterFacts()),
        network=network,
        links=links,
        refused=parts.read("refused addresses", lambda: _in_channel(linkstates.read_refused), ()),
        shared=parts.read("who else has the node's addresses", lambda: node.read_shared(network, links), ()),
        silent=parts.read("the node's next hops", lambda: node.read_silent(network, links), ()),
        programs=parts.read("what is on the links", lambda: _programs(links), ()),
        neighbours=parts.read("neighbour tables", lambda: _in_channel(linkstates.read_neighbour_tables), ()),
        path_mtus=parts.read("path MTUs", node.read_path_mtus, ()),
        around=parts.read("what others set up", lambda: _in_channel(read_surroundings), Surroundings()),
        unrouted_v6=parts.read("counters of IPv6", node.read_unrouted_v6, 0),
        filtered_v4=parts.read("counters of IPv4", node.read_filtered_v4, 0),
        forwarding=parts.read("forwarding", node.read_forwarding, {}),
        ipv6_off=rendered.ipv6_switch if not rendered.ipv6 else "",
        ruleset=ruleset,
        ipsec=parts.read("IPsec's policies", xfrm.read_policies, ()),
        listeners=parts.read("listening sockets", lambda: node.read_listeners(wanted), ()),
        differences=differences,
        tools=parts.read("other tools' settings", tools.read_tools, ToolFacts()),
        workloads=parts.read("workloads' namespaces", lambda: workloads.read_workloads(wanted.attachments), ()),
        host=parts.read("the machine", lambda: host.read_host(settings.data_dir, wanted.made_at), HostFacts()),
        unread=tuple(parts.unread),
    )


def _with_pools(settings: Settings, prefixes: Sequence[str]) -> Settings:
    """With the pools that the daemon says it has, if it says so: flags of its own may have given it others."""
    if not prefixes:
        return settings
    known = {it.prefix: it for it in settings.pools}
    pools = tuple(known.get(it) or Pool.model_validate({"cidr": it}) for it in prefixes)
    return settings.model_copy(update={"pools": pools})


def _differences(
    settings: Settings, wanted: desired.Wanted, known: NodeNetwork, view: ClusterView | None, *, repaired: bool
) -> tuple[Node, tuple[PlannedChange, ...]]:
    """Where a daemon repairs, what lasts: it may just be at it, and workloads come and go between two reads."""
    rendered, differences = node.read_differences(settings, wanted, known, view)
    if differences and repaired:
        time.sleep(_REPAIRED_WITHIN_S)
        again = node.read_differences(settings, desired.read_wanted(settings.data_dir, settings.pools), known, view)[1]
        differences = tuple(it for it in differences if it in again)
    return rendered, differences


def _programs(links: Sequence[LinkState]) -> tuple[LinkProgram, ...]:
    with Channel() as channel:
        return tuple(read_programs(channel, links))


def _in_channel(read: Callable[[Channel], _T]) -> _T:
    with Channel() as channel:
        return read(channel)
