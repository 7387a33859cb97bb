"""The one reconcile loop: wake, observe, render, plan, apply, status.

Level-triggered: sources, events and timers only mark keys, and what to do follows from desired and observed state
alone. Keys are taken in slices of a few milliseconds, RPCs first. A pass for an RPC, an event or a wish runs on the
event loop's thread, since a hop to another costs a tenth of an attach. A resync, and whatever blocks, runs in a thread
beside it (`threadpasses`); passes that are expensive in themselves run in another (`dearpasses`), and removals in
threads of their own. A failed step fails its attachment, never the slice."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence, Set
from typing import Protocol

import structlog

from netplumb.models.attachment import Attachment, AttachmentKey
from netplumb.models.base import IPAddress
from netplumb.models.errors import Retryable, StepError
from netplumb.models.naming import node_if_name
from netplumb.models.policyset import PolicySet
from netplumb.reconciler.converge.attachment import converge_guarded
from netplumb.reconciler.converge.linux import LinuxKernel
from netplumb.reconciler.converge.observe import NodeSnapshot
from netplumb.reconciler.converge.removal import Doomed
from netplumb.reconciler.converge.work import Outcome, Work
from netplumb.reconciler.decide.policies.lost import let_go_of
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.kernel.descriptors import RESERVE
from netplumb.reconciler.kernel.namespaces import Namespace
from netplumb.reconciler.kernel.rtnetlink.departures import Departures
from netplumb.reconciler.kernel.rtnetlink.listener import Listener
from netplumb.reconciler.loop.dearpasses import DearPasses
from netplumb.reconciler.loop.elsewhere import Elsewhere, Others
from netplumb.reconciler.loop.flows import Deciding, Flows
from netplumb.reconciler.loop.node import NodeWide
from netplumb.reconciler.loop.nodepasses import NodePasses
from netplumb.reconciler.loop.policychanges import PolicyChanges
from netplumb.reconciler.loop.removals import Removals
from netplumb.reconciler.loop.threadpasses import ThreadPasses
from netplumb.reconciler.pacing.budgets import resync_after_s
from netplumb.reconciler.pacing.queue import Queue, Urgency
from netplumb.reconciler.status.results import Results
from netplumb.reconciler.watch.listening import Listening

SLICE_S = 0.004
HERE = (Urgency.RPC, Urgency.EVENT, Urgency.WISH)  # gets its pass on the event loop's thread

log = structlog.get_logger(__name__)


class OtherNodes(Protocol):
    """The ways to other nodes, which get their passes beside the loop."""

    def compare(self) -> None:
        """Reads all of them anew."""

    def looked_around(self) -> None:
        """The node's network, from which they follow, may have changed."""


class Loop:
    """Owns the passes. `kernel` serves the event loop's thread; `worker`, `slow_worker` and each of the `removers` have
    a thread of their own. `look_around` is called when the node's network may have changed, `policed` when other
    network policies are in force."""

    def __init__(
        self,
        desired: Desired,
        results: Results,
        nodewide: NodeWide,
        listener: Listener,
        kernel: LinuxKernel,
        worker: LinuxKernel,
        slow_worker: LinuxKernel,
        removers: Sequence[LinuxKernel],
        departures: Departures,
        flows: Flows,
        *,
        look_around: Callable[[], None],
        resync_s: float,
        policed: Callable[[PolicySet], None] = lambda _: None,
        ways: OtherNodes | None = None,
        elsewhere: Others | None = None,
    ) -> None:
        self._desired = desired
        self._results = results
        self._nodewide = nodewide
        self._kernel = kernel
        self._flows = flows
        self._look_around = look_around
        self._ways = ways
        self.resync_s = resync_s
        self._turned_at = time.monotonic()
        self.queue = Queue(time.monotonic)
        self._listening = Listening(
            listener,
            results,
            damaged=self.mark_damaged,
            node=self.mark_node,
            network=look_around,
            resync=self.resync,
        )
        self._removals = Removals(removers, departures, self._removed)
        self._beside = ThreadPasses(self, self.queue, desired, results, nodewide, self._removals, worker)
        self._dear = DearPasses(self, slow_worker)
        self._wake = asyncio.Event()
        self._handed: dict[AttachmentKey, Namespace] = {}
        self._node = NodePasses(nodewide, results, kernel, self._wake.set)
        self.elsewhere = Elsewhere(elsewhere, self._wake.set, self._elsewhere_settled) if elsewhere else None
        self.policies = PolicyChanges(desired, nodewide.policing, self._policies_taken, policed)
        self.policies.take()

    # What wakes it.

    @property
    def still_s(self) -> float:
        """Seconds since the last slice ended, by the monotonic clock."""
        return time.monotonic() - self._turned_at

    @property
    def last_slice_at(self) -> float:
        return time.time() - self.still_s

    def mark(self, key: AttachmentKey, urgency: Urgency = Urgency.EVENT) -> None:
        """Marks a key for a pass. A repair that is fought over or takes long waits; a change of the wish never does."""
        if urgency in (Urgency.EVENT, Urgency.RESYNC) and self._results.is_held(key):
            return
        self.queue.mark(key, urgency)
        if urgency is Urgency.RESYNC:
            self._beside.marked(key)
        else:
            self._wake.set()

    def mark_damaged(self, key: AttachmentKey) -> None:
        """Marks what may differ from what is desired, if it is still desired."""
        if (record := self._desired.attachments.get(key)) is not None and not record.removing:
            self._results.noticed(key)
            self.mark(key)

    def beat(self) -> None:
        """Wakes an idle loop for an empty slice."""
        self._wake.set()

    def mark_node(self) -> None:
        """Marks the node's own objects, which may differ from what is desired."""
        self._node.mark_damaged()

    def wish_changed(self, key: AttachmentKey) -> None:
        """A source changed its wish for this key. The key becomes more urgent once a client waits for it."""
        if (record := self._desired.attachments.get(key)) is not None and not record.removing:
            self._nodewide.policing.noticed(record)
            self._need_elsewhere()
        self._results.wish_changed(key)
        self.mark(key, Urgency.WISH)

    def released(self, addresses: Iterable[IPAddress]) -> None:
        """These may be given out again. Flows of their former holders go, since policies would take them for
        answers."""
        policies = self._nodewide.policing.policies
        if policies.policies or policies.held:
            self._flows.released(addresses)

    def policies_changed(self) -> None:
        """Other network policies are in force."""
        self.policies.due = True
        self._node.mark()

    def _policies_taken(self) -> None:
        self._need_elsewhere()
        self._node.mark()

    def _need_elsewhere(self) -> None:
        if self.elsewhere is not None:
            self.elsewhere.need(self._nodewide.policing)

    def _elsewhere_settled(self) -> None:
        """Looks at what was left alone while it was not known whose it was."""
        self._nodewide.compare_elements()
        self._node.mark()

    def sources_loaded(self) -> None:
        """Every source has loaded once: from now on, what no source wants may be removed."""
        self._nodewide.may_remove = self._beside.may_remove_orphans = True
        self.resync()

    def resync(self) -> None:
        """Marks everything to be read anew."""
        self._results.tally.resyncs += 1
        self._look_around()
        if self._ways is not None:
            self._ways.compare()
        self._node.mark()
        self.mark_all()
        self._beside.look_for_orphans()

    # Those who wait.

    def hand_over(self, key: AttachmentKey, namespace: Namespace) -> None:
        """Gives the next pass over this key a namespace that is already open; the pass closes it. If descriptors are
        scarce the namespace is closed now, and the pass opens it again."""
        if (before := self._handed.pop(key, None)) is not None:
            before.close()
        if RESERVE.is_whole:
            self._handed[key] = namespace
        else:
            namespace.close()

    async def reached(self, attachment: Attachment, timeout_s: float) -> None:
        """Waits until this generation is in the kernel, or gone from it if it is removing.

        Raises Superseded, NotConverged with the cause, or the Terminal that no retry heals.
        """
        self.queue.ask(attachment.key)
        self._wake.set()
        try:
            await self._results.reached(attachment, timeout_s, lambda: self._nodewide.cause)
        finally:
            if not self._results.is_awaited(attachment.key):
                self._nobody_waits(attachment.key)
        await self._flows.settled(node_if_name(attachment.key))
        if self.elsewhere is not None:
            await self.elsewhere.settled()

    def _nobody_waits(self, key: AttachmentKey) -> None:
        """A wish stays when its client leaves, but loses its urgency, and its open descriptor is closed. One that is
        fulfilled is not looked at again."""
        self.queue.calm(key)
        if (handed := self._handed.pop(key, None)) is not None:
            handed.close()

    # The loop itself.

    async def run(self) -> None:
        """Runs until cancelled. What then runs in a thread is let finish, so that no step is cut in half."""
        self._listening.start()
        self.resync()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._removals.run())
                tasks.create_task(self._resync_periodically())
                tasks.create_task(self._beside.run())
                tasks.create_task(self._flows.run(self._deciding))
                tasks.create_task(self._dear.run())
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    self._slice()
                    await asyncio.sleep(0)  # RPCs and timers have their turn between slices
        finally:
            self._listening.stop()

    async def _resync_periodically(self) -> None:
        while True:
            # Jitter keeps many nodes that started together from reading all at once.
            await asyncio.sleep(resync_after_s(self.resync_s, self._beside.resync_cost_s) * random.uniform(0.9, 1.1))
            self.resync()

    def _slice(self) -> None:
        # A workload that comes up meanwhile must not do so by the former ones.
        if self.policies.due and (self.queue.holds(HERE) or self.policies.may_be_taken(self.elsewhere)):
            self.policies.converge(self._converge_node)
        if self._node.due and not self._node.add_chains():
            self._converge_node()
        if self.elsewhere is not None and self._nodewide.ready:
            self.elsewhere.converge(self._kernel, self._nodewide.node, may_remove=self._nodewide.may_remove)
        if not self.busy:
            self._results.hints.no_pass_is_under_way()
        ends = time.monotonic() + SLICE_S
        while (key := self.queue.take(HERE, self.busy)) is not None:
            self._pass(key)
            if time.monotonic() > ends:
                self._wake.set()
                break
        self._turned_at = time.monotonic()
        if self._listening.just_applied:
            self._let_former_pools_go()
            # After the clients that this slice answered, so that none of them waits for it.
            asyncio.get_running_loop().call_soon(self._listening.hear_now)

    def _converge_node(self) -> None:
        policies = self._nodewide.node.policies
        came = self._node.converge()
        if came.routes_may_be_gone:
            self._beside.restore_routes()
        if self._ways is not None:
            (self._ways.compare if came.routes_may_be_gone else self._ways.looked_around)()
        if came.has_other_policies:
            self._results.policies_changed(policies)
            for key in self.busy:  # a pass that is under way may still write what the former policies said
                self.mark(key)
        if came.is_another or came.holds_others:
            self.mark_all()

    def mark_all(self) -> None:
        for key in self._desired.attachments:
            self.mark(key, Urgency.RESYNC)

    def _let_former_pools_go(self) -> None:
        """The node's address in a pool that was taken away goes with the last attachment that uses it."""
        if len(self._nodewide.node.node_addresses) > len(self._desired.allocator.pools):
            self.mark_node()

    def _let_chains_go(self, outcome: Outcome) -> None:
        """Chains of lost policies go with the last workload that these policies hold."""
        if let_go_of(outcome.applied, self._nodewide.node.combinations):
            self._let_policies_go()

    def _let_policies_go(self) -> None:
        self._nodewide.let_policies_go()
        self._node.mark()

    @property
    def busy(self) -> Set[AttachmentKey]:
        return self._beside.busy | self._dear.busy

    def work(self, attachment: Attachment, *, may_block: bool, snapshot: NodeSnapshot | None = None) -> Work:
        hint = self._results.hints.get(attachment.key)
        indexes = hint.node_indexes if hint is not None else ()
        is_new = snapshot is None and self._results.is_new(attachment.key)
        return Work(
            attachment,
            self._nodewide.node,
            indexes,
            snapshot,
            may_block,
            is_new=is_new,
            at_once=not may_block,
            is_wished=lambda: self._desired.attachments.get(attachment.key) is attachment,
        )

    def _pass(self, key: AttachmentKey) -> None:
        """One pass on this thread."""
        handed = self._handed.pop(key, None)
        self._beside.passed(key)
        if (attachment := self.prepared(key)) is None:
            if handed is not None:
                handed.close()
            return
        outcome = converge_guarded(self.work(attachment, may_block=False), self._kernel, handed)
        if outcome.deferred:
            self._results.charge(outcome)
            (self._dear.mark if outcome.is_large else self._beside.defer)(key, self._results.urgency(key))
        else:
            self._listening.just_applied.add(key)
            self._results.finish(outcome)
            self._let_chains_go(outcome)

    def prepared(self, key: AttachmentKey, *, dear: bool = False) -> Attachment | None:
        """The attachment to converge; None if there is nothing to converge, or if another thread does it. Attachments
        whose passes are expensive go to the thread for these, which asks with `dear`."""
        attachment = self._desired.attachments.get(key)
        if attachment is None:
            return None
        if attachment.removing:
            self._remove(attachment)
            return None
        if self._removals.holds(key):
            # A former attachment of this key is being removed; the key is marked when that is done.
            if self._results.is_awaited(key):
                self._removals.hurry(key)
            return None
        if not self._nodewide.ready:
            # Guards must be in place before any link comes up.
            error = Retryable(f"the node is not ready: {self._nodewide.cause}", reason="NodeNotReady")
            self._results.finish(Outcome(key, attachment.generation, errors=[error]))
            return None
        if self._results.is_dear(key) and not dear:
            self._dear.mark(key, self._results.urgency(key))
            return None
        return attachment

    def finished(self, outcomes: Iterable[Outcome]) -> None:
        """Passes in a thread have ended."""
        for outcome in outcomes:
            self._beside.passed(outcome.key)
            self._results.finish(outcome)
            self._let_chains_go(outcome)
        self._beside.freed()
        self._dear.freed()
        if self._nodewide.looks_again and not self.busy:
            self._nodewide.looks_again = False
            self._converge_node()
        self._let_former_pools_go()
        self._turned_at = time.monotonic()
        self._wake.set()  # who was marked while busy

    def resynced(self) -> None:
        """Looks for wrong flows that nothing told of: a daemon died, or another program changed what decides them."""
        self._flows.suspect_all()

    def _deciding(self) -> Deciding:
        elsewhere = tuple(self.elsewhere.endpoints) if self.elsewhere is not None else ()
        attachments = tuple(self._desired.attachments.values())
        return Deciding(self._nodewide.node, self._nodewide.known, attachments, elsewhere, self._desired.gives)

    # Removal.

    def _remove(self, attachment: Attachment) -> None:
        self._results.detaching(attachment)
        hint = self._results.hints.get(attachment.key)
        had_rules = attachment.has_own_way or (hint is not None and hint.workload is not None and hint.workload.group)
        doomed = Doomed(attachment.key, hint.index if hint is not None else 0, attachment if had_rules else None)
        self._removals.add(doomed, awaited=self._results.is_awaited(attachment.key))

    def _removed(self, key: AttachmentKey, error: StepError | None) -> None:
        """The kernel has let go of a link, or has not. Called on the event loop."""
        self._turned_at = time.monotonic()
        self._beside.passed(key)
        self._results.removed(key, error)
        if error is None and self.policies.removed(key):
            if self.policies.hold_nobody:
                self._nodewide.let_policies_go()
            self._node.mark()
        self._let_former_pools_go()
