"""What the daemon reports of itself and of the node, from memory, without reading the kernel."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from netplumb.models.status import Condition, Counters, NodeStatus, Unmet
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.loop.loop import Loop
from netplumb.reconciler.loop.node import NodeWide
from netplumb.reconciler.status.statuses import Statuses
from netplumb.reconciler.status.tally import Tally


class NodeReport:
    """`source_conditions` are those of what the node's own passes know nothing of."""

    def __init__(
        self,
        desired: Desired,
        statuses: Statuses,
        loop: Loop,
        tally: Tally,
        nodewide: NodeWide,
        version: str,
        source_conditions: Callable[[], tuple[Condition, ...]],
    ) -> None:
        self._desired = desired
        self._statuses = statuses
        self._loop = loop
        self._tally = tally
        self._nodewide = nodewide
        self._version = version
        self._source_conditions = source_conditions
        self._started_at = time.time()

    def status(self, unmet: Sequence[Unmet], unmet_total: int) -> NodeStatus:
        tally = self._tally
        return NodeStatus(
            ready=self._nodewide.ready,
            version=self._version,
            started_at=self._started_at,
            conditions=self.conditions(),
            pools=self._desired.allocator.usage(),
            phases=self._statuses.phases(),
            counters=Counters(
                tally.passes, dict(tally.repairs), tally.retries, tally.resyncs, tally.events, tally.lost_events
            ),
            queue_length=len(self._loop.queue),
            queue_age_s=self._loop.queue.age_s(),
            last_slice_at=self._loop.last_slice_at,
            unmet=tuple(unmet),
            unmet_total=unmet_total,
            uplinks=self._nodewide.known.shown_uplinks,
        )

    def conditions(self) -> tuple[Condition, ...]:
        """Those of the node."""
        node = Condition(
            "NodeInSync", not self._nodewide.cause, "Converged", self._nodewide.cause, self._nodewide.since
        )
        if self._nodewide.cause:
            node = replace(node, reason="NodeFailed")
        fighting = self._nodewide.fighting()
        told = (*((fighting,) if fighting is not None else ()), *self._nodewide.conditions)
        return (node, *told, *self._source_conditions())
