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
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial

import structlog

from models.attachment import Attachment, AttachmentKey
from models.errors import Retryable, StepError, StoreUnwritable
from models.kernel import kind_of
from models.naming import ifb_name, ifb_name_beside, key_of_alias, node_if_name
from reconciler.converge import Outcome, Work, converge
from reconciler.desired import Desired
from reconciler.hostroutes import Placed, restore_host_routes
from reconciler.kernel.listener import Listener
from reconciler.kernel.namespaces import Namespace
from reconciler.linux import Doomed, LinuxKernel
from reconciler.listening import Listening
from reconciler.noderead import NodeRead
from reconciler.nodewide import NodeWide
from reconciler.observe import NodeSnapshot
from reconciler.queue import Queue, Urgency
from reconciler.removals import Removals
from reconciler.results import Results

SLICE_S = 0.004
RESYNC_SLICE_KEYS = 64

log = structlog.get_logger(__name__)


class Loop:
    """Owns the passes. `kernel` serves the event loop's thread, `worker` and `remover` one thread each."""

    def __init__(
        self,
        desired: Desired,
        results: Results,
        nodewide: NodeWide,
        listener: Listener,
        kernel: LinuxKernel,
        worker: LinuxKernel,
        remover: LinuxKernel,
        *,
        resync_s: float,
    ) -> None:
        self._desired = desired
        self._results = results
        self._nodewide = nodewide
        self._kernel = kernel
        self._worker = worker
        self.resync_s = resync_s
        self.sources_loaded = False
        self.last_slice_at = time.time()
        self.queue = Queue(time.monotonic)
        self._listening = Listening(
            listener, results, damaged=self.mark_damaged, node=self.mark_node, resync=self.resync
        )
        self._removals = Removals(remover, self._removed)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="passes")
        self._wake = asyncio.Event()
        self._wake_thread = asyncio.Event()
        self._handed: dict[AttachmentKey, Namespace] = {}
        self._busy: set[AttachmentKey] = set()
        self._deferred: dict[AttachmentKey, None] = {}
        self._read = NodeRead(self._snapshot)
        self._node_marked = True
        self._node_retry: asyncio.TimerHandle | None = None
        self._node_fought = False
        self._orphans_due = False
        self._routes_due = False

    # What wakes it.

    def mark(self, key: AttachmentKey, urgency: Urgency = Urgency.EVENT) -> None:
        """Marks a key for a pass. What is fought over waits, but never for a client."""
        if urgency is not Urgency.RPC and self._results.is_held(key):
            return
        self.queue.mark(key, urgency)
        if urgency is Urgency.RESYNC:
            self._read.marked()
        (self._wake_thread if urgency is Urgency.RESYNC else self._wake).set()

    def mark_damaged(self, key: AttachmentKey) -> None:
        """Marks what may differ from what is desired, if it is still desired."""
        if (record := self._desired.attachments.get(key)) is not None and not record.removing:
            self.mark(key)

    def beat(self) -> None:
        """Wakes an idle loop for an empty slice."""
        self._wake.set()

    def mark_node(self) -> None:
        self._node_marked = True
        self._wake.set()

    def wish_changed(self, key: AttachmentKey) -> None:
        """A source changed its mind about this key."""
        self._results.wish_changed(key)
        self.mark(key, Urgency.RPC)

    def resync(self) -> None:
        """Marks everything to be read anew."""
        self._results.tally.resyncs += 1
        self._orphans_due = True
        self.mark_node()
        self._mark_all()
        self._wake_thread.set()

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
        await self._results.reached(attachment, timeout_s, lambda: self._nodewide.cause)

    # The loop itself.

    async def run(self) -> None:
        """Runs until cancelled; what runs in a thread then is let finish, so that no step is cut in half."""
        self._listening.start()
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
            self._listening.stop()
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
        if self._listening.just_applied:
            self._let_former_pools_go()
            # Behind those whom this slice answered, so that no client waits for it.
            asyncio.get_running_loop().call_soon(self._listening.hear)

    def _converge_node(self) -> None:
        before = self._nodewide.node
        was_ready = self._nodewide.ready
        repaired = self._nodewide.converge(self._kernel)
        self._results.tally.repairs.update(repaired)
        self._results.tally.passes += 1
        if (after_s := self._nodewide.retry_after_s) is not None:
            log.warning("the node is not in sync", cause=self._nodewide.cause, retry_after_s=after_s)
        if (fighting := self._nodewide.fighting()) is not None and not self._node_fought:
            log.warning("another program undoes repairs at once", what=fighting.message)
        self._node_fought = fighting is not None
        if self._node_retry is not None:
            self._node_retry.cancel()
            self._node_retry = None
        if (look_s := self._nodewide.next_look_s) is not None:
            self._node_retry = asyncio.get_running_loop().call_later(look_s, self.mark_node)
        if "address" in repaired or "link_up" in repaired:
            # Routes that preferred an address of the node went with it, and no event told of that.
            self._routes_due = True
            self._wake_thread.set()
        # Who listens to router advertisements is the node's own business.
        listening = self._nodewide.node.accept_ra_interfaces
        if self._nodewide.node != replace(before, accept_ra_interfaces=listening) or self._nodewide.ready != was_ready:
            self._mark_all()

    def _mark_all(self) -> None:
        for key in self._desired.attachments:
            self.mark(key, Urgency.RESYNC)

    def _let_former_pools_go(self) -> None:
        """The node's address in a pool that was taken away goes with the last attachment that uses it."""
        if len(self._nodewide.node.node_addresses) > len(self._desired.allocator.pools):
            self.mark_node()

    def _work(self, attachment: Attachment, *, may_block: bool, snapshot: NodeSnapshot | None = None) -> Work:
        hint = self._results.hints.get(attachment.key)
        return Work(attachment, self._nodewide.node, hint.node_indexes if hint is not None else (), snapshot, may_block)

    def _pass(self, key: AttachmentKey) -> None:
        """One pass on this thread."""
        handed = self._handed.pop(key, None)
        self._read.passed((key,))
        if (attachment := self._prepared(key)) is None:
            if handed is not None:
                handed.close()
            return
        outcome = _guarded(self._work(attachment, may_block=False), self._kernel, handed)
        if outcome.deferred:
            self._deferred[key] = None
            self._wake_thread.set()
        else:
            self._listening.just_applied.add(key)
            self._results.finish(outcome)

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
            self._results.finish(Outcome(key, attachment.generation, errors=[error]))
            return None
        return attachment

    # Passes that block, and resyncs, beside the event loop.

    async def _run_in_thread(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake_thread.wait()
            self._wake_thread.clear()
            while keys := await self._take_for_thread():
                attachments = [found for key in keys if (found := self._prepared(key)) is not None]
                # Busy from before the read on: a pass of another thread between the two would make it untrue.
                self._busy = {attachment.key for attachment in attachments}
                await self._read.prepare(len(attachments))
                works = [self._work(each, may_block=True, snapshot=self._read.of(each.key)) for each in attachments]
                self._read.passed(self._busy)
                outcomes = await loop.run_in_executor(self._thread, self._converge_all, works)
                self._busy = set()
                for outcome in outcomes:
                    self._results.finish(outcome)
                self._let_former_pools_go()
                self.last_slice_at = time.time()
                self._wake.set()  # who was marked while busy
            if self.sources_loaded and self._orphans_due:
                self._orphans_due = False
                self._remove_orphans(await self._read.whole())
                await loop.run_in_executor(self._thread, _forget_wrong_flows, self._worker)
            self._read.drop()

    async def _restore_routes(self) -> None:
        """Puts back what went with an address of the node, for all at once."""
        self._routes_due = False
        hints = self._results.hints
        records = (record for record in self._desired.attachments.values() if not record.removing)
        placed = [Placed(record, hint) for record in records if (hint := hints.get(record.key)) is not None]
        work = partial(restore_host_routes, self._worker, self._nodewide.node, placed)
        try:
            restored = await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except StepError as error:
            log.warning("host routes are put back one attachment at a time", cause=str(error))
            self._mark_all()
            return
        self._results.tally.repairs.update(kind_of(step.thing) for step in restored.steps)
        changed = (record.key for record in (each.attachment for each in placed) if self._is_old(record))
        for key in (*restored.failed, *changed):
            self.mark_damaged(key)

    def _is_old(self, record: Attachment) -> bool:
        """Whether the wish changed since: a route of the old one may have come after the pass for the new one."""
        return self._desired.attachments.get(record.key) is not record

    async def _take_for_thread(self) -> list[AttachmentKey]:
        if self._routes_due:
            await self._restore_routes()
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
        wanted = {name(key) for key in self._desired.attachments for name in (node_if_name, ifb_name)}
        wanted |= {name for link in self._desired.unclaimed for name in (link, ifb_name_beside(link))}
        for link, _ in snapshot.ours:
            key = key_of_alias(link.alias or "")
            if link.name not in wanted and key not in self._desired.attachments:
                log.info("removing an orphan", link=link.name, alias=link.alias)
                self._removals.add(Doomed(key or AttachmentKey(link.name, ""), link.index))
        with suppress(StoreUnwritable):  # then their addresses are held until the next resync
            self._desired.links_seen({link.name for link, _ in snapshot.ours})

    # Removal.

    def _remove(self, attachment: Attachment) -> None:
        self._results.detaching(attachment)
        hint = self._results.hints.get(attachment.key)
        self._removals.add(Doomed(attachment.key, hint.index if hint is not None else 0))

    def _removed(self, key: AttachmentKey, error: StepError | None) -> None:
        """The kernel has let go of a link, or has not. Called on the event loop."""
        self.last_slice_at = time.time()
        self._results.removed(key, error)
        self._let_former_pools_go()


def _forget_wrong_flows(kernel: LinuxKernel) -> None:
    try:
        kernel.forget_wrong_flows()
    except StepError as error:  # the next resync tries again
        log.warning("flows were not compared with the mappings", cause=str(error))


def _guarded(work: Work, kernel: LinuxKernel, handed: Namespace | None = None) -> Outcome:
    """A pass that a mistake of ours ends fails its attachment, not the loop, and is tried again as any other."""
    try:
        return converge(work, kernel, handed)
    except Exception as error:
        key = work.attachment.key
        log.exception("a pass ended in an unexpected error", attachment=str(key))
        failure = Retryable(f"internal error: {type(error).__name__}; see the daemon's log", reason="InternalError")
        return Outcome(key, work.attachment.generation, errors=[failure])
