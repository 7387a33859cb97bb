"""The one reconcile loop: wake, observe, render, plan, apply, status.

Level-triggered: sources, events and timers only mark keys, and what to do follows from desired and observed state
alone. Keys are taken in slices of a few milliseconds, RPCs first. A pass for an RPC or an event runs on the event
loop's thread, since a hop to another costs a tenth of an attach; a resync, and whatever blocks, runs in a thread beside
it; removals run in theirs. A failed step fails its attachment, never the slice.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import structlog

from models.attachment import Attachment, AttachmentKey
from models.errors import NotConverged, Retryable, StepError, StoreUnwritable, Terminal
from models.kernel import Link, Scope, kind_of
from models.naming import key_of_alias, node_if_name
from models.status import AttachmentStatus, Condition, Phase
from reconciler.converge import Outcome, Reach, Work, converge
from reconciler.desired import Desired
from reconciler.hearing import Hint, Hints, hear
from reconciler.kernel.listener import Listener
from reconciler.kernel.namespaces import Namespace
from reconciler.linux import Doomed, LinuxKernel
from reconciler.nodewide import NodeWide
from reconciler.observe import NodeSnapshot
from reconciler.outcomes import status_of, worst_of
from reconciler.queue import Queue, Urgency
from reconciler.removals import Removals
from reconciler.statuses import Statuses
from reconciler.waiters import Waiters

SLICE_S = 0.004
RESYNC_SLICE_KEYS = 64
SNAPSHOT_FROM_KEYS = 4  # from so many keys on, one read of the whole node is cheaper than one for each
BACKOFF_FIRST_S = 0.05
BACKOFF_MOST_S = 30.0
PENDING_MOST_S = 2.0
LOST_EVENTS_RESYNC_S = 1.0  # losses come in bursts; one more full read after a burst answers them all
_DRAIN_DATAGRAMS = 4096

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Tally:
    """Totals since the start."""

    passes: int = 0
    retries: int = 0
    resyncs: int = 0
    events: int = 0
    lost_events: int = 0
    repairs: Counter[str] = field(default_factory=Counter)


class Loop:
    """Owns the passes. `kernel` serves the event loop's thread, `worker` and `remover` one thread each."""

    def __init__(
        self,
        desired: Desired,
        statuses: Statuses,
        nodewide: NodeWide,
        listener: Listener,
        kernel: LinuxKernel,
        worker: LinuxKernel,
        remover: LinuxKernel,
        *,
        resync_s: float,
        netns_gone_grace_s: float,
    ) -> None:
        self._desired = desired
        self._statuses = statuses
        self._nodewide = nodewide
        self._listener = listener
        self._kernel = kernel
        self._worker = worker
        self._remover = remover
        self.resync_s = resync_s
        self.netns_gone_grace_s = netns_gone_grace_s
        self.sources_loaded = False
        self.tally = Tally()
        self.last_slice_at = time.time()
        self.queue = Queue(time.monotonic)
        self._hints = Hints()
        self._waiters = Waiters()
        self._removals = Removals(remover, self._removed)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="passes")
        self._wake = asyncio.Event()
        self._wake_thread = asyncio.Event()
        self._handed: dict[AttachmentKey, Namespace] = {}
        self._busy: set[AttachmentKey] = set()
        self._deferred: dict[AttachmentKey, None] = {}
        self._retries: dict[AttachmentKey, asyncio.TimerHandle] = {}
        self._gone_since: dict[AttachmentKey, float] = {}
        self._just_applied: set[AttachmentKey] = set()
        self._node_marked = True
        self._orphans_due = False
        self._loss_timer: asyncio.TimerHandle | None = None

    # What wakes it.

    def mark(self, key: AttachmentKey, urgency: Urgency = Urgency.EVENT) -> None:
        self.queue.mark(key, urgency)
        (self._wake_thread if urgency is Urgency.RESYNC else self._wake).set()

    def beat(self) -> None:
        """Wakes an idle loop for an empty slice."""
        self._wake.set()

    def mark_node(self) -> None:
        self._node_marked = True
        self._wake.set()

    def wish_changed(self, key: AttachmentKey) -> None:
        """A source changed its mind about this key."""
        record = self._desired.attachments.get(key)
        if record is not None:
            self._waiters.supersede(key, record.generation)
        self.mark(key, Urgency.RPC)

    def resync(self) -> None:
        """Marks everything to be read anew."""
        self.tally.resyncs += 1
        self._orphans_due = True
        self.mark_node()
        for key in self._desired.attachments:
            self.queue.mark(key, Urgency.RESYNC)
        self._wake_thread.set()

    def hear(self) -> None:
        """Reads what the kernel told, and marks what it touches."""
        heard = hear(self._listener.drain(_DRAIN_DATAGRAMS), self._hints, self._just_applied)
        self._just_applied.clear()
        self.tally.events += heard.events
        for key in heard.keys:
            if (record := self._desired.attachments.get(key)) is not None and not record.removing:
                self.mark(key)
        if heard.node:
            self.mark_node()
        if heard.lost:
            self.tally.lost_events += 1
            if self._loss_timer is None:
                self.resync()
                self._loss_timer = asyncio.get_running_loop().call_later(LOST_EVENTS_RESYNC_S, self._after_loss)

    def _after_loss(self) -> None:
        self._loss_timer = None
        self.resync()

    # Those who wait.

    def hand_over(self, key: AttachmentKey, namespace: Namespace) -> None:
        """Gives the next pass over this key a namespace that is open already; the pass closes it."""
        if (before := self._handed.pop(key, None)) is not None:
            before.close()
        self._handed[key] = namespace

    async def reached(self, attachment: Attachment, timeout_s: float) -> None:
        """Waits until this generation is in the kernel, or gone from it if it is removing.

        Raises Superseded, NotConverged with the cause, or the Terminal that no retry heals.
        """
        self.mark(attachment.key, Urgency.RPC)
        try:
            await self._waiters.wait(attachment.key, attachment.generation, timeout_s)
        except TimeoutError:
            raise NotConverged(self._why_not(attachment, timeout_s)) from None

    def _why_not(self, attachment: Attachment, timeout_s: float) -> str:
        what = "detached" if attachment.removing else "attached"
        ready = self._statuses.get(attachment.key).condition("Ready")
        cause = (
            ready.message if ready is not None and ready.message else self._nodewide.cause or "its turn did not come"
        )
        return f"{attachment.key} is not {what} after {timeout_s:.1f} s, netplumb keeps trying: {cause}"

    # The loop itself.

    async def run(self) -> None:
        """Runs until cancelled; what runs in a thread then is let finish, so that no step is cut in half."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._listener.fileno(), self.hear)
        self.resync()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._removals.run())
                tasks.create_task(self._resync_periodically())
                tasks.create_task(self._run_in_thread())
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    self._slice()
                    await asyncio.sleep(0)  # RPCs and timers have their turn between slices
        finally:
            loop.remove_reader(self._listener.fileno())
            self._thread.shutdown(wait=True)

    async def _resync_periodically(self) -> None:
        while True:
            # Jitter keeps many nodes that started together from reading all at once.
            await asyncio.sleep(self.resync_s * random.uniform(0.9, 1.1))
            self.resync()

    def _slice(self) -> None:
        if self._node_marked:
            self._node_marked = False
            self._converge_node()
        ends = time.monotonic() + SLICE_S
        while (key := self.queue.take((Urgency.RPC, Urgency.EVENT), self._busy)) is not None:
            self._pass(key)
            if time.monotonic() > ends:
                self._wake.set()
                break
        self.last_slice_at = time.time()
        if self._just_applied:
            # Behind those whom this slice answered, so that no client waits for it.
            asyncio.get_running_loop().call_soon(self.hear)

    def _converge_node(self) -> None:
        before = self._nodewide.node
        was_ready = self._nodewide.ready
        repaired = self._nodewide.converge(self._kernel)
        self.tally.repairs.update(repaired)
        self.tally.passes += 1
        if (after_s := self._nodewide.retry_after_s) is not None:
            log.warning("the node is not in sync", cause=self._nodewide.cause, retry_after_s=after_s)
            asyncio.get_running_loop().call_later(after_s, self.mark_node)
        # Routes that preferred an address of the node went with it, and no event told of that.
        lost_routes = "address" in repaired or "link_up" in repaired
        if lost_routes or self._nodewide.node != before or self._nodewide.ready != was_ready:
            for key in self._desired.attachments:
                self.mark(key, Urgency.RESYNC)

    def _work(self, attachment: Attachment, *, may_block: bool, snapshot: NodeSnapshot | None = None) -> Work:
        hint = self._hints.get(attachment.key)
        index = hint.index if hint is not None else 0
        return Work(attachment, self._nodewide.node, index, snapshot, may_block)

    def _pass(self, key: AttachmentKey) -> None:
        """One pass on this thread."""
        handed = self._handed.pop(key, None)
        if (attachment := self._prepared(key)) is None:
            if handed is not None:
                handed.close()
            return
        outcome = _guarded(self._work(attachment, may_block=False), self._kernel, handed)
        if outcome.deferred:
            self._deferred[key] = None
            self._wake_thread.set()
        else:
            self._just_applied.add(key)
            self._finish(outcome)

    def _prepared(self, key: AttachmentKey) -> Attachment | None:
        """The attachment to converge; None when there is nothing to converge, or it is on another way."""
        attachment = self._desired.attachments.get(key)
        if attachment is None:
            return None
        if attachment.removing:
            self._remove(attachment)
            return None
        if self._removals.holds(key):
            return None  # an older life of this key is being removed, and marks it when done
        if not self._nodewide.ready:
            # Guards must be in place before any link comes up.
            error = Retryable(f"the node is not ready: {self._nodewide.cause}", reason="NodeNotReady")
            self._finish(Outcome(key, attachment.generation, errors=[error]))
            return None
        return attachment

    # Passes that block, and resyncs, beside the event loop.

    async def _run_in_thread(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake_thread.wait()
            self._wake_thread.clear()
            while keys := self._take_for_thread():
                snapshot = None
                if len(keys) >= SNAPSHOT_FROM_KEYS:
                    snapshot = await self._snapshot()
                works = [
                    self._work(attachment, may_block=True, snapshot=snapshot)
                    for key in keys
                    if (attachment := self._prepared(key)) is not None
                ]
                self._busy.update(work.attachment.key for work in works)
                outcomes = await loop.run_in_executor(self._thread, self._converge_all, works)
                self._busy.difference_update(outcome.key for outcome in outcomes)
                for outcome in outcomes:
                    self._finish(outcome)
                self.last_slice_at = time.time()
                self._wake.set()  # who was marked while busy
            if self.sources_loaded and self._orphans_due:
                self._orphans_due = False
                self._remove_orphans(await self._snapshot())

    def _take_for_thread(self) -> list[AttachmentKey]:
        keys = [key for key in self._deferred if key not in self._busy]
        self._deferred.clear()
        while len(keys) < RESYNC_SLICE_KEYS and (key := self.queue.take((Urgency.RESYNC,), self._busy)) is not None:
            keys.append(key)
        return keys

    def _converge_all(self, works: list[Work]) -> list[Outcome]:
        return [_guarded(work, self._worker) for work in works]

    async def _snapshot(self) -> NodeSnapshot | None:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._worker.snapshot)
        except Retryable as error:
            log.warning("no consistent read of the node", cause=str(error))
            return None

    def _remove_orphans(self, snapshot: NodeSnapshot | None) -> None:
        """Removes links of ours that nobody wants, after every source has loaded and only by a complete dump."""
        if snapshot is None:
            return
        wanted = {node_if_name(key) for key in self._desired.attachments}
        for link, _ in snapshot.ours:
            key = key_of_alias(link.alias or "")
            if link.name not in wanted and key not in self._desired.attachments:
                log.info("removing an orphan", link=link.name, alias=link.alias)
                self._removals.add(Doomed(key or AttachmentKey(link.name, ""), link.index))

    # What came of it.

    def _finish(self, outcome: Outcome) -> None:
        key = outcome.key
        attachment = self._desired.attachments.get(key)
        if attachment is None or attachment.removing or attachment.generation != outcome.generation:
            self.mark(key, Urgency.RPC)  # the wish changed under the pass
            return
        before = self._statuses.get(key)
        self.tally.passes += 1
        repaired = 0
        if before.observed_generation == attachment.generation and not outcome.errors:
            repaired = len(outcome.applied)
            self.tally.repairs.update(kind_of(step.thing) for step in outcome.applied)
        try:
            if outcome.netns_cookie:
                attachment = self._desired.placed(key, outcome.netns_cookie, created=outcome.netns_created)
            if outcome.attached:
                self._desired.converged(key, outcome.generation)
        except StoreUnwritable as error:
            log.warning("what was learnt is not stored", attachment=str(key), cause=str(error))
        self._learn(attachment, outcome)
        status = status_of(attachment, outcome, before, repaired=repaired, pool_removed=self._outside_pools(attachment))
        self._statuses.set(attachment, status)
        self._answer(outcome, status)
        self._schedule(attachment, outcome, status)

    def _outside_pools(self, attachment: Attachment) -> tuple[str, ...]:
        allocator = self._desired.allocator
        return tuple(
            str(address)
            for address in attachment.addresses
            if address not in attachment.spec.addresses and allocator.pool_of(address) is None
        )

    def _learn(self, attachment: Attachment, outcome: Outcome) -> None:
        link = outcome.node_link
        if link is None:
            self._hints.forget(attachment.key)
            return
        ends = {thing.scope: thing for thing in outcome.desired if isinstance(thing, Link)}
        if Scope.NODE in ends:
            hint = Hint(ends[Scope.NODE], ends.get(Scope.WORKLOAD), link.index, link.peer_index, link.peer_nsid)
            self._hints.learn(attachment.key, hint, tuple(a.packed for a in attachment.addresses))

    def _answer(self, outcome: Outcome, status: AttachmentStatus) -> None:
        if outcome.attached:
            self._waiters.reached(outcome.key, outcome.generation)
        elif status.phase is Phase.FAILED:
            self._waiters.failed(outcome.key, outcome.generation, worst_of(outcome.errors))
        elif status.phase is Phase.LOST:
            gone = Terminal(f"{outcome.key}: {outcome.reach_message}", reason="NetnsGone")
            self._waiters.failed(outcome.key, outcome.generation, gone)

    def _schedule(self, attachment: Attachment, outcome: Outcome, status: AttachmentStatus) -> None:
        """Plans the next look at what is not as desired."""
        key = attachment.key
        if status.phase is not Phase.LOST:
            self._gone_since.pop(key, None)
        if status.phase is Phase.ATTACHED:
            if (handle := self._retries.pop(key, None)) is not None:
                handle.cancel()
            return
        if outcome.errors:
            self.tally.retries += 1
            hint_s = next((e.after_s for e in outcome.errors if isinstance(e, Retryable) and e.after_s), None)
            self._retry(key, hint_s or _backoff_s(status.retries, BACKOFF_MOST_S))
        elif status.phase is Phase.PENDING:
            self._retry(key, PENDING_MOST_S)
        elif status.phase is Phase.LOST:
            since = self._gone_since.setdefault(key, time.monotonic())
            left_s = since + self.netns_gone_grace_s - time.monotonic()
            if left_s > 0:
                self._retry(key, left_s)
            elif outcome.reach is not Reach.OPEN:
                log.info("detaching what lost its namespace", attachment=str(key))
                self._desired.withdraw(key)

    def _retry(self, key: AttachmentKey, after_s: float) -> None:
        if (handle := self._retries.pop(key, None)) is not None:
            handle.cancel()
        self._retries[key] = asyncio.get_running_loop().call_later(after_s, self.mark, key)

    # Removal.

    def _remove(self, attachment: Attachment) -> None:
        key = attachment.key
        status = self._statuses.get(key)
        if status.phase is not Phase.DETACHING:
            conditions = (Condition("Ready", status=False, reason="Detaching"),)
            self._statuses.set(attachment, AttachmentStatus(Phase.DETACHING, status.observed_generation, conditions))
        hint = self._hints.get(key)
        self._removals.add(Doomed(key, hint.index if hint is not None else 0))

    def _removed(self, key: AttachmentKey, error: StepError | None) -> None:
        """The kernel has let go of a link, or has not. Runs on the event loop."""
        attachment = self._desired.attachments.get(key)
        self.last_slice_at = time.time()
        if attachment is None:
            return
        if not attachment.removing:
            self.mark(key, Urgency.RPC)
            return
        try:
            if error is None and attachment.netns_created:
                self._remover.remove_namespace(attachment.spec.netns.name)
            if error is None:
                self._desired.forget(key)
        except (StepError, StoreUnwritable) as failure:
            error = failure if isinstance(failure, StepError) else Retryable(str(failure), reason="StoreUnwritable")
        if error is not None:
            retries = self._statuses.get(key).retries + 1
            conditions = (Condition("Ready", status=False, reason=error.reason, message=str(error)),)
            self._statuses.set(attachment, AttachmentStatus(Phase.DETACHING, 0, conditions, retries))
            self.tally.retries += 1
            self._retry(key, _backoff_s(retries, BACKOFF_MOST_S))
            return
        self._hints.forget(key)
        self._gone_since.pop(key, None)
        if (handle := self._retries.pop(key, None)) is not None:
            handle.cancel()
        self._statuses.removed(attachment)
        self._waiters.reached(key, attachment.generation)


def _guarded(work: Work, kernel: LinuxKernel, handed: Namespace | None = None) -> Outcome:
    """A pass that a mistake of ours ends fails its attachment, not the loop, and is tried again as any other."""
    try:
        return converge(work, kernel, handed)
    except Exception as error:
        key = work.attachment.key
        log.exception("a pass ended in an unexpected error", attachment=str(key))
        failure = Retryable(f"internal error: {type(error).__name__}; see the daemon's log", reason="InternalError")
        return Outcome(key, work.attachment.generation, errors=[failure])


def _backoff_s(retries: int, most_s: float) -> float:
    """Doubles from the first try on, up to a bound; jitter keeps those that failed together from retrying together."""
    doubled = BACKOFF_FIRST_S * float(2 ** min(max(retries - 1, 0), 16))
    return min(doubled, most_s) * random.uniform(0.75, 1.25)
