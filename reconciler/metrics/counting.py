"""Freezes what the daemon counts, on the event loop's thread. It only copies: adding up is left to the scrape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from netplumb.models.events import EventKind
from netplumb.models.status import NodeStatus
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.history.history import History
from netplumb.reconciler.kernel.nftables.table import Nftables
from netplumb.reconciler.metrics.reading import Counted
from netplumb.reconciler.status.results import Results


@dataclass(slots=True)
class Counting:
    """`per_workload` is asked at each scrape, since it may change while the daemon runs."""

    status: Callable[[], NodeStatus]
    desired: Desired
    results: Results
    history: History
    nftables: Nftables
    per_workload: Callable[[], bool]

    def counted(self) -> Counted:
        tally = self.results.tally
        return Counted(
            status=self.status(),
            attachments=tuple(self.desired.attachments.values()),
            attaching=tally.attaching.frozen(),
            detaching=tally.detaching.frozen(),
            passing=tally.passing.frozen(),
            passing_node=tally.passing_node.frozen(),
            resyncing=tally.resyncing.frozen(),
            repaired={kind: durations.frozen() for kind, durations in tally.repaired.items()},
            fights=self.history.counts[EventKind.FIGHTING],
            refusals=self.history.counts[EventKind.REFUSED],
            transactions=self.nftables.transactions,
            policed=bool(self.desired.policies.in_force.policies),
            links=self.results.hints.node_links() if self.per_workload() else None,
        )
