"""Workloads without a kernel: what the servicer asks is recorded, what it is answered is set by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from ipaddress import ip_address

from netplumb.models.attachment import APPLIED_SOURCE, Attachment, AttachmentKey, AttachmentSpec, DetachSpec, NetnsRef
from netplumb.models.errors import NotFound, NotReady
from netplumb.models.events import Event, EventQuery
from netplumb.models.naming import workload_mac
from netplumb.models.nodenetwork import Uplink
from netplumb.models.policyviews import Answer, Asked, PolicyDifference, PolicyView
from netplumb.models.statefile import Application, Applied, Deleted, StateFile, WhatIf
from netplumb.models.status import (
    AttachmentStatus,
    AttachmentView,
    Change,
    CheckReport,
    Comparison,
    Condition,
    Counters,
    DescribedObject,
    Description,
    NodeStatus,
    Phase,
    PlannedChange,
    PoolUsage,
    Traffic,
    WatchEvent,
)

NODE_STATUS = NodeStatus(
    ready=True,
    version="1.2.3",
    started_at=1_700_000_000.0,
    conditions=(Condition("Ready", True, "Converged", "", 1_700_000_000.0),),
    pools=(PoolUsage("10.99.0.0/24", 2, 253), PoolUsage("fd99::/64", 2, 2**64 - 2)),
    phases={"Attached": 2},
    counters=Counters(passes=7, repairs={"route": 3}, retries=1, resyncs=2, events=40, lost_events=0),
    queue_length=1,
    queue_age_s=0.25,
    last_slice_at=1_700_000_100.0,
    uplinks=(Uplink("up0", (ip_address("192.0.2.1"),), 1500),),
)


def view(workload_id: str = "web-1", if_name: str = "eth0", phase: Phase = Phase.ATTACHED) -> AttachmentView:
    netns = NetnsRef(path=f"/run/netns/{workload_id}")
    spec = AttachmentSpec(workload_id=workload_id, netns=netns, if_name=if_name, labels={"app": "web"})
    return view_of(spec, phase)


def view_of(spec: AttachmentSpec, phase: Phase = Phase.ATTACHED) -> AttachmentView:
    record = Attachment(
        spec=spec,
        source="rpc",
        addresses=spec.addresses or (ip_address("10.99.0.2"), ip_address("fd99::2")),
        mac=spec.mac or workload_mac(spec.key),
    )
    return AttachmentView(record, AttachmentStatus(phase=phase, observed_generation=1))


def claim_of(holder: AttachmentView, source: str) -> AttachmentView:
    """What a state file wishes for a key that another holds."""
    why = Condition("Ready", False, "AlreadyHeld", f"attachment {holder.key} is held by {holder.attachment.source}")
    record = holder.attachment.model_copy(update={"source": source, "generation": 0, "addresses": ()})
    return AttachmentView(record, AttachmentStatus(Phase.CONFLICT, conditions=(why,)))


class FakeWorkloads:
    """`error`, where set, is raised by every method. `gate`, where set, is waited for by attach and detach."""

    def __init__(self, *views: AttachmentView) -> None:
        self.views = {it.key: it for it in views}
        self.claims: list[AttachmentView] = []
        self.error: Exception | None = None
        self.pools = True
        self.gate: asyncio.Event | None = None
        self.differences: tuple[PlannedChange, ...] = ()
        self.collected: tuple[str, Set[AttachmentKey]] | None = None
        self.timeout_s: float | None = None
        self.applied: tuple[Applied, ...] = ()
        self.policy_views: tuple[PolicyView, ...] = ()
        self.answer = Answer(allowed=True, source="10.1.0.2", destination="10.1.0.3", reasons=())
        self.policy_difference = PolicyDifference()
        self.dry_run = False
        self.counted = 0
        self.asked: list[WhatIf | Asked] = []
        self.changes: asyncio.Queue[WatchEvent | None] = asyncio.Queue()
        self.objects: tuple[DescribedObject, ...] = ()
        self.happened: list[Event] = []
        self.happening: asyncio.Queue[Event] = asyncio.Queue()
        self.attaching = asyncio.Event()
        self.unwatched = asyncio.Event()

    def _raise(self) -> None:
        if self.error is not None:
            raise self.error

    async def attach(self, spec: AttachmentSpec, timeout_s: float | None) -> AttachmentView:
        self._raise()
        self.asked.append(spec)
        self.timeout_s = timeout_s
        self.attaching.set()
        if self.gate is not None:
            await self.gate.wait()
        self.views[spec.key] = view_of(spec)
        return self.views[spec.key]

    async def detach(self, spec: DetachSpec, timeout_s: float | None) -> None:
        self._raise()
        self.asked.append(spec)
        self.timeout_s = timeout_s
        if self.gate is not None:
            await self.gate.wait()
        self.views.pop(spec.key, None)

    def get(self, key: AttachmentKey) -> Sequence[AttachmentView]:
        self._raise()
        try:
            return (self.views[key], *(it for it in self.claims if it.key == key))
        except KeyError:
            raise NotFound(f"there is no attachment {key}") from None

    def list(
        self,
        after: tuple[AttachmentKey, str] | None = None,
        selected: Callable[[Mapping[str, str]], bool] = lambda _: True,
    ) -> Iterator[AttachmentView]:
        self._raise()
        found = sorted((*self.views.values(), *self.claims), key=lambda it: it.place)
        return (it for it in found if (after is None or it.place > after) and selected(it.attachment.spec.labels))

    async def watch(self) -> AsyncIterator[WatchEvent]:
        try:
            self._raise()
            for it in self.list():
                yield WatchEvent(Change.PRESENT, it)
            yield WatchEvent(Change.SNAPSHOT_COMPLETE)
            while (event := await self.changes.get()) is not None:
                yield event
        finally:
            self.unwatched.set()

    async def check(self, key: AttachmentKey) -> CheckReport:
        return self._compared(self.get(key)[0])

    async def describe(self, workload_id: str, if_name: str, events: int) -> Sequence[Description]:
        keys = [key for key in sorted(self.views) if key.workload_id == workload_id and if_name in ("", key.if_name)]
        if not keys:
            raise NotFound(f"no attachment {workload_id}")
        found = []
        for key in keys:
            happened = [it for it in self.happened if it.key == key]
            newest = happened[len(happened) - min(events, len(happened)) :]
            found.append(Description(await self.check(key), self.objects, tuple(newest)))
        return found

    def _compared(self, found: AttachmentView) -> CheckReport:
        mine = tuple(it for it in self.differences if it.key == found.key)
        return CheckReport(mine, found.unmet, view=found)

    async def check_all(self) -> tuple[Comparison, Sequence[CheckReport]]:
        self._raise()
        node = Comparison(tuple(it for it in self.differences if it.key is None))
        return node, [self._compared(it) for it in self.list()]

    async def plan(self, what_if: WhatIf) -> Sequence[Comparison]:
        self.asked.append(what_if)
        node, reports = await self.check_all()
        return (node, *reports)

    async def apply(self, application: Application, *, dry_run: bool = False) -> Sequence[Applied]:
        self._raise()
        self.asked.append(application)
        self.dry_run = dry_run
        return self.applied

    async def delete(
        self,
        files: Sequence[StateFile],
        keys: Sequence[AttachmentKey],
        timeout_s: float | None,
        *,
        dry_run: bool = False,
    ) -> Deleted:
        self._raise()
        self.asked.append(Application(tuple(files)))
        self.timeout_s, self.dry_run = timeout_s, dry_run
        held = tuple(it for it in keys if it in self.views and self.views[it].attachment.source == APPLIED_SOURCE)
        return Deleted(held, tuple(it for it in keys if it not in held))

    def policies(self) -> Sequence[PolicyView]:
        self._raise()
        return self.policy_views

    async def explain_policy(self, asked: Asked) -> Answer:
        self._raise()
        self.asked.append(asked)
        return self.answer

    async def diff_policies(self, files: Sequence[StateFile]) -> PolicyDifference:
        self._raise()
        self.asked.append(Application(tuple(files)))
        return self.policy_difference

    async def gc(
        self, source: str, alive: Set[AttachmentKey], timeout_s: float | None, *, dry_run: bool = False
    ) -> Sequence[AttachmentView]:
        self._raise()
        self.collected = (source, alive)
        self.timeout_s = timeout_s
        gone = [it for key, it in self.views.items() if it.attachment.source == source and key not in alive]
        for it in () if dry_run else gone:
            del self.views[it.key]
        return gone

    async def traffic(self) -> Sequence[Traffic]:
        self._raise()
        self.counted += 1
        return [Traffic(key, 1000 * self.counted, self.counted, 500 * self.counted, self.counted) for key in self.views]

    async def events(self, query: EventQuery, *, follow: bool) -> AsyncIterator[Event]:
        try:
            self._raise()
            for it in self.happened:
                if query.asks_for(it):
                    yield it
            while follow:
                yield await self.happening.get()
        finally:
            self.unwatched.set()

    def status(self, *, without_pools: bool = False) -> NodeStatus:
        self._raise()
        if not (self.pools or without_pools):
            raise NotReady("no pool is configured")
        unmet = tuple(it for view in self.list() for it in view.unmet)
        pools = NODE_STATUS.pools if self.pools else ()
        return replace(NODE_STATUS, pools=pools, unmet=unmet, unmet_total=len(unmet))
