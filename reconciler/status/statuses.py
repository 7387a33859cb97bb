"""The status of every attachment, and those who watch it.

The loop writes here; RPCs read. A watcher holds up nobody: what it has not read yet is kept as the latest view of each
attachment, so a slow one skips states but misses no last one. What came and went meanwhile it is never told of.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from heapq import merge
from typing import TypeAlias

from netplumb.models.attachment import Attachment, AttachmentKey
from netplumb.models.errors import NetplumbError
from netplumb.models.network import Node
from netplumb.models.policyset import PolicySet
from netplumb.models.status import AttachmentStatus, AttachmentView, Change, Condition, Phase, WatchEvent
from netplumb.reconciler.decide.policies.selection import selection
from netplumb.reconciler.desired.state import Desired

Place: TypeAlias = tuple[AttachmentKey, str]
Labels: TypeAlias = Mapping[str, str]

AT_ONCE_MOST, OTHERS_PAUSE_S = 8, 0.0005
"""So many watchers are told of each change by itself; for each one more all of them pause so long in between, some five
times what telling one takes."""

_UNKNOWN = AttachmentStatus()


def waiting_condition(source: str, error: NetplumbError) -> Condition:
    """That a state file's claim cannot be had now, and why."""
    message = f"{error}; what {source} declares waits"
    return Condition("Ready", status=False, reason=type(error).__name__, message=message)


class Statuses:
    """`node` tells what rendering knows of the node, by which a wish that says nothing of its own goes."""

    def __init__(self, desired: Desired, node: Callable[[], Node]) -> None:
        self._desired = desired
        self._node = node
        self._statuses: dict[AttachmentKey, AttachmentStatus] = {}
        self._claims: dict[tuple[str, AttachmentKey], AttachmentView] = {}
        self._watchers: set[_Watcher] = set()

    def get(self, key: AttachmentKey) -> AttachmentStatus:
        return self._statuses.get(key, _UNKNOWN)

    def knows(self, key: AttachmentKey) -> bool:
        return key in self._statuses

    def view(self, attachment: Attachment) -> AttachmentView:
        return self._view(attachment, self.get(attachment.key))

    def _view(self, attachment: Attachment, status: AttachmentStatus) -> AttachmentView:
        spec, node = attachment.spec, self._node()
        return AttachmentView(
            attachment,
            status,
            bandwidth=spec.bandwidth.capped(attachment.mtu_on(node.mtu)),
            default_route=attachment.default_route,
            isolate_node=node.isolate_node if spec.isolate_node is None else spec.isolate_node,
            isolate_workloads=node.isolate_workloads if spec.isolate_workloads is None else spec.isolate_workloads,
            policies=_isolating(node.policies, attachment),
        )

    def set(self, attachment: Attachment, status: AttachmentStatus) -> None:
        """Publishes a status."""
        before = self._statuses.get(attachment.key)
        if before is not None:
            status = replace(status, conditions=timed(status.conditions, before.conditions))
            if before == status and not self._watchers:
                return
        else:
            status = replace(status, conditions=timed(status.conditions, ()))
        self._statuses[attachment.key] = status
        if self._watchers:
            self._tell(WatchEvent(Change.UPDATED, self._view(attachment, status)))

    def policies_changed(self, before: PolicySet) -> None:
        """Others are in force than before: who watches is told of whom they isolate otherwise."""
        now = self._node().policies
        for attachment in self._desired.attachments.values() if self._watchers else ():
            if _isolating(before, attachment) != _isolating(now, attachment):
                self._tell(WatchEvent(Change.UPDATED, self.view(attachment)))

    def removed(self, attachment: Attachment) -> None:
        status = self._statuses.pop(attachment.key, _UNKNOWN)
        if self._watchers:
            self._tell(WatchEvent(Change.REMOVED, self._view(attachment, status)))

    def _tell(self, event: WatchEvent) -> None:
        for watcher in self._watchers:
            watcher.tell(event)

    def views(
        self, after: Place | None = None, selected: Callable[[Labels], bool] = lambda _: True
    ) -> Iterator[AttachmentView]:
        """Every attachment, and every state file's claim that waits for a key or an address, in the order of keys; the
        holder of a key comes before those that wait for it. Only what comes `after` a place, and only what is
        `selected` by its labels: of the others no view is made, since there may be a hundred thousand."""
        for place in self._places(after):
            view = self._at(place, selected)
            if view is not None:
                yield view

    def _places(self, after: Place | None = None) -> Iterator[Place]:
        keys = self._desired.ordered()
        first = bisect_left(keys, after[0]) if after is not None else 0
        held = ((keys[number], "") for number in range(first, len(keys)))
        claims = sorted((key, source) for source, key in self._claims)
        return (place for place in merge(held, claims) if after is None or place > after)

    def _at(self, place: Place, selected: Callable[[Labels], bool] = lambda _: True) -> AttachmentView | None:
        """What is at a place now; None where nothing is, or nothing that is selected."""
        key, source = place
        if source:
            claim = self._claims.get((source, key))
            return claim if claim is not None and selected(claim.attachment.spec.labels) else None
        record = self._desired.attachments.get(key)
        return self.view(record) if record is not None and selected(record.spec.labels) else None

    def notable_views(self) -> Iterator[AttachmentView]:
        """Of all views those that may have something to say beside that they are attached."""
        for key, attachment in self._desired.attachments.items():
            status = self.get(key)
            if status.phase is not Phase.ATTACHED or len(status.conditions) > 1:
                yield self._view(attachment, status)
        yield from self._claims.values()

    def claims_of(self, key: AttachmentKey) -> list[AttachmentView]:
        """What waits for this key."""
        return [view for view in self._claims.values() if view.key == key]

    def claims_for(self, workload_id: str) -> list[AttachmentView]:
        """What waits for interfaces of this workload, in the order of keys."""
        return sorted(
            (it for it in self._claims.values() if it.key.workload_id == workload_id), key=lambda it: it.place
        )

    def claim_changed(self, source: str, key: AttachmentKey) -> None:
        """A state file's claim begins to wait, waits for something else, or does not wait any more."""
        before, view = self._claims.pop((source, key), None), self._claim_view(source, key)
        if view is None:
            if before is not None:
                self._tell(WatchEvent(Change.REMOVED, before))
            return
        conditions = timed(view.status.conditions, before.status.conditions if before is not None else ())
        view = self._claims[source, key] = replace(view, status=replace(view.status, conditions=conditions))
        if view != before:
            self._tell(WatchEvent(Change.UPDATED, view))

    def _claim_view(self, source: str, key: AttachmentKey) -> AttachmentView | None:
        if (waiting := self._desired.claims.found_waiting(source, key)) is None:
            return None
        spec, error = waiting
        conditions = (waiting_condition(source, error),)
        phase = Phase.CONFLICT if key in self._desired.attachments else Phase.FAILED
        claim = Attachment(spec=spec, source=source, generation=0, mac=spec.mac)
        return self._view(claim, AttachmentStatus(phase, conditions=conditions))

    def phases(self) -> Mapping[str, int]:
        """How many are in each phase, those of `views`; asked often, and with no need of their order."""
        phases = Counter(self.get(key).phase.value for key in self._desired.attachments)
        phases.update(view.status.phase.value for view in self._claims.values())
        return phases

    async def watch(self) -> AsyncIterator[WatchEvent]:
        """A snapshot, the mark that it is complete, then changes, without end. The snapshot is of what is there when a
        view's turn comes: a slow watcher takes its time, and of what went until then it is told nothing. Beside many
        others it is told more seldom, and then of the last of what changed meanwhile, so that telling all of them takes
        no more than a part of everybody's time."""
        places = tuple(self._places())
        watcher = _Watcher()
        self._watchers.add(watcher)
        try:
            for place in places:
                if (view := self._at(place)) is not None:
                    watcher.tells(place)
                    yield WatchEvent(Change.PRESENT, view)
            yield WatchEvent(Change.SNAPSHOT_COMPLETE)
            while True:
                for event in await watcher.told():
                    yield event
                if (others := len(self._watchers) - AT_ONCE_MOST) > 0:
                    await asyncio.sleep(others * OTHERS_PAUSE_S)
        finally:
            self._watchers.discard(watcher)


class _Watcher:
    """What one watcher has not read yet: the latest event of each attachment.

    Bounded however long it does not read: an attachment that it was never told of is forgotten when it is removed.
    """

    def __init__(self) -> None:
        self._told_of: set[Place] = set()
        self._pending: dict[Place, WatchEvent] = {}
        self._wake = asyncio.Event()

    def tells(self, place: Place) -> None:
        """It is told of what is there now, so that nothing older is pending."""
        self._told_of.add(place)
        self._pending.pop(place, None)

    def tell(self, event: WatchEvent) -> None:
        assert event.view is not None
        place = event.view.place
        if event.change is Change.REMOVED and place not in self._told_of:
            self._pending.pop(place, None)
            return
        self._pending[place] = event
        self._wake.set()

    async def told(self) -> list[WatchEvent]:
        await self._wake.wait()
        self._wake.clear()
        events, self._pending = self._pending, {}
        for place, event in events.items():
            (self._told_of.discard if event.change is Change.REMOVED else self._told_of.add)(place)
        return list(events.values())


def timed(conditions: tuple[Condition, ...], before: tuple[Condition, ...]) -> tuple[Condition, ...]:
    """A condition that stays as it was keeps the time of its last transition."""
    earlier = {condition.type: condition for condition in before}
    timed = []
    for condition in conditions:
        was = earlier.get(condition.type)
        since = was.last_transition if was is not None and was.status == condition.status else time.time()
        timed.append(replace(condition, last_transition=since))
    return tuple(timed)


def _isolating(policies: PolicySet, attachment: Attachment) -> tuple[str, ...]:
    if not policies.policies or attachment.is_rebuilt:
        return ()
    return selection(policies).of(attachment).isolating
