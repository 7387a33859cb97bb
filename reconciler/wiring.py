"""The composition root: the one file that wires sources, loop and API together. Their life is `daemon`'s."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from netplumb.api.cni.server import CniServer
from netplumb.api.cni.service import Service
from netplumb.models.attachment import NETNS_DIR, Attachment, AttachmentKey
from netplumb.models.cluster import ClusterMode, ClusterView
from netplumb.models.events import Event, EventKind
from netplumb.models.flows import Crowding
from netplumb.models.naming import node_if_name
from netplumb.models.network import Node, Pool
from netplumb.models.nft import NftElement
from netplumb.models.nodenetwork import NodeNetwork
from netplumb.models.policyset import PolicySet
from netplumb.models.settings import Settings
from netplumb.models.status import Condition, Phase
from netplumb.models.steps import Step
from netplumb.reconciler import optional
from netplumb.reconciler.converge.linux import LinuxKernel
from netplumb.reconciler.converge.reader import Reader
from netplumb.reconciler.decide.firewalls.traffic import Ours, tunnel
from netplumb.reconciler.decide.policies.lost import names
from netplumb.reconciler.decide.rebuild import condition
from netplumb.reconciler.desired.admission import judge_alike
from netplumb.reconciler.desired.declarations import Declarations
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.desired.store import Store
from netplumb.reconciler.history.eventfile import EventFile
from netplumb.reconciler.history.history import History
from netplumb.reconciler.history.lasting import Lasted
from netplumb.reconciler.history.node import uplink_words
from netplumb.reconciler.history.outcomes import Repair, refused, repaired
from netplumb.reconciler.kernel.descriptors import RESERVE
from netplumb.reconciler.kernel.nftables.events import NftListener
from netplumb.reconciler.kernel.nftables.table import Nftables
from netplumb.reconciler.kernel.rtnetlink.departures import Departures
from netplumb.reconciler.kernel.rtnetlink.listener import Listener
from netplumb.reconciler.kernel.rtnetlink.proxies import ProxyNeighbours
from netplumb.reconciler.loop.flows import Flows
from netplumb.reconciler.loop.loop import Loop
from netplumb.reconciler.loop.node import NodeWide
from netplumb.reconciler.loop.nodenetwork import KnownNetwork, refuse_overlap
from netplumb.reconciler.sources.cni import CniSource
from netplumb.reconciler.sources.declared import DeclaredFiles, unread
from netplumb.reconciler.sources.files import StateFiles
from netplumb.reconciler.sources.loading import Loading
from netplumb.reconciler.sources.rpc import NO_POOLS, NO_PREFIXES, RpcSource
from netplumb.reconciler.status.results import Results
from netplumb.reconciler.status.statuses import Statuses
from netplumb.reconciler.watch.crowding import CrowdingWatch
from netplumb.reconciler.watch.firewalls import FirewallWatch
from netplumb.reconciler.watch.gateways import GatewayWatch
from netplumb.reconciler.watch.hostports import HostPorts
from netplumb.reconciler.watch.namespaces import NamespaceWatch
from netplumb.reconciler.watch.nodenetwork import NetworkWatch, look
from netplumb.reconciler.watch.proxies import watch_proxies

if TYPE_CHECKING:
    from netplumb.reconciler.cluster.part import ClusterPart
    from netplumb.reconciler.watch.denials import DenialWatch

REMOVERS = 8  # requests to remove links that may wait for the kernel's answer at the same time


@dataclass(frozen=True, slots=True)
class Kernels:
    """One kernel for each thread: the event loop's, the loop's two others, the removers', and one that only reads."""

    here: LinuxKernel
    worker: LinuxKernel
    slow_worker: LinuxKernel
    reader: Reader
    removers: Sequence[LinuxKernel]

    @classmethod
    def opened(cls, nftables: Nftables, changed: Callable[[Iterable[Step]], None], stack: AsyncExitStack) -> Self:
        RESERVE.fill()
        stack.callback(RESERVE.empty)
        kernels = [LinuxKernel(nftables, changed) for _ in range(4 + REMOVERS)]
        for each in kernels:
            stack.callback(each.close)
        here, worker, slow_worker, read, *removers = kernels
        reader = Reader(read)
        stack.callback(reader.close)
        return cls(here, worker, slow_worker, reader, removers)


class Parts:
    """All parts of the daemon, each given the others that it needs."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        events: EventFile,
        nftables: Nftables,
        flows: Flows,
        known: NodeNetwork,
        kernels: Kernels,
        cluster: ClusterPart | None = None,
        of_settings: Callable[[], tuple[Condition, ...]] = lambda: (),
    ) -> None:
        """`of_settings` returns the conditions of the settings that were read last."""
        self._started_at = time.time()
        self._given = settings
        """Without the pools that the cluster gives this node."""
        self._settings = settings = settings if cluster is None else cluster.with_pools(settings)
        self.of_settings = of_settings
        self._cluster = cluster
        self._store = store
        self._origin = store.origin
        self._history = History(events, lambda: self._desired.allocator.usage())
        with_vxlan = settings.cluster is not None and settings.cluster.mode is ClusterMode.VXLAN
        self._listener = Listener(entries=with_vxlan)
        self._departures = Departures()
        self._nftables = nftables
        self.nft_listener = NftListener()
        self._firewalls = FirewallWatch(self._ours, lambda *events: self._history.tell(*events))
        self._denials: DenialWatch | None = None
        self._proxies = ProxyNeighbours()
        self._host_ports = HostPorts(
            settings.host_ports_in_use,
            lambda: self._desired.wishes(),
            lambda key: self.loop.mark_damaged(key),
            lambda: self._declared.let_go(),
            resync_s=settings.resync_s,
        )
        self._network = NetworkWatch(
            known,
            lambda: self._desired.allocator.pools,
            lambda seen: self._network_changed(seen),
            lambda: optional.cluster_prefixes(self._settings),
        )
        self._gateways = GatewayWatch(lambda: self.nodewide.known.gateways, lambda *events: self._history.tell(*events))
        self._crowding = CrowdingWatch(
            lambda: self._desired.attachments.values(),
            lambda found: self._crowded(found),
            lambda *events: self._history.tell(*events),
        )
        self._desired = Desired(
            store,
            settings,
            lambda key: self.loop.wish_changed(key),
            lambda: self._declared.let_go(),
            self._host_ports.check,
            claim_changed=lambda source, key: self._statuses.claim_changed(source, key),
            policies_changed=lambda: self.loop.policies_changed(),
            released=lambda addresses: self.loop.released(addresses),
            left=lambda before: self._results.left(before),
        )
        self._statuses = Statuses(self._desired, lambda: self.nodewide.node)
        self.nodewide = NodeWide(
            settings=settings,
            node_addresses=self._desired.node_addresses,
            prefixes=self._desired.allocator.prefixes,
            elements=self._elements,
            left_alone=lambda: (*self._desired.unclaimed, *self._links_of(lambda it: it.removing)),
            unlabelled=lambda: self._links_of(lambda it: it.is_rebuilt),
            without_pass=self._without_pass,
            uppers=lambda: self._results.hints.uppers.names(),
            under_way=lambda: map(node_if_name, self.loop.busy),
            attached=lambda: self._links_of(lambda _: True),
            knows_elsewhere=lambda: self.loop.elsewhere is None or self.loop.elsewhere.is_settled,
            record_sysctl=store.record_sysctl,
            forget_sysctl=store.forget_sysctl,
            mtu=store.uplink_mtu or Node().mtu,
        )
        self._results = Results(
            self._desired,
            self._statuses,
            lambda key, urgency: self.loop.mark(key, urgency),
            kernels.here.remove_namespace,
            netns_gone_grace_s=settings.netns_gone_grace_s,
            ports_in_use=self._host_ports.told,
            tell=self._history.tell,
        )
        self._ways = optional.ways(settings, self.nodewide, self._ways_repaired)
        self._results.hints.ways = self._ways.heard if self._ways is not None else None
        self.loop = Loop(
            self._desired,
            self._results,
            self.nodewide,
            self._listener,
            kernels.here,
            kernels.worker,
            kernels.slow_worker,
            kernels.removers,
            self._departures,
            flows,
            look_around=self._network.mark,
            resync_s=settings.resync_s,
            policed=self._hear_denied,
            ways=self._ways,
            elsewhere=cluster.endpoints if cluster is not None else None,
        )
        self._namespaces = NamespaceWatch(
            Path(NETNS_DIR), self._desired, self._results.unsettled, self.loop.mark_damaged
        )
        declarations = Declarations(
            self._desired, lambda key, source, error: self._history.tell(refused(key, source, error))
        )
        self._leaving = optional.leaving(settings)
        awaited = {"files": settings.state_files, "cluster": cluster or self._leaving}
        self._loading = Loading([name for name, it in awaited.items() if it is not None], self.loop.sources_loaded)
        self._declared = DeclaredFiles(
            declarations, lambda: self._loading.loaded("files"), self._host_ports.look, self.loop.policies.rested
        )
        self._files = StateFiles(settings.state_files, self._declared) if settings.state_files else None
        self.rpc = RpcSource(
            self._desired,
            self._statuses,
            self.loop,
            self._results.tally,
            self.nodewide,
            kernels.here,
            kernels.reader,
            version=version("netplumb"),
            timeout_s=settings.attach_timeout_s,
            source_conditions=self._source_conditions,
            look_at_ports=self._host_ports.look,
            look_at_addresses=self._network.check,
            rehearse_ports=self._host_ports.rehearsed,
            history=self._history,
            declared=self._declared,
            node_links=lambda: self._results.hints.node_links(),
            ways=self._ways.differences if self._ways is not None else None,
            no_pools=NO_POOLS if cluster is None else NO_PREFIXES,
            prefixes=cluster,
            elsewhere=cluster.endpoints if cluster is not None else None,
            denied=nftables.denied,
            element=nftables.element,
        )
        service = Service(CniSource(self._desired, self.rpc))
        self._unknowns, self.cni = service.unknowns, CniServer(service)
        self._exporter = optional.exporter(
            settings,
            store.path,
            lambda: self.rpc.status(without_pools=True),
            self._desired,
            self._results,
            self._history,
            nftables,
            lambda: self._settings.metrics_per_workload,
        )
        self._page = optional.page(settings, self.rpc)
        self._remote = optional.remote(settings, self.rpc)
        self._known = KnownNetwork(self._desired, self.nodewide, flows, self.loop, store, self._history.tell)
        self._known.take(known)
        if cluster is not None:
            cluster.join(
                self._desired.allocator,
                lambda: self.nodewide.known,
                lambda: self.configure(self._given),
                self.cluster_seen,
                self._declared,
                lambda: self._loading.loaded("cluster"),
                self._statuses.watch,
            )
            # What the node itself needs follows from the settings, even if nothing is known of other nodes.
            self.nodewide.cluster = self.nodewide.cluster or cluster.view
        self._history.tell(Event(EventKind.STARTED, None, f"netplumb {version('netplumb')}, {uplink_words(known)}"))

    def coroutines(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What runs as long as the daemon does."""
        yield self.loop.run()
        yield self._declared.run()
        yield self._history.run()
        watches = (self._namespaces, self._firewalls, self._host_ports, self._network, self._gateways, self._crowding)
        for watch in watches:
            yield watch.run()
        yield watch_proxies(self._proxies, self._results.hints, self._proxy_lost)
        for each in (self._files, self._exporter, self._page, self._remote, self._ways, self._cluster):
            if each is not None:
                yield each.run()
        if self._leaving is not None:
            yield self._leaving(self._declared, lambda: self._loading.loaded("cluster"))

    def cluster_seen(self, view: ClusterView) -> None:
        """Takes what is now known of other nodes."""
        self.nodewide.cluster = view = view.after(self.nodewide.cluster)
        if self._ways is not None:
            self._ways.take(view)
        self.loop.beat()  # the node gets a pass if that changes what it needs

    def _crowded(self, found: Crowding) -> None:
        self.nodewide.crowding = found
        self.loop.beat()

    def _network_changed(self, seen: NodeNetwork) -> None:
        self._known.changed(seen)
        if self._cluster is not None:
            self._cluster.looked_around()

    def _ways_repaired(self, steps: Sequence[Step], lasted: Lasted, took_s: float) -> None:
        self._results.tally.repair((step.thing for step in steps), lasted.heard_s or took_s)
        self._results.tell(repaired(None, Repair(steps, lasted)))

    def _hear_denied(self, policies: PolicySet) -> None:
        """Until there are policies, the watch for denied packets is not even imported."""
        if self._denials is None and policies.policies:
            from netplumb.reconciler.watch.denials import DenialWatch

            self._denials = DenialWatch(self._results.hints, self._desired.attachments.get, self._history.tell)
        if self._denials is not None:
            self._denials.take(policies)

    def _elements(self, node: Node) -> Iterator[NftElement]:
        yield from self._results.last_passes.elements(node)
        if self.loop.elsewhere is not None:
            yield from self.loop.elsewhere.elements(node)

    def _without_pass(self) -> Iterator[str]:
        yield from self._results.last_passes.links_without_pass()
        if self.loop.elsewhere is not None:
            yield from self.loop.elsewhere.due

    def _links_of(self, meant: Callable[[Attachment], bool]) -> Iterator[str]:
        return (node_if_name(it.key) for it in self._desired.attachments.values() if meant(it))

    def begin(self) -> None:
        self._hear_denied(self._desired.policies.in_force)
        self._loading.begin()

    def close(self) -> None:
        if self._denials is not None:
            self._denials.close()
        for each in (self._host_ports, self._proxies, self.nft_listener, self._departures, self._listener):
            each.close()

    def hear_nftables(self) -> None:
        """Marks the node, unless all commits were ours, or others' to other tables."""
        heard = self.nft_listener.drain()
        if heard.lost or any(not commit.ours for commit in heard.commits):
            self._firewalls.mark()
        if heard.lost or not self._nftables.told(heard.commits):
            self.loop.mark_node()

    def _proxy_lost(self, key: AttachmentKey) -> None:
        """Marks what is attached; one whose repair failed is left to its retries."""
        if self._statuses.get(key).phase is Phase.ATTACHED:
            self.loop.mark_damaged(key)

    @property
    def pools(self) -> tuple[Pool, ...]:
        """The pools that addresses are given from."""
        return self._settings.pools

    def configure(self, given: Settings) -> None:
        """Takes over the settings that can change while running, and the pools that the cluster gives. Raises
        NetplumbError, and then nothing has changed. A pool in force is not refused for what has since come into it."""
        settings = given if self._cluster is None else self._cluster.with_pools(given)
        known = look(settings.pools, optional.cluster_prefixes(settings))
        used = self._store.used_pools().union(it.prefix for it in self.pools)
        refuse_overlap(known, used if self._cluster is None else used | self._cluster.prefixes)
        if not judge_alike(self._settings, settings):
            self._declared.judge_anew()
        self._given, self._settings = given, settings
        self.nodewide.settings = settings
        self._host_ports.policy, self._host_ports.resync_s = settings.host_ports_in_use, settings.resync_s
        self.loop.resync_s, self._results.retries.netns_gone_grace_s = settings.resync_s, settings.netns_gone_grace_s
        self.rpc.timeout_s = settings.attach_timeout_s
        self._desired.configure(settings)
        if self._remote is not None:
            self._remote.roles = optional.roles(settings)
        self._network.take(known)
        if self._files is not None:
            self._files.wake()
        self.loop.resync()

    def _source_conditions(self) -> tuple[Condition, ...]:
        origin = self._origin
        rebuilt = condition(
            self._desired.attachments.values(),
            self._desired.unclaimed,
            names(self._desired.policies.lost),
            why=origin.verdict.value,
            kept_as=origin.kept_as,
            made_at=origin.made_at,
        )
        kept = () if rebuilt is None else (rebuilt,)
        unknown = self._unknowns.conditions({it.source for it in self._desired.attachments.values()})
        optional = (self._exporter, self._page, self._remote, self._ways, self._cluster)
        served = [condition for each in optional if each is not None for condition in each.conditions]
        return (
            *self._declared.conditions(),
            *(unread(self._declared.declared_sources(), self._started_at) if self._files is None else ()),
            *self.of_settings(),
            *kept,
            *served,
            *self._firewalls.conditions,
            *self._gateways.conditions,
            *self._crowding.conditions,
            *unknown,
        )

    def _ours(self) -> Ours:
        settings, known = self._settings, self.nodewide.known
        attachments = tuple(self._desired.attachments.values())
        view, cluster = self.nodewide.cluster, settings.cluster
        between = tunnel(view, cluster.vxlan_port, known) if view is not None and cluster is not None else None
        return Ours(settings.pools, attachments, settings.masquerade, known.uplinks, frozenset(known.own), between)
