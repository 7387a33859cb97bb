"""The daemon's life: the order of start and stop, signals, and its health. `wiring` makes its parts."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack

import structlog

from netplumb.api.cni.wire import socket_path
from netplumb.api.server.server import serve
from netplumb.models.errors import NetplumbError
from netplumb.models.network import Node
from netplumb.models.settings import Settings
from netplumb.reconciler import optional
from netplumb.reconciler.converge.marks import begin_anew
from netplumb.reconciler.desired.store import Store, boot_id
from netplumb.reconciler.desired.storefile import Verdict
from netplumb.reconciler.history.eventfile import EventFile
from netplumb.reconciler.kernel.nftables.table import Nftables
from netplumb.reconciler.kernel.nodelock import NodeLock
from netplumb.reconciler.kernel.requirements import check_address_marks, check_kernel
from netplumb.reconciler.loop.flows import Flows
from netplumb.reconciler.loop.loop import Loop
from netplumb.reconciler.loop.nodenetwork import refuse_overlap
from netplumb.reconciler.sdnotify import Notifier
from netplumb.reconciler.settings.reloading import Reloading
from netplumb.reconciler.watch.nodenetwork import look
from netplumb.reconciler.wiring import Kernels, Parts

STOP_GRACE_S = 2.0
HEALTHY_WITHIN_S = 10.0  # a slice takes milliseconds; a loop that completed none for so long is stuck
_HEARTBEAT_S = 1.0

log = structlog.get_logger(__name__)


async def run(settings: Settings, reload: Callable[[], Settings]) -> None:
    """Serves until SIGTERM or SIGINT, and leaves the workloads' network as it is. SIGHUP takes settings from `reload`.

    Raises NetplumbError when it cannot start.
    """
    check_kernel()
    reloading = Reloading(settings, reload)
    async with AsyncExitStack() as stack:
        stack.callback(NodeLock().close)
        nftables = Nftables(own=settings.own_table)
        stack.callback(nftables.close)
        flows = Flows(nftables)
        kernels = Kernels.opened(nftables, flows.changed, stack)
        node = f"{boot_id()}/{kernels.here.node_cookie}"
        cluster = optional.cluster(settings, node)
        pools = settings.pools if cluster is None else cluster.with_pools(settings).pools
        known = look(pools, optional.cluster_prefixes(settings))
        mtu = settings.mtu or known.uplink_mtu or Node().mtu
        store = Store(
            settings.data_dir,
            node,
            lambda: begin_anew(pools, mtu, nftables.observe(), nftables.elements().values()),
        )
        stack.callback(store.close)
        check_address_marks()
        used = store.used_pools()
        refuse_overlap(known, used if cluster is None else used | cluster.prefixes)
        if store.is_new:
            level = log.info if store.origin.verdict is Verdict.MISSING else log.warning
            level("the store was begun anew", before=store.origin.verdict.value, kept_as=store.origin.kept_as)
        events = EventFile(settings.data_dir, node)
        stack.callback(events.close)
        parts = Parts(settings, store, events, nftables, flows, known, kernels, cluster, lambda: reloading.conditions)
        stack.callback(parts.close)
        await _serve(settings, parts, stack, reloading)


async def _serve(settings: Settings, parts: Parts, stack: AsyncExitStack, reload: Reloading) -> None:
    events = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        events.add_signal_handler(number, stop.set)
    events.add_signal_handler(signal.SIGHUP, _reload, parts, reload)
    events.add_reader(parts.nft_listener.fileno(), parts.hear_nftables)
    stack.callback(events.remove_reader, parts.nft_listener.fileno())
    notifier = Notifier.from_environment()
    # Before anything else: a daemon whose socket is taken must not have touched anything.
    server = await serve(
        parts.rpc,
        socket_path=settings.socket,
        mode=settings.socket_mode,
        group=settings.socket_group,
        healthy=lambda: parts.nodewide.ready and _turns(parts.loop),
    )
    tasks = [events.create_task(each) for each in parts.coroutines()]
    parts.begin()
    tasks.append(events.create_task(_beat(parts.loop, notifier)))
    stopped = events.create_task(stop.wait())
    try:
        await parts.cni.start(socket_path(settings.socket), settings.socket_mode, settings.socket_group)
        log.info("netplumb serves", socket=str(settings.socket), pools=[pool.prefix for pool in parts.pools])
        notifier.ready()
        # A task that ends by itself has failed, and a daemon without it must not look alive.
        done, _ = await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        notifier.stopping()
        await asyncio.gather(server.stop(STOP_GRACE_S), parts.cni.stop(STOP_GRACE_S))
        for task in (stopped, *tasks):
            task.cancel()
        await asyncio.gather(stopped, *tasks, return_exceptions=True)
    for task in done - {stopped}:
        task.result()
    log.info("netplumb stopped; what is attached stays attached")


def _turns(loop: Loop) -> bool:
    return loop.still_s < HEALTHY_WITHIN_S


async def _beat(loop: Loop, notifier: Notifier) -> None:
    """Wakes an idle loop now and then, so that the time of its last slice shows whether it still turns."""
    while True:
        if _turns(loop):
            notifier.alive()
        loop.beat()
        await asyncio.sleep(_HEARTBEAT_S)


def _reload(parts: Parts, reload: Reloading) -> None:
    """Takes over those settings that can change while running; if there is a mistake, nothing changes."""
    try:
        reload(parts.configure)
    except NetplumbError as error:
        log.error("settings were not reloaded", cause=str(error))
        return
    log.info("settings reloaded", pools=[pool.prefix for pool in parts.pools])
    for condition in parts.of_settings():
        log.warning("settings want a restart", cause=condition.message)
