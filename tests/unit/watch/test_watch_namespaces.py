"""The watch of named namespaces: whom a name concerns is marked, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from netplumb.models.attachment import AttachmentKey
from netplumb.reconciler.kernel.inotify import Names
from netplumb.reconciler.status.retries import PENDING_LEAST_S, pending_s
from netplumb.reconciler.watch import namespaces
from netplumb.reconciler.watch.namespaces import NamespaceWatch
from tests.unit.benches import DB, WEB, Bench, wish
from tests.unit.recorder import until

WITHIN_S = 5.0


class Watched:
    """A watch on a directory of which the test tells, and what it marked."""

    def __init__(self, bench: Bench, directory: Path) -> None:
        self.told: asyncio.Queue[Names | OSError] = asyncio.Queue()
        self.unsettled: list[AttachmentKey] = []
        self.marked: list[AttachmentKey] = []
        self.looks = 0
        self.watch = NamespaceWatch(directory, bench.desired, self._unsettled, self._mark)

    def _unsettled(self) -> list[AttachmentKey]:
        self.looks += 1
        return self.unsettled

    def _mark(self, key: AttachmentKey) -> None:
        self.marked.append(key)

    async def names(self, _: Path) -> AsyncIterator[Names]:
        while True:
            told = await self.told.get()
            if isinstance(told, OSError):
                self.told.task_done()
                raise told
            yield told
            self.told.task_done()

    def appeared(self, *names: str) -> None:
        self.told.put_nowait(Names(appeared=set(names)))

    def went(self, *names: str) -> None:
        self.told.put_nowait(Names(gone=set(names)))

    async def marks(self) -> set[AttachmentKey]:
        """Whom all that was told of has marked."""
        await asyncio.wait_for(self.told.join(), WITHIN_S)
        marked, self.marked = set(self.marked), []
        return marked


@pytest.fixture
async def watched(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    """Two attachments, one of them by a path that leads to the directory by another way."""
    bench.desired.attach(wish(), 7)
    bench.desired.attach(wish("db", netns={"path": "/var/run/netns/db"}), 8)
    made = Watched(bench, tmp_path / "netns")
    monkeypatch.setattr(namespaces, "told_of", made.names)
    monkeypatch.setattr(namespaces, "REWATCH_S", 0.02)
    task = asyncio.create_task(made.watch.run())
    yield made
    task.cancel()


async def test_a_name_that_appears_is_for_those_who_wait_for_it(watched: Watched) -> None:
    """Others that wait are not looked at for it, nor is who is settled."""
    await until(lambda: watched.looks == 1)  # at what came before the watch began
    watched.unsettled = [WEB, DB]
    watched.appeared("db", "other")
    assert await watched.marks() == {DB}
    watched.unsettled = [DB]
    watched.appeared("web", "db")
    assert await watched.marks() == {DB}


async def test_after_a_name_appeared_it_is_looked_at_again(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes before its namespace is mounted there, of which nothing tells; and who was being looked at just then was
    not among those who wait."""
    monkeypatch.setattr(namespaces, "LOOK_AGAIN_S", (0.01, 1.0))
    watched.unsettled = [WEB]
    await until(lambda: bool(watched.marked))  # the look at what came before the watch began is at all of them
    watched.unsettled = []
    watched.appeared("db")
    assert await watched.marks() == {WEB}
    watched.unsettled = [WEB, DB]
    await until(lambda: bool(watched.marked))
    assert await watched.marks() == {DB}


async def test_what_came_before_the_watch_began_is_found(watched: Watched) -> None:
    watched.unsettled = [WEB]
    await until(lambda: bool(watched.marked))
    assert await watched.marks() == {WEB}


async def test_a_name_that_goes_is_for_whoever_was_attached_by_it(watched: Watched) -> None:
    watched.went("web", "other")
    assert await watched.marks() == {WEB}


async def test_who_is_no_longer_desired_is_not_looked_for(watched: Watched) -> None:
    watched.unsettled = [AttachmentKey("gone", "eth0")]
    watched.appeared("gone")
    assert await watched.marks() == set()


async def test_after_a_gap_in_the_watch_all_who_wait_are_looked_at(watched: Watched) -> None:
    """What changed meanwhile nobody saw; then it is watched again."""
    watched.unsettled = [WEB]
    await until(lambda: bool(watched.marked))  # what came before the watch began
    watched.marked.clear()
    watched.unsettled = [WEB, DB]
    watched.told.put_nowait(OSError("no more watches"))
    await until(lambda: len(watched.marked) == 2)
    assert await watched.marks() == {WEB, DB}
    watched.appeared("web")
    assert await watched.marks() == {WEB}


def test_thousands_that_wait_look_less_often() -> None:
    """However many wait, there are no more than so many looks a second."""
    assert pending_s(1) == pending_s(100) == PENDING_LEAST_S
    assert [waiting / pending_s(waiting) for waiting in (1_000, 10_000)] == [200, 200]
