"""The composition root: the one file that wires sources, loop and API together, and their life from start to stop."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from netplumb.api.cni.server import CniServer
from netplumb.api.cni.service import Service
from netplumb.api.cni.wire import socket_path
from netplumb.api.server.server import serve
from netplumb.api.unixsocket import listening
from netplumb.models.attachment import NETNS_DIR, AttachmentKey
from netplumb.models.errors import NetplumbError, StoreUnwritable
from netplumb.models.events import Event, EventKind
from netplumb.models.network import Node
from netplumb.models.nodenetwork import NodeNetwork
from netplumb.models.settings import Settings
from netplumb.models.status import Condition, Phase
from netplumb.reconciler.converge.linux import LinuxKernel
from netplumb.reconciler.converge.marks import begin_anew
from netplumb.reconciler.converge.reader import Reader
from netplumb.reconciler.decide.firewalls.traffic import Ours
from netplumb.reconciler.decide.rebuild import condition
from netplumb.reconciler.desired.declarations import Declarations
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.desired.store import Store, boot_id
from netplumb.reconciler.desired.storefile import Verdict
from netplumb.reconciler.history.eventfile import EventFile, path_in
from netplumb.reconciler.history.history import History
from netplumb.reconciler.history.node import network_events, uplink_words
from netplumb.reconciler.history.outcomes import refused
from netplumb.reconciler.kernel.nftables.events import NftListener
from netplumb.reconciler.kernel.nftables.table import Nftables
from netplumb.reconciler.kernel.nodelock import NodeLock
from netplumb.reconciler.kernel.requirements import check_address_marks, check_kernel
from netplumb.reconciler.kernel.rtnetlink.departures import Departures
from netplumb.reconciler.kernel.rtnetlink.listener import Listener
from netplumb.reconciler.kernel.rtnetlink.proxies import ProxyNeighbours
from netplumb.reconciler.loop.flows import Flows
from netplumb.reconciler.loop.loop import Loop
from netplumb.reconciler.loop.node import NodeWide
from netplumb.reconciler.sdnotify import Notifier
from netplumb.reconciler.sources.cni import CniSource
from netplumb.reconciler.sources.declared import DeclaredFiles
from netplumb.reconciler.sources.files import StateFiles
from netplumb.reconciler.sources.rpc import RpcSource
from netplumb.reconciler.status.results import Results
from netplumb.reconciler.status.statuses import Statuses
from netplumb.reconciler.watch.firewalls import FirewallWatch
from netplumb.reconciler.watch.hostports import HostPorts
from netplumb.reconciler.watch.namespaces import NamespaceWatch
from netplumb.reconciler.watch.nodenetwork import NetworkWatch, look
from netplumb.reconciler.watch.proxies import watch_proxies

if TYPE_CHECKING:
    from netplumb.reconciler.metrics.exporter import Exporter

STOP_GRACE_S = 2.0
HEALTHY_WITHIN_S = 10.0  # a slice takes milliseconds; a loop that completed none for so long is stuck
REMOVERS = 8  # removals that wait for the kernel's answer side by side; each takes with it what has come meanwhile
_HEARTBEAT_S = 1.0

log = structlog.get_logger(__name__)


class StartError(NetplumbError):
    """The daemon cannot start; the message says why and what to do."""


async def run(settings: Settings, reload: Callable[[], Settings]) -> None:
    """Serves until SIGTERM or SIGINT, and leaves the workloads' network as it is. SIGHUP takes settings from `reload`.

    Raises NetplumbError when it cannot start.
    """
    check_kernel()
    async with AsyncExitStack() as stack:
        stack.callback(NodeLock().close)
        nftables = Nftables(own=settings.own_table)
        stack.callback(nftables.close)
        flows = Flows(nftables)
        kernels = [LinuxKernel(nftables, flows.changed) for _ in range(4 + REMOVERS)]
        for each in kernels:
            stack.callback(each.close)
        kernel, worker, slow_worker, read, *removers = kernels
        reader = Reader(read)
        stack.callback(reader.close)
        known = look(settings.pools)
        mtu = settings.mtu or known.uplink_mtu or Node().mtu
        node = f"{boot_id()}/{kernel.node_cookie}"
        store = Store(
            settings.data_dir,
            node,
            lambda: begin_anew(settings.pools, mtu, nftables.elements().values()),
        )
        stack.callback(store.close)
        check_address_marks()
        _refuse_overlap(known, store.used_pools())
        if store.is_new:
            level = log.info if store.origin.verdict is Verdict.MISSING else log.warning
            level("the store was begun anew", before=store.origin.verdict.value, kept_as=store.origin.kept_as)
        events = EventFile(settings.data_dir, node)
        stack.callback(events.close)
        daemon = _Daemon(settings, store, events, nftables, flows, known, kernel, worker, slow_worker, removers, reader)
        await daemon.serve(stack, reload)


def _refuse_overlap(known: NodeNetwork, used: Collection[str]) -> None:
    """A pool that overlaps a network the node reaches otherwise would cut that network off. One that addresses were
    given from is told of and not refused: what came later must not keep a restart from its repairs."""
    for overlap in known.overlaps:
        if overlap.cuts and overlap.pool not in used:
            raise StartError(f"pool {overlap.pool} overlaps {overlap.what}; choose another prefix")


class _Daemon:
    def __init__(
        self,
        settings: Settings,
        store: Store,
        events: EventFile,
        nftables: Nftables,
        flows: Flows,
        known: NodeNetwork,
        kernel: LinuxKernel,
        worker: LinuxKernel,
        slow_worker: LinuxKernel,
        removers: Sequence[LinuxKernel],
        reader: Reader,
    ) -> None:
        self._settings = settings
        self._store = store
        self._origin = store.origin
        self._history = History(events, lambda: self._desired.allocator.usage())
        self._kernel = kernel
        self._listener = Listener()
        self._departures = Departures()
        self._nftables = nftables
        self._nft_listener = NftListener()
        self._flows = flows
        self._firewalls = FirewallWatch(self._ours)
        self._proxies = ProxyNeighbours()
        self._host_ports = HostPorts(
            settings.host_ports_in_use,
            lambda: self._desired.wishes(),
            lambda key: self._loop.mark_damaged(key),
            lambda: self._declared.let_go(),
            resync_s=settings.resync_s,
        )
        self._network = NetworkWatch(known, lambda: self._desired.allocator.pools, self._network_changed)
        self._desired = Desired(
            store,
            settings,
            lambda key: self._loop.wish_changed(key),
            lambda: self._declared.let_go(),
            self._host_ports.check,
            claim_changed=lambda source, key: self._statuses.claim_changed(source, key),
        )
        self._statuses = Statuses(self._desired, lambda: self._nodewide.node)
        self._nodewide = NodeWide(
            settings=settings,
            node_addresses=self._desired.node_addresses,
            prefixes=self._desired.allocator.prefixes,
            elements=lambda: self._results.elements(),
            left_alone=lambda: self._desired.unclaimed,
            record_sysctl=store.record_sysctl,
            mtu=store.uplink_mtu or Node().mtu,
        )
        self._results = Results(
            self._desired,
            self._statuses,
            lambda key, urgency: self._loop.mark(key, urgency),
            kernel.remove_namespace,
            netns_gone_grace_s=settings.netns_gone_grace_s,
            ports_in_use=self._host_ports.told,
            tell=self._history.tell,
        )
        self._loop = Loop(
            self._desired,
            self._results,
            self._nodewide,
            self._listener,
            kernel,
            worker,
            slow_worker,
            removers,
            self._departures,
            flows,
            look_around=self._network.mark,
            resync_s=settings.resync_s,
        )
        self._namespaces = NamespaceWatch(
            Path(NETNS_DIR), self._desired, self._results.unsettled, self._loop.mark_damaged
        )
        declarations = Declarations(
            self._desired, lambda key, source, error: self._history.tell(refused(key, source, error))
        )
        self._declared = DeclaredFiles(declarations, self._loop.sources_loaded, self._host_ports.look)
        self._files = StateFiles(settings.state_files, self._declared) if settings.state_files else None
        self._rpc = RpcSource(
            self._desired,
            self._statuses,
            self._loop,
            self._results.tally,
            self._nodewide,
            kernel,
            reader,
            version=version("netplumb"),
            timeout_s=settings.attach_timeout_s,
            source_conditions=self._source_conditions,
            look_at_ports=self._host_ports.look,
            rehearse_ports=self._host_ports.rehearsed,
            history=self._history,
            declared=self._declared,
        )
        service = Service(CniSource(self._desired, self._rpc))
        self._unknowns, self._cni = service.unknowns, CniServer(service)
        self._exporter = self._made_exporter()
        self._take(known)
        self._history.tell(Event(EventKind.STARTED, None, f"netplumb {version('netplumb')}, {uplink_words(known)}"))

    def _made_exporter(self) -> Exporter | None:
        """Where no metrics are wanted, nothing of what makes them is imported."""
        settings = self._settings
        if settings.metrics is None:
            return None
        from netplumb.reconciler.metrics.counting import Counting
        from netplumb.reconciler.metrics.exporter import Exporter

        def listen_at(path: Path) -> tuple[socket.socket, Callable[[], None]]:
            made, published = listening(path, settings.socket_mode, settings.socket_group)
            return made, published.withdraw

        counting = Counting(
            lambda: self._rpc.status(without_pools=True),
            self._desired,
            self._results,
            self._history,
            self._nftables,
            lambda: self._settings.metrics_per_workload,
        )
        stores = {"desired": self._store.path, "events": path_in(settings.data_dir)}
        return Exporter(settings.metrics, listen_at, counting.counted, stores)

    def _network_changed(self, known: NodeNetwork) -> None:
        self._history.tell(*network_events(self._nodewide.known, known))
        self._flows.looked_around(self._nodewide.known, known)
        self._take(known)

    def _take(self, known: NodeNetwork) -> None:
        """Takes what was seen of the node's network for what holds from now on."""
        for overlap in known.overlaps:
            if overlap not in self._nodewide.known.overlaps:
                log.warning("a pool overlaps the node's network", pool=overlap.pool, what=overlap.what)
        if not known.complete and self._nodewide.known.complete:
            log.warning("the routing table is too large to be read whole; routes of routing daemons are not weighed")
        self._nodewide.known = known
        for key in self._desired.surround(known):
            self._loop.mark_damaged(key)
        self._loop.mark_node()
        try:
            self._store.record_uplink_mtu(known.uplink_mtu)
        except StoreUnwritable as error:
            log.warning("the uplink's MTU is not stored", cause=str(error))

    def _source_conditions(self) -> tuple[Condition, ...]:
        origin = self._origin
        rebuilt = condition(
            self._desired.attachments.values(),
            self._desired.unclaimed,
            why=origin.verdict.value,
            kept_as=origin.kept_as,
            made_at=origin.made_at,
        )
        kept = () if rebuilt is None else (rebuilt,)
        unknown = self._unknowns.conditions({it.source for it in self._desired.attachments.values()})
        metrics = self._exporter.conditions if self._exporter is not None else ()
        return (*self._declared.conditions(), *kept, *metrics, *self._firewalls.conditions, *unknown)

    def _ours(self) -> Ours:
        settings, known = self._settings, self._nodewide.known
        attachments = tuple(self._desired.attachments.values())
        return Ours(settings.pools, attachments, settings.masquerade, known.uplinks, frozenset(known.own))

    async def serve(self, stack: AsyncExitStack, reload: Callable[[], Settings]) -> None:
        events = asyncio.get_running_loop()
        stack.callback(self._listener.close)
        stack.callback(self._departures.close)
        stack.callback(self._nft_listener.close)
        stack.callback(self._proxies.close)
        stack.callback(self._host_ports.close)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            events.add_signal_handler(number, stop.set)
        events.add_signal_handler(signal.SIGHUP, self._reload, reload)
        events.add_reader(self._nft_listener.fileno(), self._hear_nftables)
        stack.callback(events.remove_reader, self._nft_listener.fileno())
        notifier = Notifier.from_environment()
        # First of all, since a daemon whose socket is taken must not have touched anything.
        server = await serve(
            self._rpc,
            socket_path=self._settings.socket,
            mode=self._settings.socket_mode,
            group=self._settings.socket_group,
            healthy=self._healthy,
        )
        watches = (self._namespaces.run(), self._firewalls.run(), self._host_ports.run(), self._network.run())
        running = (self._loop.run(), self._declared.run(), self._history.run(), *watches)
        tasks = [events.create_task(task) for task in running]
        if self._files is not None:
            tasks.append(events.create_task(self._files.run()))
        else:
            self._loop.sources_loaded()
        tasks.append(events.create_task(self._beat(notifier)))
        if self._exporter is not None:
            tasks.append(events.create_task(self._exporter.run()))
        tasks.append(events.create_task(watch_proxies(self._proxies, self._results.hints, self._proxy_lost)))
        stopped = events.create_task(stop.wait())
        try:
            await self._cni.start(
                socket_path(self._settings.socket), self._settings.socket_mode, self._settings.socket_group
            )
            log.info(
                "netplumb serves", socket=str(self._settings.socket), pools=[p.prefix for p in self._settings.pools]
            )
            notifier.ready()
            # A task that ends by itself has failed, and a daemon without it must not look alive.
            done, _ = await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            notifier.stopping()
            await asyncio.gather(server.stop(STOP_GRACE_S), self._cni.stop(STOP_GRACE_S))
            for task in (stopped, *tasks):
                task.cancel()
            await asyncio.gather(stopped, *tasks, return_exceptions=True)
        for task in done - {stopped}:
            task.result()
        log.info("netplumb stopped; what is attached stays attached")

    def _healthy(self) -> bool:
        return self._nodewide.ready and time.time() - self._loop.last_slice_at < HEALTHY_WITHIN_S

    async def _beat(self, notifier: Notifier) -> None:
        """Wakes an idle loop now and then, so that its last slice tells whether it still turns."""
        while True:
            if time.time() - self._loop.last_slice_at < HEALTHY_WITHIN_S:
                notifier.alive()
            self._loop.beat()
            await asyncio.sleep(_HEARTBEAT_S)

    def _hear_nftables(self) -> None:
        """Marks the node unless all that was heard of are commits of ours, or of others to other tables."""
        heard = self._nft_listener.drain()
        if heard.lost or any(not commit.ours for commit in heard.commits):
            self._firewalls.mark()
        if heard.lost or not self._nftables.told(heard.commits):
            self._loop.mark_node()

    def _proxy_lost(self, key: AttachmentKey) -> None:
        """One whose repair failed is left to its retries."""
        if self._statuses.get(key).phase is Phase.ATTACHED:
            self._loop.mark_damaged(key)

    def _reload(self, reload: Callable[[], Settings]) -> None:
        """Takes new settings for what can change while running; a mistake in them changes nothing."""
        try:
            settings = reload()
            known = look(settings.pools)
            _refuse_overlap(known, self._store.used_pools())
        except NetplumbError as error:
            log.error("settings were not reloaded", cause=str(error))
            return
        self._settings = settings
        self._nodewide.settings = settings
        self._host_ports.policy, self._host_ports.resync_s = settings.host_ports_in_use, settings.resync_s
        self._loop.resync_s, self._results.retries.netns_gone_grace_s = settings.resync_s, settings.netns_gone_grace_s
        self._rpc.timeout_s = settings.attach_timeout_s
        self._desired.configure(settings)
        self._network.take(known)
        if self._files is not None:
            self._files.wake()
        self._loop.resync()
        log.info("settings reloaded", pools=[pool.prefix for pool in settings.pools])
