"""What was seen of the node's network is taken for what holds from now on: by desired state, by flows and by the node's
own objects. The event loop's thread.
"""

from __future__ import annotations

from collections.abc import Collection

import structlog

from netplumb.models.errors import NetplumbError, StoreUnwritable
from netplumb.models.nodenetwork import NodeNetwork
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.desired.store import Store
from netplumb.reconciler.history.history import Tell
from netplumb.reconciler.history.node import network_events
from netplumb.reconciler.loop.flows import Flows
from netplumb.reconciler.loop.loop import Loop
from netplumb.reconciler.loop.node import NodeWide

log = structlog.get_logger(__name__)


class PoolRefused(NetplumbError):
    """A pool cannot be used on this node; the message says why and what to do."""


def refuse_overlap(known: NodeNetwork, used: Collection[str]) -> None:
    """A pool that overlaps a network the node reaches otherwise would cut that network off. One that addresses were
    given from is told of and not refused: what came later must not keep a restart from its repairs."""
    for overlap in known.overlaps:
        if overlap.cuts and overlap.pool not in used:
            raise PoolRefused(f"pool {overlap.pool} overlaps {overlap.what}; choose another prefix")


class KnownNetwork:
    """Hands on what is known of the node's network."""

    def __init__(
        self, desired: Desired, nodewide: NodeWide, flows: Flows, loop: Loop, store: Store, tell: Tell
    ) -> None:
        self._desired = desired
        self._nodewide = nodewide
        self._flows = flows
        self._loop = loop
        self._store = store
        self._tell = tell

    def changed(self, known: NodeNetwork) -> None:
        """Another look saw something else."""
        self._tell(*network_events(self._nodewide.known, known))
        self._flows.looked_around(self._nodewide.known, known)
        self.take(known)

    def take(self, known: NodeNetwork) -> None:
        before = self._nodewide.known
        for overlap in known.overlaps:
            if overlap not in before.overlaps:
                log.warning("a pool overlaps the node's network", pool=overlap.pool, what=overlap.what)
        if not known.complete and before.complete:
            log.warning("the routing table is too large to be read whole; routes of routing daemons are not weighed")
        self._nodewide.known = known
        for key in self._desired.surround(known):
            self._loop.mark_damaged(key)
        self._loop.mark_node()
        try:
            self._store.record_uplink_mtu(known.uplink_mtu)
        except StoreUnwritable as error:
            log.warning("the uplink's MTU is not stored", cause=str(error))
