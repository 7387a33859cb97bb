"""Passes in a thread beside the event loop: those that may block, and those of resyncs, a slice of keys at a time.

What takes a read of the whole node is done here too: orphans are removed, and routes that the kernel removed together
with an address of the node are restored for all attachments at once. The thread is never interrupted within a step.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence, Set
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from typing import Protocol

import structlog

from netplumb.models.attachment import Attachment, AttachmentKey
from netplumb.models.errors import Retryable, StepError, StoreUnwritable
from netplumb.models.naming import ifb_name, ifb_name_beside, key_of_alias, node_if_name
from netplumb.reconciler.converge.attachment import converge_guarded
from netplumb.reconciler.converge.hostroutes import Placed, restore_host_routes
from netplumb.reconciler.converge.linux import LinuxKernel
from netplumb.reconciler.converge.observe import NodeSnapshot
from netplumb.reconciler.converge.removal import Doomed
from netplumb.reconciler.converge.work import Outcome, Work
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.history.outcomes import Repair, repaired
from netplumb.reconciler.kernel.rtnetlink.listener import NODE_NSID
from netplumb.reconciler.loop.node import NodeWide
from netplumb.reconciler.loop.noderead import NodeRead
from netplumb.reconciler.loop.removals import Removals
from netplumb.reconciler.loop.workthread import WorkThread
from netplumb.reconciler.pacing.queue import Queue, Urgency
from netplumb.reconciler.status.results import Results

SLICE_KEYS = 16  # a key that is damaged while its slice is under way waits for the whole slice

log = structlog.get_logger(__name__)


class Passes(Protocol):
    """What the loop decides for passes, whichever thread they run on."""

    @property
    def busy(self) -> Set[AttachmentKey]:
        """Keys with a pass under way in any thread."""

    def prepared(self, key: AttachmentKey, *, dear: bool = False) -> Attachment | None:
        """The attachment to converge; None if there is nothing to converge, or if another thread does it. Attachments
        whose passes are expensive go to the thread for these, which asks with `dear`."""

    def work(self, attachment: Attachment, *, may_block: bool, snapshot: NodeSnapshot | None = None) -> Work: ...

    def finished(self, outcomes: Iterable[Outcome]) -> None: ...

    def mark(self, key: AttachmentKey, urgency: Urgency) -> None: ...

    def mark_damaged(self, key: AttachmentKey) -> None: ...

    def mark_all(self) -> None: ...

    def mark_node(self) -> None: ...

    def resynced(self) -> None:
        """All that was marked for a resync was read anew."""


class ThreadPasses:
    """Takes what `queue` holds for resyncs, and what the loop defers. `worker` is the thread's kernel."""

    def __init__(
        self,
        passes: Passes,
        queue: Queue,
        desired: Desired,
        results: Results,
        nodewide: NodeWide,
        removals: Removals,
        worker: LinuxKernel,
    ) -> None:
        self._passes = passes
        self._queue = queue
        self._desired = desired
        self._results = results
        self._nodewide = nodewide
        self._removals = removals
        self._worker = worker
        self._thread = WorkThread("passes")
        self._read = NodeRead(self._snapshot)
        self._deferred = Queue(time.monotonic)
        self._orphans_due = False
        self._routes_due = False
        self._resync_began_at: float | None = None
        self._spent_s = 0.0
        self.resync_cost_s = 0.0
        """The work of all passes of the last complete resync, in seconds."""
        self.busy: set[AttachmentKey] = set()
        """Keys with a pass under way here; no other thread may start one for them."""
        self.may_remove_orphans = False
        """Whether every source has loaded, so that what nobody wants is known."""

    def marked(self, key: AttachmentKey) -> None:
        """A key was marked for a resync."""
        self._read.marked(key)
        self._thread.wake()

    def passed(self, key: AttachmentKey) -> None:
        """A pass on another thread may change what there is of this key."""
        self._read.passed((key,))

    def defer(self, key: AttachmentKey, urgency: Urgency) -> None:
        """Takes over a pass that may block."""
        self._deferred.mark(key, urgency)
        self._thread.wake()

    def look_for_orphans(self) -> None:
        """The last thing that a resync does."""
        self._orphans_due = True
        if self._resync_began_at is None:
            self._resync_began_at, self._spent_s = time.monotonic(), 0.0
        self._thread.wake()

    def freed(self) -> None:
        """Another thread is no longer busy with its keys."""
        self._thread.wake()

    def restore_routes(self) -> None:
        """An address of the node was gone, and with it every route that preferred it: the kernel sends no events for
        those routes."""
        self._routes_due = True
        self._thread.wake()

    async def run(self) -> None:
        """Runs until cancelled; what then runs in the thread is let finish."""
        await self._thread.run(self._turn)

    async def _turn(self) -> None:
        while keys := await self._take():
            await self._pass_over(keys)
        if self.may_remove_orphans and self._orphans_due:
            self._orphans_due = False
            await self._remove_orphans()
            self._passes.resynced()
            self._resynced()
        self._read.drop()

    def _resynced(self) -> None:
        """Records how long the resync took, unless another was asked for meanwhile: then both are taken as one."""
        if self._resync_began_at is not None and not self._orphans_due:
            self._results.tally.resyncing.observe(time.monotonic() - self._resync_began_at)
            self.resync_cost_s = self._spent_s
            self._resync_began_at = None

    async def _take(self) -> list[AttachmentKey]:
        if self._routes_due:
            await self._restore_routes()
        deferred = iter(lambda: self._deferred.take(tuple(Urgency), self._passes.busy), None)
        marked = iter(lambda: self._queue.take((Urgency.RESYNC,), self._passes.busy), None)
        return list(islice(chain(deferred, marked), SLICE_KEYS))

    async def _pass_over(self, keys: Iterable[AttachmentKey]) -> None:
        attachments = [found for key in keys if (found := self._passes.prepared(key)) is not None]
        # Busy from before the read: a pass of another thread in between would make the read outdated.
        self.busy = {attachment.key for attachment in attachments}
        await self._read.prepare(self.busy, resync=self._orphans_due)
        works = [self._passes.work(it, may_block=True, snapshot=self._read.of(it.key)) for it in attachments]
        self._read.passed(self.busy)
        outcomes = await self._thread.do(partial(self._converge_all, works))
        self._spent_s += sum(outcome.cost_s for outcome in outcomes)
        self.busy = set()
        self._passes.finished(outcomes)

    def _converge_all(self, works: Sequence[Work]) -> list[Outcome]:
        return [converge_guarded(work, self._worker) for work in works]

    async def _snapshot(self) -> NodeSnapshot | None:
        uppers = self._results.hints.uppers
        changes = uppers.changes
        try:
            snapshot = await self._thread.do(partial(self._worker.snapshot, in_part=True))
        except (Retryable, OSError) as error:
            log.warning("no consistent read of the node", cause=str(error))
            return None
        if lowers := uppers.seen(snapshot.uppers, began_at=changes, whole=snapshot.whole):
            self._passes.mark_node()
            for key in filter(None, (self._results.hints.at((NODE_NSID, lower)) for lower in lowers)):
                self._passes.mark_damaged(key)
        return snapshot

    async def _restore_routes(self) -> None:
        """Restores the routes that went with an address of the node, for all attachments at once."""
        self._routes_due = False
        began = time.monotonic()
        hints = self._results.hints
        records = (record for record in self._desired.attachments.values() if not record.removing)
        placed = [Placed(record, hint) for record in records if (hint := hints.get(record.key)) is not None]
        try:
            restored = await self._thread.do(partial(restore_host_routes, self._worker, self._nodewide.node, placed))
        except (StepError, OSError) as error:
            log.warning("host routes are put back one attachment at a time", cause=str(error))
            self._passes.mark_all()
            return
        self._results.tally.repair((step.thing for step in restored.steps), time.monotonic() - began)
        if restored.steps:
            self._results.tell(repaired(None, Repair(restored.steps)))
        # These may be all there are, and what else is damaged should not wait behind them.
        for key in restored.failed:
            self._passes.mark(key, Urgency.RESYNC)
        for record in (each.attachment for each in placed):
            if self._is_old(record):
                self._passes.mark_damaged(record.key)

    def _is_old(self, record: Attachment) -> bool:
        """Whether the wish has changed: a route of the old one may have come after the pass for the new one."""
        return self._desired.attachments.get(record.key) is not record

    async def _remove_orphans(self) -> None:
        """Removes links of ours that no source wants. Each is checked once more just before it is removed."""
        if (snapshot := await self._read.whole()) is None:
            return
        wanted = {name(key) for key in self._desired.attachments for name in (node_if_name, ifb_name)}
        wanted |= {name for link in self._desired.unclaimed for name in (link, ifb_name_beside(link))}
        for link, _ in snapshot.ours:
            key = key_of_alias(link.alias or "")
            if key is not None and self._read.of(key) is None:
                continue  # it has been removed since the read
            if link.name not in wanted and key not in self._desired.attachments:
                log.info("removing an orphan", link=link.name, alias=link.alias)
                self._removals.add(Doomed(key or AttachmentKey(link.name, ""), link.index))
        await self._tell_links(snapshot)

    async def _tell_links(self, snapshot: NodeSnapshot) -> None:
        """Reports which unclaimed links exist. Those that the read may have missed are asked for one by one."""
        seen = {link.name for link, _ in snapshot.ours}
        missing = [link for link in self._desired.unclaimed if link not in seen]
        with suppress(StepError, StoreUnwritable):  # then their addresses are held until the next resync
            if missing and not snapshot.whole:
                seen |= await self._thread.do(partial(self._worker.there, missing))
            self._desired.links_seen(seen)
