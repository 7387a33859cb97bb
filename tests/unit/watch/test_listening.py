"""The answer to events that were lost, without a kernel."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import cast

import pytest

from netplumb.models.network import Node
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.kernel.listener import Event, Listener
from netplumb.reconciler.status.results import Results
from netplumb.reconciler.status.statuses import Statuses
from netplumb.reconciler.watch import listening
from netplumb.reconciler.watch.listening import Listening


class _Nobody:
    """Desired state in which nobody wants anything."""

    attachments: dict[object, object] = {}  # noqa: RUF012 - never written


class _LossyListener:
    """Hears nothing but that messages were lost."""

    def drain(self, _: int) -> Iterator[Event | None]:
        yield None


async def test_lost_events_cause_one_resync_at_once_and_one_after_the_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the kernel says that it lost messages, everything is read at once and once more afterwards."""
    monkeypatch.setattr(listening, "LOST_EVENTS_RESYNC_S", 0.01)
    desired = cast("Desired", _Nobody())
    statuses = Statuses(desired, Node)
    results = Results(desired, statuses, lambda *_: None, lambda *_: None, netns_gone_grace_s=1)
    resyncs: list[None] = []
    ear = Listening(
        cast("Listener", _LossyListener()),
        results,
        damaged=lambda _: None,
        node=lambda: None,
        network=lambda: None,
        resync=lambda: resyncs.append(None),
    )
    for _ in range(5):
        ear.hear()
    assert results.tally.lost_events == 5
    assert len(resyncs) == 1
    await asyncio.sleep(0.02)  # twice the bound that was set above
    assert len(resyncs) == 2
    ear.hear()
    assert len(resyncs) == 3
