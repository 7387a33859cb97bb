"""Statuses and their watchers: a slow one holds up nobody and misses no last state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from netplumb.models.attachment import Attachment, AttachmentKey, AttachmentSpec, NetnsRef
from netplumb.models.network import Node
from netplumb.models.settings import Settings
from netplumb.models.status import AttachmentStatus, Change, Condition, Phase, WatchEvent
from netplumb.reconciler.desired.declarations import Declarations
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.desired.store import Store
from netplumb.reconciler.status.statuses import AT_ONCE_MOST, Statuses
from tests.unit.benches import declare


def spec(workload_id: str) -> AttachmentSpec:
    return AttachmentSpec(workload_id=workload_id, netns=NetnsRef(name=workload_id))


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[Desired, Statuses]]:
    """Desired state, and the statuses that hear of its claims."""
    store = Store(tmp_path, "node")
    settings = Settings.model_validate({"pools": ["10.0.0.0/24"]})
    changed: list[Callable[[str, AttachmentKey], None]] = []
    desired = Desired(
        store,
        settings,
        set[AttachmentKey]().add,
        lambda: None,
        claim_changed=lambda source, key: changed[0](source, key),
    )
    statuses = Statuses(desired, Node)
    changed.append(statuses.claim_changed)
    yield desired, statuses
    store.close()


@pytest.fixture
def desired(both: tuple[Desired, Statuses]) -> Desired:
    return both[0]


@pytest.fixture
def web(desired: Desired) -> Attachment:
    return desired.attach(spec("web"), 7)


@pytest.fixture
def statuses(both: tuple[Desired, Statuses]) -> Statuses:
    return both[1]


def status(phase: Phase, *, retries: int = 0) -> AttachmentStatus:
    ready = Condition("Ready", status=phase is Phase.ATTACHED, message=f"try {retries}")
    return AttachmentStatus(phase, conditions=(ready,), retries=retries)


async def next_of(watch: AsyncIterator[WatchEvent]) -> WatchEvent:
    async with asyncio.timeout(5):
        return await anext(watch)


async def snapshot(watch: AsyncIterator[WatchEvent]) -> list[WatchEvent]:
    """All up to the mark that the snapshot is complete."""
    found = []
    while (event := await next_of(watch)).change is not Change.SNAPSHOT_COMPLETE:
        found.append(event)
    return found


def phase_in(event: WatchEvent) -> Phase:
    assert event.view is not None
    return event.view.status.phase


def test_an_attachment_without_a_pass_is_pending(statuses: Statuses, web: Attachment) -> None:
    """What nobody has looked at yet is Pending."""
    assert statuses.view(web).status.phase is Phase.PENDING


def test_a_condition_keeps_its_time_until_it_turns(statuses: Statuses, web: Attachment) -> None:
    """Another message is no transition; another truth is."""
    times = []
    for number, phase in enumerate((Phase.RETRYING, Phase.RETRYING, Phase.ATTACHED)):
        statuses.set(web, status(phase, retries=number))
        condition = statuses.get(web.key).condition("Ready")
        assert condition is not None
        times.append(condition.last_transition)
    assert times[0] == times[1] < times[2]


async def test_a_watch_begins_with_all_there_is(statuses: Statuses, desired: Desired, web: Attachment) -> None:
    """Every attachment in the order of keys, then the mark, then changes."""
    desired.attach(spec("db"), 8)
    watch = statuses.watch()
    keys = [event.view.key.workload_id for event in await snapshot(watch) if event.view is not None]
    assert keys == ["db", "web"]
    statuses.set(web, status(Phase.ATTACHED))
    event = await next_of(watch)
    assert (event.change, phase_in(event)) == (Change.UPDATED, Phase.ATTACHED)


async def test_a_slow_watcher_skips_states_and_misses_no_last_one(
    statuses: Statuses, desired: Desired, web: Attachment
) -> None:
    """However many changes came meanwhile, a watcher reads one event an attachment, the latest."""
    db = desired.attach(spec("db"), 8)
    watch = statuses.watch()
    await snapshot(watch)
    for number in range(1000):
        statuses.set(web, status(Phase.RETRYING, retries=number))
    statuses.set(db, status(Phase.FAILED))
    statuses.set(web, status(Phase.ATTACHED))
    phases = {event.view.key.workload_id: phase_in(event) for _ in range(2) if (event := await next_of(watch)).view}
    assert phases == {"web": Phase.ATTACHED, "db": Phase.FAILED}
    statuses.removed(web)
    assert (await next_of(watch)).change is Change.REMOVED


async def test_what_came_and_went_unread_is_not_kept(statuses: Statuses, desired: Desired, web: Attachment) -> None:
    """A watcher that stands still costs no memory for attachments that it was never told of; one that it knows is
    told to be gone."""
    watch = statuses.watch()
    await snapshot(watch)
    for number in range(100):
        passing = desired.attach(spec(f"passing-{number}"), 8)
        statuses.set(passing, status(Phase.ATTACHED))
        statuses.removed(passing)
    statuses.removed(web)
    event = await next_of(watch)
    assert event.change is Change.REMOVED
    assert event.view is not None
    assert event.view.key == web.key


async def test_what_changes_during_the_snapshot_is_told_after_it(statuses: Statuses, web: Attachment) -> None:
    """No change falls between the snapshot and what follows."""
    watch = statuses.watch()
    await next_of(watch)
    statuses.set(web, status(Phase.ATTACHED))
    await snapshot(watch)
    assert phase_in(await next_of(watch)) is Phase.ATTACHED


async def test_watchers_do_not_disturb_each_other(statuses: Statuses, web: Attachment) -> None:
    """Each has its own backlog, and one that went away has none."""
    fast, slow, gone = statuses.watch(), statuses.watch(), statuses.watch()
    for watch in (fast, slow, gone):
        await snapshot(watch)
    await gone.aclose()  # type: ignore[attr-defined]
    for phase in (Phase.RETRYING, Phase.ATTACHED):
        statuses.set(web, status(phase))
        assert phase_in(await next_of(fast)) is phase
    assert phase_in(await next_of(slow)) is Phase.ATTACHED


def test_a_waiting_claim_is_shown_with_why_it_waits(statuses: Statuses, desired: Desired, web: Attachment) -> None:
    """A file's claim on a held key is in Conflict, one on a held address has Failed; both name the holder."""
    other = AttachmentSpec(workload_id="db", netns=NetnsRef(name="db"), addresses=web.addresses)
    declare(desired, "file/a", [spec("web"), other])
    shown = {(view.attachment.source, view.key.workload_id): view.status for view in statuses.views()}
    assert shown["file/a", "web"].phase is Phase.CONFLICT
    assert shown["file/a", "db"].phase is Phase.FAILED
    ready = shown["file/a", "db"].condition("Ready")
    assert ready is not None
    assert "web/eth0" in ready.message
    assert statuses.phases() == {"Pending": 1, "Conflict": 1, "Failed": 1}


async def test_a_watcher_is_told_of_claims_that_wait_and_wait_no_more(
    statuses: Statuses, desired: Desired, web: Attachment
) -> None:
    """One that came before the watch is in its snapshot; one that comes, and then has what it waited for, is told."""
    declare(desired, "file/a", [spec("web")])
    watch = statuses.watch()
    assert [(it.view.attachment.source, phase_in(it)) for it in await snapshot(watch) if it.view is not None] == [
        ("rpc", Phase.PENDING),
        ("file/a", Phase.CONFLICT),
    ]
    declare(desired, "file/b", [spec("web")])
    came = await next_of(watch)
    assert (came.change, phase_in(came)) == (Change.UPDATED, Phase.CONFLICT)
    assert came.view is not None
    assert came.view.attachment.source == "file/b"
    desired.withdraw(web.key)
    went = await next_of(watch)
    assert (went.change, phase_in(went)) == (Change.REMOVED, Phase.CONFLICT)
    assert went.view is not None
    assert went.view.attachment.source == "file/a"
    assert [view.attachment.source for view in statuses.views()] == ["file/a", "file/b"]
    assert [view.is_claim for view in statuses.views()] == [False, True]


@pytest.mark.parametrize(("watchers", "told"), [(AT_ONCE_MOST, Phase.FAILED), (AT_ONCE_MOST + 20, Phase.ATTACHED)])
async def test_beside_many_others_a_watcher_is_told_of_the_last_of_what_changed(
    statuses: Statuses, web: Attachment, watchers: int, told: Phase
) -> None:
    """To tell each change to each of them would be most of what is done. A few are told of all."""
    *others, watch = (statuses.watch() for _ in range(watchers))
    for each in (*others, watch):
        await snapshot(each)
    statuses.set(web, status(Phase.RETRYING))
    assert phase_in(await next_of(watch)) is Phase.RETRYING
    following = asyncio.create_task(next_of(watch))
    for phase in (Phase.FAILED, Phase.ATTACHED):
        for _ in range(5):  # it has its turn
            await asyncio.sleep(0)
        statuses.set(web, status(phase))
    assert phase_in(await following) is told


def test_a_claim_keeps_the_time_since_when_it_waits(statuses: Statuses, desired: Desired, web: Attachment) -> None:
    """Trying it again in vain is no transition, and nothing to tell."""
    declare(desired, "file/a", [spec("web")])
    (before,) = statuses.claims_of(web.key)
    assert before.status.conditions[0].last_transition
    for _ in Declarations(desired).settling():
        pass
    assert statuses.claims_of(web.key) == [before]


def test_a_removed_attachment_is_forgotten(statuses: Statuses, web: Attachment) -> None:
    """The next attachment of the same key starts from nothing."""
    statuses.set(web, status(Phase.ATTACHED))
    statuses.removed(web)
    assert statuses.get(AttachmentKey("web", "eth0")) == AttachmentStatus()
