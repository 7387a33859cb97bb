"""The answer to events that were lost, without a kernel."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

import pytest

from netplumb.models.attachment import AttachmentKey
from netplumb.models.kernel import Link, Scope
from netplumb.models.network import Node
from netplumb.reconciler.converge.hints import Hint
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.kernel.rtnetlink.listener import Event, Listener
from netplumb.reconciler.status.results import Results
from netplumb.reconciler.status.statuses import Statuses
from netplumb.reconciler.watch import listening
from netplumb.reconciler.watch.listening import Listening
from tests.unit.recorder import until

WEB = AttachmentKey("web", "eth0")
NSID = 3


class _Nobody:
    """Desired state in which nobody wants anything."""

    attachments: dict[object, object] = {}  # noqa: RUF012 - never written


class _Unread:
    """A listener that no event loop waits for."""

    def filenos(self) -> tuple[int, ...]:
        return ()


class _LossyListener(_Unread):
    """Hears nothing but that messages were lost."""

    is_drained = True

    def drain(self, *_: object) -> Iterator[Event | None]:
        yield None


class _FloodedListener(_Unread):
    """Hears nothing but one namespace, and that without end."""

    is_drained = False

    def __init__(self) -> None:
        self.heeded = 0

    def drain(self, _: int, within_s: float, heeds: Callable[[int, int], bool]) -> Iterator[Event | None]:
        self.heeded = sum(heeds(NSID, 1) for _ in range(int(within_s * 1e6)))
        return iter(())


@dataclass(slots=True)
class Ear:
    """What the listening marks."""

    listening: Listening
    results: Results
    resyncs: list[None] = field(default_factory=list)
    damaged: list[AttachmentKey] = field(default_factory=list)


def listening_to(listener: object) -> Ear:
    desired = cast("Desired", _Nobody())
    statuses = Statuses(desired, Node)
    results = Results(desired, statuses, lambda *_: None, lambda *_: None, netns_gone_grace_s=1)
    resyncs: list[None] = []
    damaged: list[AttachmentKey] = []
    ear = Listening(
        cast("Listener", listener),
        results,
        damaged=damaged.append,
        node=lambda: None,
        network=lambda: None,
        resync=lambda: resyncs.append(None),
    )
    return Ear(ear, results, resyncs, damaged)


async def test_lost_events_cause_one_resync_at_once_and_one_after_the_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the kernel says that it lost messages, everything is read at once and once more afterwards; and the
    more seldom the longer that goes on."""
    monkeypatch.setattr(listening, "LOST_EVENTS_RESYNC_S", 0.01)
    ear = listening_to(_LossyListener())
    for _ in range(5):
        ear.listening.hear()
    assert ear.results.tally.lost_events == 5
    assert len(ear.resyncs) == 1
    began = time.monotonic()
    await until(lambda: len(ear.resyncs) == 2)
    ear.listening.hear()
    assert len(ear.resyncs) == 2
    await until(lambda: len(ear.resyncs) == 3)
    assert time.monotonic() - began >= 0.03
    await until(lambda: len(ear.resyncs) == 4)
    ear.listening.hear()
    assert len(ear.resyncs) == 5
    ear.listening.stop()


async def test_what_a_muted_namespace_holds_is_looked_at_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its messages are not read any more, its attachments are marked when that begins and again and again. One that
    nothing is attached to is never listened to."""
    monkeypatch.setattr(listening, "MUTED_LOOK_S", 0.01)
    listener = _FloodedListener()
    ear = listening_to(listener)
    ear.listening.hear()
    assert not listener.heeded
    ear.results.hints.learn(WEB, Hint(Link(Scope.NODE, "np1"), None, 7, 2, NSID), ())
    while not ear.results.floods.muted:
        ear.listening.hear()
        assert listener.heeded
    ear.listening.hear()
    assert not listener.heeded
    await until(lambda: ear.damaged == [WEB] * 3)
    ear.listening.stop()


class _CountedListener(_Unread):
    """Hears nothing, and counts how often it is asked."""

    is_drained = True

    def __init__(self) -> None:
        self.asked = 0
        self._told, self.tells = os.pipe()
        os.set_blocking(self._told, False)
        os.write(self.tells, b"x")

    def filenos(self) -> tuple[int, ...]:
        return (self._told,)

    def drain(self, *_: object) -> Iterator[Event | None]:
        self.asked += 1
        with suppress(BlockingIOError):
            os.read(self._told, 1)
        return iter(())

    def close(self) -> None:
        os.close(self._told)
        os.close(self.tells)


async def test_what_was_heard_right_after_a_pass_is_not_gathered_again() -> None:
    """The event loop tells of the same messages in the same turn; that is no reason to read again."""
    listener = _CountedListener()
    ear = listening_to(listener)
    ear.listening.start()
    asyncio.get_running_loop().call_soon(ear.listening.hear_now)
    await asyncio.sleep(10 * listening.GATHER_EVENTS_S)
    assert listener.asked == 1
    os.write(listener.tells, b"x")
    await until(lambda: listener.asked == 2)
    ear.listening.stop()
    listener.close()


async def test_gathered_messages_are_read_behind_who_is_answered_in_that_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client whose slice has just ended does not wait for them."""
    monkeypatch.setattr(listening, "GATHER_EVENTS_S", 0)
    loop = asyncio.get_running_loop()
    listener = _CountedListener()
    ear = listening_to(listener)
    slice_ended = loop.create_future()
    asked_before: list[int] = []
    slice_ended.add_done_callback(lambda _: asked_before.append(listener.asked))
    told, tells = os.pipe()
    os.write(tells, b"x")

    def in_the_next_turn() -> None:
        loop.remove_reader(told)
        loop.call_soon(slice_ended.set_result, None)

    loop.add_reader(told, in_the_next_turn)
    ear.listening.start()
    await until(lambda: bool(listener.asked))
    assert asked_before == [0]
    ear.listening.stop()
    listener.close()
    for end in (told, tells):
        os.close(end)
