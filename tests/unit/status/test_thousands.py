"""List and Watch beside a hundred thousand attachments: a page costs what is on it, and nobody waits for a snapshot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from itertools import islice

import pytest

from netplumb.models.attachment import Attachment, AttachmentKey
from netplumb.models.network import Node
from netplumb.models.settings import Settings
from netplumb.models.status import Change
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.desired.store import Change as StoreChange
from netplumb.reconciler.desired.store import Contents
from netplumb.reconciler.status.statuses import Statuses
from tests.unit.benches import wish

THOUSANDS = [20_000, pytest.param(100_000, marks=pytest.mark.sweep)]
PAGE = 500
SILENCE_MOST_S = 1.0  # the longest turn, on however busy a machine; to make all views at once takes several


class Records:
    """A store that begins with so many attachments, and keeps nothing."""

    def __init__(self, count: int) -> None:
        spec = wish()
        record = Attachment(spec=spec, source="rpc", generation=1, netns_cookie=7, mac="0a:00:00:00:00:01")
        self._attachments = {
            key: record.model_copy(update={"spec": spec.model_copy(update={"workload_id": key.workload_id})})
            for key in (AttachmentKey(f"web-{number}", "eth0") for number in range(count))
        }

    def load(self) -> Contents:
        return Contents(attachments=self._attachments)

    def commit(self, change: StoreChange) -> None:
        pass

    def trim_freed(self, kept: int) -> None:
        pass


def statuses_of(count: int) -> Statuses:
    desired = Desired(Records(count), Settings(), lambda _: None, lambda: None)
    return Statuses(desired, Node)


@pytest.fixture(scope="module", params=THOUSANDS)
def count(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def statuses(count: int) -> Statuses:
    return statuses_of(count)


def pages(statuses: Statuses, most: int) -> Iterator[tuple[float, list[AttachmentKey]]]:
    """The first pages as List asks for them, and the seconds that each took."""
    after = None
    for _ in range(most):
        began = time.perf_counter()
        page = list(islice(statuses.views(after), PAGE))
        yield time.perf_counter() - began, [view.key for view in page]
        if len(page) < PAGE:
            return
        after = page[-1].place


def test_pages_are_whole_and_in_order(statuses: Statuses, count: int) -> None:
    found = [key for _, keys in pages(statuses, count) for key in keys]
    assert len(found) == len(set(found)) == count
    assert found == sorted(found)


def test_a_page_costs_what_is_on_it(statuses: Statuses) -> None:
    """Beside a hundred thousand as beside two thousand, once they were put into order."""
    few = min(took for took, _ in pages(statuses_of(4 * PAGE), 4))
    many = min(took for took, _ in islice(pages(statuses, 20), 1, None))
    assert many < 3 * few


async def test_a_watch_of_them_all_holds_up_nobody(statuses: Statuses, count: int) -> None:
    """Its snapshot is made view by view, as fast as it is read."""
    silence = 0.0

    async def listen() -> None:
        nonlocal silence
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0)
            silence = max(silence, time.perf_counter() - began)

    listening = asyncio.create_task(listen())
    told = 0
    async for event in statuses.watch():
        await asyncio.sleep(0)  # as where each is sent
        if event.change is Change.SNAPSHOT_COMPLETE:
            break
        told += 1
    listening.cancel()
    assert told == count
    assert silence < SILENCE_MOST_S
