"""Looking for proxy neighbours: what is missing is marked, and a look costs what it may."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Set
from contextlib import suppress
from itertools import chain, repeat

import pytest

from netplumb.models.attachment import AttachmentKey
from netplumb.models.errors import Retryable
from netplumb.models.kernel import Link, Scope
from netplumb.reconciler.converge.hints import Hint, Hints
from netplumb.reconciler.watch import proxies
from netplumb.reconciler.watch.proxies import watch_proxies

WEB, DB = AttachmentKey("web", "eth0"), AttachmentKey("db", "eth0")


class Answers:
    """A kernel whose looks show what they are told to, the last of it for good."""

    def __init__(self, *looks: Set[int] | Retryable) -> None:
        self._looks: Iterator[Set[int] | Retryable] = chain(looks, repeat(looks[-1]))
        self._left = len(looks)
        self.all_asked = asyncio.Event()

    def indexes(self) -> Set[int]:
        self._left -= 1
        if self._left < 0:
            self.all_asked.set()
        look = next(self._looks)
        if isinstance(look, Retryable):
            raise look
        return look


@pytest.fixture
def hints() -> Hints:
    made = Hints()
    for key, index in ((WEB, 7), (DB, 8)):
        made.learn(key, Hint(Link(Scope.NODE, "np", proxy_ndp=True), None, index, 2, index), ())
    return made


async def watched(answers: Answers, hints: Hints) -> list[AttachmentKey]:
    """What these looks mark, and one more like the last."""
    marked: list[AttachmentKey] = []
    task = asyncio.create_task(watch_proxies(answers, hints, marked.append))
    await answers.all_asked.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return marked


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the watch paused; no time passes meanwhile."""
    seen: list[float] = []
    sleep = asyncio.sleep

    async def at_once(pause_s: float) -> None:
        if pause_s:
            seen.append(pause_s)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", at_once)
    return seen


async def test_what_is_missing_is_marked(hints: Hints) -> None:
    """As long as it is missing, and what is there is not."""
    assert await watched(Answers({7, 8}), hints) == []
    assert await watched(Answers({8, 9}, {8}, {7, 8}), hints) == [WEB, WEB]


async def test_a_look_that_fails_marks_nothing(hints: Hints) -> None:
    """A dump that was interrupted says nothing of what is missing; the next one does."""
    assert await watched(Answers(Retryable("interrupted"), {7}, {7, 8}), hints) == [DB]


async def test_nobody_looks_where_there_is_nothing_to_miss() -> None:
    """Without attachments no look is taken."""
    answers = Answers(set())
    task = asyncio.create_task(watch_proxies(answers, Hints(), lambda _: None))
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    assert not answers.all_asked.is_set()


async def test_a_look_that_costs_more_is_taken_less_often(
    hints: Hints, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pause follows the cost of the look, and is never shorter than its least."""
    times = iter((0.0, 0.0001, 1.0, 1.002, 2.0, 2.0))  # a tenth of a millisecond, then two
    monkeypatch.setattr(time, "thread_time", lambda: next(times))
    await watched(Answers({7, 8}, {7, 8}), hints)
    assert pauses[:2] == [proxies.PAUSE_LEAST_S, pytest.approx(0.4)]
