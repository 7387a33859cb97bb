"""What came of a pass: it becomes status, answers those who wait, and goes to `retries` if it is to be tried again.

Runs on the event loop's thread, after the pass, whichever thread that ran on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence, Set

import structlog

from netplumb.models.attachment import Attachment, AttachmentKey, AttachmentSpec
from netplumb.models.errors import NotConverged, Retryable, StepError, StoreUnwritable, Terminal
from netplumb.models.kernel import Link, Scope
from netplumb.models.policyset import PolicySet
from netplumb.models.status import AttachmentStatus, Condition, Phase
from netplumb.reconciler.converge.hints import Hint, Hints
from netplumb.reconciler.converge.work import Outcome, Reach
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.history.history import Tell, untold
from netplumb.reconciler.history.lasting import Lasting
from netplumb.reconciler.history.outcomes import Repair, detached, events_of
from netplumb.reconciler.pacing.budgets import Budgets
from netplumb.reconciler.pacing.fights import Fights, subject_of
from netplumb.reconciler.pacing.floods import Floods
from netplumb.reconciler.pacing.queue import Urgency
from netplumb.reconciler.pacing.waiters import Waiters, superseded
from netplumb.reconciler.status.lastpasses import LastPasses
from netplumb.reconciler.status.outcomes import status_of, worst_of
from netplumb.reconciler.status.retries import BACKOFF_MOST_S, Retries
from netplumb.reconciler.status.statuses import Statuses
from netplumb.reconciler.status.tally import Tally

PORTS_AT_ONCE = 100
"""With more ports than these, an attachment gets its passes where nobody waits: each is four elements of the table."""

log = structlog.get_logger(__name__)


class Results:
    """`mark` puts a key back into the queue; `remove_namespace` removes a named namespace if netplumb made it;
    `ports_in_use` returns which of an attachment's ports processes of the node listen on; `tell` records events."""

    def __init__(
        self,
        desired: Desired,
        statuses: Statuses,
        mark: Callable[[AttachmentKey, Urgency], None],
        remove_namespace: Callable[[str, int], None],
        *,
        netns_gone_grace_s: float,
        ports_in_use: Callable[[AttachmentSpec], Sequence[str]] = lambda _: (),
        tell: Tell = untold,
    ) -> None:
        self._desired = desired
        self._statuses = statuses
        self._mark = mark
        self._remove_namespace = remove_namespace
        self._ports_in_use = ports_in_use
        self.tell = tell
        self.tally = Tally()
        self.hints = Hints()
        self._waiters = Waiters()
        self._unreached: set[AttachmentKey] = set()
        self._fights: Fights[AttachmentKey] = Fights()
        self.retries = Retries(
            mark, self._withdraw_lost, self.tally, self._fights, netns_gone_grace_s=netns_gone_grace_s
        )
        self._lasting: Lasting[AttachmentKey] = Lasting()
        self._budgets: Budgets[AttachmentKey] = Budgets()
        self.floods: Floods[int] = Floods()
        """Of namespaces, by nsid."""
        self.last_passes = LastPasses(desired)

    # Those who wait.

    async def reached(self, attachment: Attachment, timeout_s: float, node_cause: Callable[[], str]) -> None:
        """Waits until this generation is in the kernel, or gone from it if it is removing.

        Raises Superseded, NotConverged with the cause, or the Terminal that no retry heals.
        """
        record = self._desired.attachments.get(attachment.key)
        if record is None and attachment.removing:
            return
        if record is None or record.generation > attachment.generation:
            raise superseded(attachment.key)  # before anybody waited, as where one call withdraws several
        try:
            await self._waiters.wait(attachment.key, attachment.generation, timeout_s)
        except TimeoutError:
            what = "detached" if attachment.removing else "attached"
            ready = self._statuses.get(attachment.key).condition("Ready")
            cause = (ready.message if ready is not None else "") or node_cause() or "its turn did not come"
            message = f"{attachment.key} is not {what} after {timeout_s:.1f} s, netplumb keeps trying: {cause}"
            raise NotConverged(message) from None

    def is_awaited(self, key: AttachmentKey) -> bool:
        """Whether a client waits for what becomes of this key."""
        return self._waiters.has(key)

    def is_new(self, key: AttachmentKey) -> bool:
        """Whether no pass over it has ended yet, in this daemon's life or an earlier one's."""
        return not self._statuses.knows(key) and key not in self._desired.inherited

    def wish_changed(self, key: AttachmentKey) -> None:
        """Ends the wait for older wishes of this key."""
        if (record := self._desired.attachments.get(key)) is not None:
            self._waiters.supersede(key, record.generation)

    def policies_changed(self, before: PolicySet) -> None:
        """Other network policies are in force."""
        self._statuses.policies_changed(before)

    def urgency(self, key: AttachmentKey) -> Urgency:
        """That of a wish for this key."""
        return Urgency.RPC if self.is_awaited(key) else Urgency.WISH

    def unsettled(self) -> Set[AttachmentKey]:
        """Those that are not as desired, or whose namespace was not reached."""
        return self.retries.keys() | self._unreached

    def noticed(self, key: AttachmentKey) -> None:
        """Damage was reported; the next pass looks for it."""
        self._lasting.noticed(key, time.monotonic())

    # What came of a pass.

    def finish(self, outcome: Outcome) -> None:
        key = outcome.key
        record = self._desired.attachments.get(key)
        if record is not None:
            self.charge(outcome)
        if record is None or record.removing or outcome.is_outdated_by(record):
            self._mark(key, self.urgency(key))  # the wish changed under the pass
            return
        before, now = self._statuses.get(key), time.monotonic()
        self.tally.passes += 1
        self.tally.passing.observe(outcome.took_s)
        (self._unreached.discard if outcome.reach is Reach.OPEN else self._unreached.add)(key)
        repair = Repair(
            outcome.applied,
            self._lasting.looked(key, now, right=not outcome.errors),
            elsewhere=bool(outcome.netns_cookie) and record.netns_cookie not in (0, outcome.netns_cookie),
            stopped=key in self._desired.inherited and not before.observed_generation,
            follows=self.last_passes.follows(outcome),
        )
        is_repair = before.observed_generation == record.generation and not outcome.errors and not repair.follows
        if is_repair:
            self._count(repair, record, outcome, now)
        attachment = self._store(record, outcome)
        self.last_passes.ended(record, outcome)
        self._learn(attachment, outcome)
        status = status_of(
            attachment,
            outcome,
            before,
            repaired=len(outcome.applied) if is_repair else 0,
            pool_removed=self._outside_pools(attachment),
            ports_in_use=self._ports_in_use(attachment.spec) if attachment.spec.port_mappings else (),
            taken=self._desired.taken(attachment),
            ended_by=self._desired.ends_of(attachment),
            uppers=self.hints.uppers.on(outcome.node_link.index) if outcome.node_link is not None else (),
            fight=self._fights.fight(key, now),
            held_s=self._budgets.held_s(key, now),
            muted=self._is_muted(key),
        )
        self.tell(*events_of(attachment, before, status, repair))
        self._statuses.set(attachment, status)
        self._answer(outcome, status)
        self.retries.passed(key, outcome, status)

    def _count(self, repair: Repair, record: Attachment, outcome: Outcome, now: float) -> None:
        self.tally.repair((step.thing for step in repair.steps), repair.lasted.heard_s or outcome.took_s)
        if outcome.netns_cookie != record.netns_cookie:
            self._fights.forget(record.key)  # another namespace at a file's path begins anew; nobody undid a repair
        elif repair.steps:
            self._fights.repaired(record.key, (subject_of(step.thing) for step in repair.steps), now)

    def _store(self, record: Attachment, outcome: Outcome) -> Attachment:
        """The record with what the pass learnt; as much of that as can be stored."""
        try:
            if outcome.netns_cookie:
                record = self._desired.placed(record.key, outcome.netns_cookie, created=outcome.netns_created)
            if outcome.record is not None:
                record = self._desired.followed(outcome.record)
            if outcome.attached:
                self._desired.converged(record.key, outcome.generation)
        except StoreUnwritable as error:
            log.warning("what was learnt is not stored", attachment=str(record.key), cause=str(error))
        return record

    def _is_muted(self, key: AttachmentKey) -> bool:
        """Whether changes in its namespace are not listened to."""
        return (hint := self.hints.get(key)) is not None and hint.nsid in self.floods.muted

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
            self.hints.forget(attachment.key)
            return
        links = [thing for thing in outcome.desired if isinstance(thing, Link)]
        ends = {thing.scope: thing for thing in links if thing.kind == "veth"}
        if Scope.NODE in ends:
            hint = Hint(
                ends[Scope.NODE],
                ends.get(Scope.WORKLOAD),
                link.index,
                link.peer_index,
                link.peer_nsid,
                next((thing for thing in links if thing.kind == "ifb"), None),
                outcome.ifb.index if outcome.ifb is not None else 0,
            )
            if self.hints.learn(attachment.key, hint, tuple(a.packed for a in attachment.addresses)):
                self.noticed(attachment.key)
                self._mark(attachment.key, Urgency.EVENT)

    def _answer(self, outcome: Outcome, status: AttachmentStatus) -> None:
        if outcome.attached:
            self._waiters.reached(outcome.key, outcome.generation)
        elif outcome.unread is not None:
            self._waiters.failed(outcome.key, outcome.generation, outcome.unread)
        elif status.phase is Phase.FAILED:
            self._waiters.failed(outcome.key, outcome.generation, worst_of(outcome.errors))
        elif status.phase is Phase.LOST:
            gone = Terminal(f"{outcome.key}: {outcome.reach_message}", reason="NetnsGone")
            self._waiters.failed(outcome.key, outcome.generation, gone)

    def _withdraw_lost(self, key: AttachmentKey) -> None:
        log.info("detaching what lost its namespace", attachment=str(key))
        try:
            self._desired.withdraw(key)
        except StoreUnwritable as error:
            log.warning("it stays attached for now", attachment=str(key), cause=str(error))
            self.retries.after(key, BACKOFF_MOST_S)

    def charge(self, outcome: Outcome) -> None:
        """Takes what the pass cost from the attachment's budget."""
        self._budgets.charge(outcome.key, outcome.cost_s, time.monotonic())

    def is_dear(self, key: AttachmentKey) -> bool:
        """Whether a pass over it takes too long to run where others wait, judging by its spec or by the last pass."""
        record = self._desired.attachments.get(key)
        is_large = record is not None and record.spec.mapped_ports > PORTS_AT_ONCE
        return is_large or self._budgets.is_dear(key)

    def is_held(self, key: AttachmentKey) -> bool:
        """Whether a repair has to wait, since another program undoes each at once, or since earlier ones took long. The
        key is marked again when the wait is over. A removal does not wait."""
        record = self._desired.attachments.get(key)
        if record is None or record.removing:
            return False
        if left_s := self._held_s(key, time.monotonic()):
            self.retries.after(key, left_s)
        return bool(left_s)

    def _held_s(self, key: AttachmentKey, now: float) -> float:
        return max(self._fights.held_s(key, now), self._budgets.held_s(key, now))

    # What came of a removal.

    def detaching(self, attachment: Attachment) -> None:
        """Its removal begins."""
        status = self._statuses.get(attachment.key)
        if status.phase is not Phase.DETACHING:
            conditions = (Condition("Ready", False, "Detaching", "its interface is being taken away"),)
            self._statuses.set(attachment, AttachmentStatus(Phase.DETACHING, status.observed_generation, conditions))

    def removed(self, key: AttachmentKey, error: StepError | None) -> None:
        """The kernel has let go of a link, or has not. Runs on the event loop."""
        attachment = self._desired.attachments.get(key)
        if attachment is None:
            return
        if not attachment.removing:
            self._mark(key, self.urgency(key))
            return
        try:
            if error is None:
                self._remove_if_made(attachment)
                self._desired.forget(key)
        except (StepError, StoreUnwritable) as failure:
            error = failure if isinstance(failure, StepError) else Retryable(str(failure), reason="StoreUnwritable")
        if error is not None:
            retries = self._statuses.get(key).retries + 1
            conditions = (Condition("Ready", status=False, reason=error.reason, message=str(error)),)
            self._statuses.set(attachment, AttachmentStatus(Phase.DETACHING, 0, conditions, retries))
            self.retries.failed(key, retries)
            return
        self.hints.forget(key)
        self._fights.forget(key)
        self._budgets.forget(key)
        self.last_passes.forget(key)
        self._unreached.discard(key)
        self._lasting.forget(key)
        self.retries.forget(key)
        self.tell(detached(attachment))
        self._statuses.removed(attachment)
        self._waiters.reached(key, attachment.generation)

    def left(self, attachment: Attachment) -> None:
        """It is to be in another namespace now; `attachment` is the record from before."""
        try:
            self._remove_if_made(attachment)
        except StepError as error:
            log.warning("a namespace that is no longer wanted stays", cause=str(error))

    def _remove_if_made(self, attachment: Attachment) -> None:
        """Removes the namespace of an attachment if netplumb made it and no other attachment is meant to be in it."""
        netns = attachment.spec.netns
        if (attachment.netns_created or netns.create) and not self._desired.is_meant(netns.where):
            self._remove_namespace(netns.name, attachment.netns_cookie)
