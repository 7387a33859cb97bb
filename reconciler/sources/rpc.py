"""The source behind the gRPC service: Attach and Detach write desired state and wait; the rest reads.

It implements the protocol that the API declares, without knowing the API.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from functools import partial

from netplumb.models.attachment import RPC_SOURCE, Attachment, AttachmentKey, AttachmentSpec, DetachSpec
from netplumb.models.errors import (
    NetplumbError,
    NotANetworkNamespace,
    NotFound,
    NotReady,
    Refusal,
    StepError,
    Superseded,
)
from netplumb.models.events import Event, EventQuery
from netplumb.models.kernel import kind_of
from netplumb.models.ports import PortMapping
from netplumb.models.status import (
    AttachmentView,
    CheckReport,
    Condition,
    Counters,
    Description,
    NodeStatus,
    PlannedChange,
    WatchEvent,
)
from netplumb.models.steps import Step
from netplumb.reconciler.converge.attachment import preview, survey
from netplumb.reconciler.converge.linux import LinuxKernel
from netplumb.reconciler.converge.reader import Reader
from netplumb.reconciler.decide.plan import Plan
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.history.history import History
from netplumb.reconciler.history.outcomes import refused
from netplumb.reconciler.kernel.namespaces import Namespace, NamespaceMissingError
from netplumb.reconciler.loop.loop import Loop
from netplumb.reconciler.loop.node import NodeWide
from netplumb.reconciler.status.descriptions import described
from netplumb.reconciler.status.results import Tally
from netplumb.reconciler.status.statuses import Statuses


class RpcSource:
    """`kernel` is the loop's, to open namespaces; `reader` reads for Check and Plan, beside the loop."""

    def __init__(
        self,
        desired: Desired,
        statuses: Statuses,
        loop: Loop,
        tally: Tally,
        nodewide: NodeWide,
        kernel: LinuxKernel,
        reader: Reader,
        *,
        version: str,
        timeout_s: float,
        source_conditions: Callable[[], tuple[Condition, ...]],
        look_at_ports: Callable[[Sequence[PortMapping]], Awaitable[None]],
        history: History,
    ) -> None:
        self._desired = desired
        self._statuses = statuses
        self._loop = loop
        self._tally = tally
        self._nodewide = nodewide
        self._kernel = kernel
        self._reader = reader
        self._version = version
        self.timeout_s = timeout_s
        self._source_conditions = source_conditions
        self._look_at_ports = look_at_ports
        self._history = history
        self._started_at = time.time()

    async def attach(self, spec: AttachmentSpec, timeout_s: float | None, source: str = RPC_SOURCE) -> AttachmentView:
        """Records the wish and waits until the kernel agrees.

        Raises a Refusal, and then nothing was recorded, or what the pass failed with. A wish that failed for good
        before it was ever fulfilled is taken back, so that it holds no address.
        """
        try:
            attachment = await self._record_wish(spec, source)
        except Refusal as error:
            self._history.tell(refused(spec.key, source, error))
            raise
        try:
            await self._loop.reached(attachment, self.timeout_s if timeout_s is None else timeout_s)
        except StepError:
            if self._is_new(attachment) and (removing := self._desired.withdraw(spec.key)) is not None:
                with suppress(NetplumbError):  # what failed first is what the client is told
                    await self._loop.reached(removing, self.timeout_s)  # its addresses are free for the next one
            raise
        return self._statuses.view(attachment)

    async def _record_wish(self, spec: AttachmentSpec, source: str) -> Attachment:
        if not self._desired.allocator.pools:
            raise NotReady("no pool is configured; start the daemon with --pool CIDR")
        await self._look_at_ports(spec.port_mappings)
        namespace = self._open(spec.netns.where)
        try:
            attachment = self._desired.attach(spec, namespace.cookie, source)
        except BaseException:
            namespace.close()
            raise
        self._loop.hand_over(spec.key, namespace)
        return attachment

    def _open(self, path: str) -> Namespace:
        try:
            return self._kernel.open(path)
        except NamespaceMissingError:
            raise NotANetworkNamespace(f"{path} is not a network namespace: nothing is there") from None

    def _is_new(self, attachment: Attachment) -> bool:
        """Whether this wish is still the last one, and no wish for its key was ever fulfilled. What became of a wish
        before the daemon started is not known."""
        record = self._desired.attachments.get(attachment.key)
        if record is None or record.generation != attachment.generation or record.key in self._desired.inherited:
            return False
        return not self._statuses.get(attachment.key).observed_generation

    async def detach(self, spec: DetachSpec, timeout_s: float | None) -> None:
        """Withdraws the wish and waits until the interface is gone and its addresses are free."""
        attachment = self._desired.detach(spec, self._cookie_of(spec))
        if attachment is not None:
            await self._loop.reached(attachment, self.timeout_s if timeout_s is None else timeout_s)

    async def gc(self, source: str, alive: Set[AttachmentKey], timeout_s: float | None) -> Sequence[AttachmentView]:
        """Withdraws what the source holds and does not name as alive, and waits until its interfaces are gone."""
        going = [
            (self._statuses.view(record), removing)
            for record in self._desired.garbage(source, alive)
            if (removing := self._desired.withdraw(record.key)) is not None
        ]
        within_s = self.timeout_s if timeout_s is None else timeout_s
        await asyncio.gather(*(self._collected(removing, within_s) for _, removing in going))
        return [view for view, _ in going]

    async def _collected(self, removing: Attachment, within_s: float) -> None:
        with suppress(Superseded):  # another wish has the key by now, and what the source held of it is gone
            await self._loop.reached(removing, within_s)

    def _cookie_of(self, spec: DetachSpec) -> int:
        """The namespace at the path that a Detach names, where the path alone does not tell what it means."""
        record = self._desired.attachments.get(spec.key)
        if record is None or not spec.netns_path or spec.netns_path == record.spec.netns.where:
            return 0
        return self.cookie_at(spec.netns_path)

    def cookie_at(self, path: str) -> int:
        """That of the network namespace at a path, 0 if there is none."""
        try:
            with self._kernel.open(path) as namespace:
                return namespace.cookie
        except (NamespaceMissingError, NotANetworkNamespace, StepError):
            return 0

    def get(self, key: AttachmentKey) -> AttachmentView:
        return self._statuses.view(self._record(key))

    def _record(self, key: AttachmentKey) -> Attachment:
        record = self._desired.attachments.get(key)
        if record is None:
            raise NotFound(f"no attachment {key}")
        return record

    async def check(self, key: AttachmentKey) -> CheckReport:
        """Reads the kernel and compares; changes nothing. Where something foreign is in the way, or there is no
        namespace, nothing differs that could be changed, and yet it is not as desired."""
        record = self._record(key)
        return self._report(record, await self._reader.read(partial(preview, record, self._nodewide.node)))

    def _report(self, record: Attachment, made: Plan | None) -> CheckReport:
        in_sync = made is not None and not made.steps and not made.conflicts and not record.removing
        return CheckReport(in_sync, self._statuses.view(record), tuple(_changes(record.key, made)))

    async def describe(self, workload_id: str, if_name: str, events: int) -> Sequence[Description]:
        """Reads the kernel; changes nothing."""
        keys = self._desired.interfaces(workload_id)
        if if_name:
            keys = [key for key in keys if key.if_name == if_name]
        if not keys:
            raise NotFound(f"no attachment {workload_id}{f'/{if_name}' if if_name else ''}")
        return [await self._description(self._record(key), events) for key in keys]

    async def _description(self, record: Attachment, events: int) -> Description:
        key = record.key
        desired, made = await self._reader.read(partial(survey, record, self._nodewide.node))
        happened = await self._history.kept(EventQuery(str(key), most=events)) if events else []
        objects = described(desired, made.steps if made is not None else ())
        return Description(self._report(record, made), tuple(objects), tuple(happened))

    async def _differences(self, record: Attachment) -> list[PlannedChange]:
        return _changes(record.key, await self._reader.read(partial(preview, record, self._nodewide.node)))

    async def plan(self, what_if: AttachmentSpec | DetachSpec | None) -> Sequence[PlannedChange]:
        """What one wish, or the loop as it stands, would change in the kernel."""
        if isinstance(what_if, AttachmentSpec):
            with self._open(what_if.netns.where) as namespace:
                wished = self._desired.preview(what_if, namespace.cookie)
            return await self._differences(wished)
        if isinstance(what_if, DetachSpec):
            record = self._desired.attachments.get(what_if.key)
            if record is None:
                return ()
            gone = record.model_copy(update={"removing": True})
            return await self._differences(gone)
        records = sorted(self._desired.attachments.values(), key=lambda record: record.key)
        node, planned = await self._reader.read(self._nodewide.gathered_wish().compared)
        plans = await self._reader.read_each(partial(preview, record, node) for record in records)
        changes = [_change(None, step) for step in planned.steps]
        for record, made in zip(records, plans, strict=True):
            changes += _changes(record.key, made)
        return changes

    def status(self) -> NodeStatus:
        """Raises NotReady while there are no pools."""
        if not self._desired.allocator.pools:
            raise NotReady("no pool is configured; start the daemon with --pool CIDR")
        return self.node_status()

    def node_status(self) -> NodeStatus:
        tally = self._tally
        node = Condition("NodeInSync", not self._nodewide.cause, "Converged", self._nodewide.cause, self._started_at)
        if self._nodewide.cause:
            node = replace(node, reason="NodeFailed")
        fighting = self._nodewide.fighting()
        told = (*((fighting,) if fighting is not None else ()), *self._nodewide.conditions)
        return NodeStatus(
            ready=self._nodewide.ready,
            version=self._version,
            started_at=self._started_at,
            conditions=(node, *told, *self._source_conditions()),
            pools=self._desired.allocator.usage(),
            phases=self._statuses.phases(),
            counters=Counters(
                tally.passes, dict(tally.repairs), tally.retries, tally.resyncs, tally.events, tally.lost_events
            ),
            queue_length=len(self._loop.queue),
            queue_age_s=self._loop.queue.age_s(),
            last_slice_at=self._loop.last_slice_at,
        )

    def watch(self) -> AsyncIterator[WatchEvent]:
        return self._statuses.watch()

    def events(self, query: EventQuery, *, follow: bool) -> AsyncIterator[Event]:
        return self._history.events(query, follow=follow)

    def list(self) -> Sequence[AttachmentView]:
        return self._statuses.views()


def _changes(key: AttachmentKey, made: Plan | None) -> list[PlannedChange]:
    return [_change(key, step) for step in made.steps] if made is not None else []


def _change(key: AttachmentKey | None, step: Step) -> PlannedChange:
    words = str(step).removeprefix(f"{step.verb.value} ")
    return PlannedChange(key, step.verb.value, kind_of(step.thing), words)
