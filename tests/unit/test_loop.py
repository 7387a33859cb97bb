"""The loop's answer to events that were lost, without a kernel."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import cast

import pytest

from models.network import Node
from reconciler import loop as loops
from reconciler.desired import Desired
from reconciler.kernel.listener import Event, Listener
from reconciler.linux import LinuxKernel
from reconciler.loop import Loop
from reconciler.nodewide import NodeWide
from reconciler.results import Results
from reconciler.statuses import Statuses


class _Nobody:
    """Desired state in which nobody wants anything."""

    attachments: dict[object, object] = {}  # noqa: RUF012 - never written


class _LossyListener:
    """Hears nothing but that messages were lost."""

    def drain(self, _: int) -> Iterator[Event | None]:
        yield None


def _loop() -> tuple[Loop, Results]:
    desired = cast("Desired", _Nobody())
    kernel = cast("LinuxKernel", None)
    results = Results(desired, Statuses(desired, Node), lambda *_: None, lambda *_: None, netns_gone_grace_s=1)
    listener = cast("Listener", _LossyListener())
    return Loop(
        desired, results, cast("NodeWide", None), listener, kernel, kernel, cast("LinuxKernel", object()), resync_s=30
    ), results


async def test_lost_events_cause_one_resync_at_once_and_one_after_the_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the kernel says that it lost messages, everything is read at once and once more afterwards."""
    monkeypatch.setattr(loops, "LOST_EVENTS_RESYNC_S", 0.01)
    loop, results = _loop()
    for _ in range(5):
        loop.hear()
    assert results.tally.lost_events == 5
    assert results.tally.resyncs == 1
    await asyncio.sleep(0.02)  # twice the bound that was set above
    assert results.tally.resyncs == 2
    loop.hear()
    assert results.tally.resyncs == 3
