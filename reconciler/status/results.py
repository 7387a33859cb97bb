"""What came of a pass: made into status, told to those who wait, and handed to `retries` where it is to be tried again.

Runs on the event loop's thread, after the pass, whichever thread that ran on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence, Set

import structlog

from netplumb.models.attachment import Attachment, AttachmentKey, AttachmentSpec
from netplumb.models.errors import NotConverged, Retryable, StepError, StoreUnwritable, Terminal
from netplumb.models.kernel import Link, Scope
from netplumb.models.naming import node_if_name
from netplumb.models.network import Node
from netplumb.models.nft import NftElement, is_of_policies
from netplumb.models.policyset import PolicySet
from netplumb.models.status import AttachmentStatus, Condition, Phase
from netplumb.reconciler.converge.hints import Hint, Hints
from netplumb.reconciler.converge.work import Outcome, Reach
from netplumb.reconciler.decide.render import render_own_elements
from netplumb.reconciler.decide.render.policies import render_policy_elements
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.history.history import Tell, untold
from netplumb.reconciler.history.lasting import Lasting
from netplumb.reconciler.history.outcomes import Repair, detached, events_of
from netplumb.reconciler.pacing.budgets import Budgets
from netplumb.reconciler.pacing.fights import Fights, subject_of
from netplumb.reconciler.pacing.floods import Floods
from netplumb.reconciler.pacing.queue import Urgency
from netplumb.reconciler.pacing.waiters import Waiters, superseded
from netplumb.reconciler.status.outcomes import status_of, worst_of
from netplumb.reconciler.status.retries import BACKOFF_MOST_S, Retries
from netplumb.reconciler.status.statuses import Statuses
from netplumb.reconciler.status.tally import Tally

PORTS_AT_ONCE = 100
"""An attachment to which more ports lead is passed over where nobody waits: each is four elements of the table."""

log = structlog.get_logger(__name__)


class Results:
    """`mark` puts a key back into the queue; `remove_namespace` takes away the one of a name if netplumb made it;
    `ports_in_use` tells what processes of the node listen on of an attachment's ports; `tell` keeps what happened."""

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
        """Of namespaces, by the node's number for them."""
        self._published: dict[AttachmentKey, tuple[Attachment, tuple[NftElement, ...]]] = {}
        """What the last pass said that there should be of each in the nftables table, and of which record."""
        self._absent: set[AttachmentKey] = set()
        """Those of which the last pass found neither a namespace nor a link, and so made nothing."""
        self._settled: dict[AttachmentKey, tuple[Attachment, Node]] = {}
        """What the last pass that came to its end made come true."""

    def elements(self, node: Node) -> Iterator[NftElement]:
        """What the nftables table should hold of all attachments: as their last passes said, or as their records say
        where none was made of those yet. What was a port of one may be another's by then. Policies say theirs anew,
        since they change with no pass."""
        for key, attachment in self._desired.attachments.items():
            if not attachment.removing:
                yield from self._published[key][1] if self._is_passed(attachment) else render_own_elements(attachment)
                if key not in self._absent:
                    yield from render_policy_elements(attachment, node)

    def _is_passed(self, attachment: Attachment) -> bool:
        """Whether a pass over this very record has ended in this daemon's life. One of which there is nothing yet has
        nothing in the table before a pass finds it."""
        published = self._published.get(attachment.key)
        return published is not None and (published[0] is attachment or attachment.key in self._absent)

    def links_without_pass(self) -> Iterator[str]:
        """Of those over which no pass has ended yet in this daemon's life, or with another wish: what lacks of them is
        no damage."""
        return (node_if_name(it.key) for it in self._desired.attachments.values() if not self._is_passed(it))

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
        """Whoever waits for an older wish of this key waits for nothing."""
        if (record := self._desired.attachments.get(key)) is not None:
            self._waiters.supersede(key, record.generation)

    def policies_changed(self, before: PolicySet) -> None:
        """Other network policies are in force."""
        self._statuses.policies_changed(before)

    def urgency(self, key: AttachmentKey) -> Urgency:
        """That of a wish for this key."""
        return Urgency.RPC if self.is_awaited(key) else Urgency.WISH

    def unsettled(self) -> Set[AttachmentKey]:
        """Who is not as desired, or whose namespace was not reached."""
        return self.retries.keys() | self._unreached

    def noticed(self, key: AttachmentKey) -> None:
        """Something told of damage, which the next pass looks for."""
        self._lasting.noticed(key, time.monotonic())

    # What came of a pass.

    def finish(self, outcome: Outcome) -> None:
        key = outcome.key
        attachment = self._desired.attachments.get(key)
        if attachment is not None:
            self.charge(outcome)
        if attachment is None or attachment.removing or outcome.is_outdated_by(attachment):
            self._mark(key, self.urgency(key))  # the wish changed under the pass
            return
        held = attachment
        before, now = self._statuses.get(key), time.monotonic()
        self.tally.passes += 1
        self.tally.passing.observe(outcome.took_s)
        (self._unreached.discard if outcome.reach is Reach.OPEN else self._unreached.add)(key)
        repaired = 0
        follows = self._follows(key, outcome)
        lasted = self._lasting.looked(key, now, right=not outcome.errors)
        elsewhere = bool(outcome.netns_cookie) and attachment.netns_cookie not in (0, outcome.netns_cookie)
        if before.observed_generation == attachment.generation and not outcome.errors and not follows:
            repaired = len(outcome.applied)
            self.tally.repair((step.thing for step in outcome.applied), lasted.heard_s or outcome.took_s)
            if outcome.netns_cookie != attachment.netns_cookie:
                self._fights.forget(key)  # another namespace at a file's path begins anew; nobody undid a repair
            elif repaired:
                self._fights.repaired(key, (subject_of(step.thing) for step in outcome.applied), now)
        try:
            if outcome.netns_cookie:
                attachment = self._desired.placed(key, outcome.netns_cookie, created=outcome.netns_created)
            if outcome.record is not None:
                attachment = self._desired.followed(outcome.record)
            if outcome.attached:
                self._desired.converged(key, outcome.generation)
        except StoreUnwritable as error:
            log.warning("what was learnt is not stored", attachment=str(key), cause=str(error))
        record, node = outcome.given or (held, None)
        # What was learnt here is no change; what came while the pass ran is.
        record = self._desired.attachments.get(key, record) if record is held else record
        if outcome.attached and node is not None:
            self._settled[key] = (record, node)
        if not outcome.deferred:
            own = (it for it in outcome.desired if isinstance(it, NftElement) and not is_of_policies(it.set))
            self._published[key] = (record, tuple(own))
            is_absent = outcome.reach is not Reach.OPEN and outcome.node_link is None and not outcome.errors
            (self._absent.add if is_absent else self._absent.discard)(key)
        self._learn(attachment, outcome)
        status = status_of(
            attachment,
            outcome,
            before,
            repaired=repaired,
            pool_removed=self._outside_pools(attachment),
            ports_in_use=self._ports_in_use(attachment.spec) if attachment.spec.port_mappings else (),
            taken=self._desired.taken(attachment),
            ended_by=self._desired.ends_of(attachment),
            uppers=self.hints.uppers.on(outcome.node_link.index) if outcome.node_link is not None else (),
            fight=self._fights.fight(key, now),
            held_s=self._budgets.held_s(key, now),
            muted=self._is_muted(key),
        )
        stopped = key in self._desired.inherited and not before.observed_generation
        self.tell(*events_of(attachment, before, status, Repair(outcome.applied, lasted, elsewhere, stopped, follows)))
        self._statuses.set(attachment, status)
        self._answer(outcome, status)
        self.retries.passed(key, outcome, status)

    def _follows(self, key: AttachmentKey, outcome: Outcome) -> str:
        """What is not as it was when the last pass ended, beside the wish; empty where what this one found was damage.
        A record is the same object until something of it changes."""
        settled = self._settled.get(key)
        if settled is None or outcome.given is None:
            return ""
        if settled[0] is not outcome.given[0]:
            return "the workload's other interfaces"
        return "the node" if settled[1] != outcome.given[1] else ""

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
        """What a pass took is the attachment's to pay."""
        self._budgets.charge(outcome.key, outcome.cost_s, time.monotonic())

    def is_dear(self, key: AttachmentKey) -> bool:
        """Whether a pass over it takes too long to be made where others wait: by what is wished, or by the last one."""
        record = self._desired.attachments.get(key)
        is_large = record is not None and record.spec.mapped_ports > PORTS_AT_ONCE
        return is_large or self._budgets.is_dear(key)

    def is_held(self, key: AttachmentKey) -> bool:
        """Whether a repair has to wait, since somebody undoes each at once, or since those before took long. It is
        marked again when it need not. A removal does not wait."""
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
        self._published.pop(key, None)
        self._absent.discard(key)
        self._settled.pop(key, None)
        self._unreached.discard(key)
        self._lasting.forget(key)
        self.retries.forget(key)
        self.tell(detached(attachment))
        self._statuses.removed(attachment)
        self._waiters.reached(key, attachment.generation)

    def left(self, attachment: Attachment) -> None:
        """Its wish is about another namespace now."""
        try:
            self._remove_if_made(attachment)
        except StepError as error:
            log.warning("a namespace that nobody wants any more stays", cause=str(error))

    def _remove_if_made(self, attachment: Attachment) -> None:
        """Takes the namespace of an attachment away if netplumb made it and nobody else's wish is about it."""
        netns = attachment.spec.netns
        if (attachment.netns_created or netns.create) and not self._desired.is_meant(netns.where):
            self._remove_namespace(netns.name, attachment.netns_cookie)
