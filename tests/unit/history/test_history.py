"""The history: told at no cost, kept within bounds, written beside, there again after a death."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from netplumb.models.attachment import AttachmentKey
from netplumb.models.events import Event, EventKind, EventQuery
from netplumb.models.status import PoolUsage
from netplumb.reconciler.history import eventfile, history
from netplumb.reconciler.history.eventfile import EventFile
from netplumb.reconciler.history.history import History
from tests.unit.recorder import until

WEB, DB = AttachmentKey("web", "eth0"), AttachmentKey("db", "eth0")
ALL = EventQuery()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "GATHER_S", 0.0)


@asynccontextmanager
async def running(file: EventFile, usage: tuple[PoolUsage, ...] = ()) -> AsyncIterator[History]:
    """A history that writes, and has written all when this ends."""
    made = History(file, lambda: usage)
    task = asyncio.create_task(made.run())
    await asyncio.sleep(0)
    try:
        yield made
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def event(number: int, key: AttachmentKey | None = WEB, kind: EventKind = EventKind.RETRYING) -> Event:
    return Event(kind, key, f"message {number}")


def messages(events: list[Event]) -> list[str]:
    return [it.message for it in events]


async def test_what_was_told_is_there_after_a_death(tmp_path: Path) -> None:
    """In its order and with all its words, and numbers go on."""
    full = Event(EventKind.REPAIRED, WEB, "2 objects", ("a\nb", "c"), ("added", "removed"), 0.5, True)
    file = EventFile(tmp_path, "node")
    async with running(file) as made:
        made.tell(full, event(1, DB), event(2, None))
    file.close()
    again = EventFile(tmp_path, "node")
    found = again.read(ALL)
    assert replace(found[0], number=0, at=0.0, first_at=0.0) == full
    assert [it.number for it in found] == [1, 2, 3]
    assert [it.key for it in found] == [WEB, DB, None]
    async with running(again) as made:
        made.tell(event(3))
        assert [it.number for it in await made.kept(ALL)] == [1, 2, 3, 4]


async def test_what_is_not_written_yet_is_told_too(tmp_path: Path) -> None:
    made = History(EventFile(tmp_path, "node"))
    made.tell(event(1), event(2))
    assert messages(await made.kept(ALL)) == ["message 1", "message 2"]
    assert messages(await made.kept(EventQuery(most=1))) == ["message 2"]


async def test_the_same_again_is_one_event_that_is_counted(tmp_path: Path) -> None:
    """Also after it was written, but not where what went wrong is another thing, or something else became of it."""
    file = EventFile(tmp_path, "node")
    async with running(file) as made:
        made.tell(event(1))
        await made.kept(ALL)
        made.tell(event(1), event(1, DB), event(3, kind=EventKind.REPAIRED), event(1), event(2))
        made.tell(event(4, kind=EventKind.ATTACHED), event(2))
    found = [it for it in file.read(ALL) if it.key == WEB]
    assert [(it.message, it.count) for it in found] == [
        ("message 3", 1),
        ("message 1", 3),
        *(("message 2", 1), ("message 4", 1), ("message 2", 1)),
    ]
    assert found[1].first_at < found[0].at < found[1].at


async def test_the_same_long_after_is_an_event_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = History(EventFile(tmp_path, "node"))
    made.tell(event(1))
    monkeypatch.setattr(history, "AGAIN_WITHIN_S", 0.0)
    made.tell(event(1))
    assert [it.count for it in await made.kept(ALL)] == [1, 1]


async def test_one_attachment_does_not_drive_out_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a bound, so have refusals together, whoever they name, and so has the whole, of what is kept: numbers of
    what went with its lane drive out nobody."""
    monkeypatch.setattr(eventfile, "LANE_MOST", 3)
    monkeypatch.setattr(eventfile, "EVENTS_MOST", 7)
    file = EventFile(tmp_path, "node")
    file.write([Event(EventKind.ATTACHED, DB, "", number=1)])
    noisy = [Event(EventKind.REPAIRED, WEB, str(n), number=n, at=n) for n in range(2, 7)]
    refusals = [Event(EventKind.REFUSED, AttachmentKey(str(n), "eth0"), str(n), number=n, at=n) for n in range(7, 10)]
    file.write([*noisy, *refusals])
    assert [it.number for it in file.read(ALL)] == [1, 4, 5, 6, 7, 8, 9]
    file.write([Event(EventKind.REFUSED, AttachmentKey("x", "eth0"), "", number=10, at=10)])
    assert [it.number for it in file.read(ALL)] == [1, 4, 5, 6, 8, 9, 10]
    file.write([Event(EventKind.ATTACHED, AttachmentKey("y", "eth0"), "", number=11, at=11)])
    assert [it.number for it in file.read(ALL)] == [4, 5, 6, 8, 9, 10, 11]


async def test_who_follows_is_told_what_comes(tmp_path: Path) -> None:
    """What is kept first, then each event that is asked for, once."""
    async with running(EventFile(tmp_path, "node")) as made:
        made.tell(event(1), event(1, DB))
        async with aclosing(made.events(EventQuery("web"), follow=True)) as followed:  # type: ignore[type-var]
            assert (await anext(followed)).message == "message 1"
            coming = asyncio.ensure_future(anext(followed))
            await asyncio.sleep(0)
            made.tell(event(2, DB), event(3))
            assert (await coming).message == "message 3"
        assert not made._followers


async def test_without_following_it_ends(tmp_path: Path) -> None:
    async with running(EventFile(tmp_path, "node")) as made:
        made.tell(event(1))
        assert messages([it async for it in made.events(ALL)]) == ["message 1"]


async def test_a_pool_that_fills_up_is_told(tmp_path: Path) -> None:
    file = EventFile(tmp_path, "node")
    async with running(file, (PoolUsage("10.0.0.0/30", 1, 1),)) as made:
        made.tell(event(1))
        await until(lambda: bool(made._full))
    assert [it.kind for it in file.read(ALL)] == [EventKind.RETRYING, EventKind.POOL_NEARLY_FULL]


async def test_each_event_is_logged_once(tmp_path: Path) -> None:
    """As a warning where somebody should look, with the attachment and what was found."""
    repair = Event(EventKind.REPAIRED, WEB, "1 object", ("route was missing",), ("added",), 0.5)
    with capture_logs() as logs:
        async with running(EventFile(tmp_path, "node")) as made:
            made.tell(repair)
            await made.kept(ALL)
            made.tell(event(1))
    assert [(it["log_level"], it["event"], it["attachment"]) for it in logs] == [
        ("info", "Repaired", "web/eth0"),
        ("warning", "Retrying", "web/eth0"),
    ]
    assert (logs[0]["found"], logs[0]["lasted"]) == ("route was missing", "0.500 s")


async def test_what_goes_on_is_logged_ever_more_rarely(tmp_path: Path) -> None:
    """A step that fails all night is some lines in the log, not thousands."""
    with capture_logs() as logs:
        async with running(EventFile(tmp_path, "node")) as made:
            for _ in range(9):
                made.tell(event(1))
                await until(lambda: not made._unwritten)
    assert [it.get("times", "1") for it in logs] == ["1", "2", "4", "8"]


async def test_what_cannot_be_written_is_kept_and_written_later(tmp_path: Path) -> None:
    """As on a full disk; nobody is disturbed by it."""
    file = EventFile(tmp_path, "node")
    with capture_logs():
        async with running(file) as made:
            file._database.execute("PRAGMA query_only = 1")
            made.tell(event(1))
            await until(lambda: not made._unlogged)
            assert messages(await made.kept(ALL)) == ["message 1"]
            file._database.execute("PRAGMA query_only = 0")
            made.tell(event(2))
    assert messages(file.read(ALL)) == ["message 1", "message 2"]


def test_events_of_another_boot_or_node_are_forgotten(tmp_path: Path) -> None:
    file = EventFile(tmp_path, "node")
    file.write([Event(EventKind.ATTACHED, WEB, "", number=1)])
    file.close()
    assert EventFile(tmp_path, "another").read(ALL) == []


def test_a_damaged_file_is_begun_anew(tmp_path: Path) -> None:
    eventfile.path_in(tmp_path).write_bytes(b"no database at all, but long enough for a header of one" * 20)
    with capture_logs() as logs:
        file = EventFile(tmp_path, "node")
    assert logs[0]["event"] == "the file of events cannot be used"
    assert file.write([Event(EventKind.ATTACHED, WEB, "", number=1)])
    assert sqlite3.connect(eventfile.path_in(tmp_path)).execute("SELECT COUNT(*) FROM event").fetchone() == (1,)


def test_a_file_with_damage_inside_is_begun_anew(tmp_path: Path) -> None:
    """Its header is whole, and what it holds is not."""
    file = EventFile(tmp_path, "node")
    file.write([Event(EventKind.FAILED, WEB, "x" * 3000, number=n) for n in range(1, 20)])
    file.close()
    path = eventfile.path_in(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + bytes([0xA5]) * 8192 + whole[16384:])
    again = EventFile(tmp_path, "node")
    assert again.read(ALL) == []
    assert again.write([Event(EventKind.ATTACHED, WEB, "", number=1)])


def test_a_full_disk_says_nothing_about_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it holds is there again with the next start."""
    file = EventFile(tmp_path, "node")
    file.write([Event(EventKind.ATTACHED, WEB, "", number=1)])
    file.close()
    real = eventfile._connected

    def full(path: str, node: str) -> sqlite3.Connection:
        if path == ":memory:":
            return real(path, node)
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    with monkeypatch.context() as patch, capture_logs():
        patch.setattr(eventfile, "_connected", full)
        assert EventFile(tmp_path, "node").read(ALL) == []
    assert len(EventFile(tmp_path, "node").read(ALL)) == 1


def test_without_a_place_events_live_in_memory(tmp_path: Path) -> None:
    """A directory that is not there, or cannot be written, keeps no daemon from its work."""
    with capture_logs() as logs:
        file = EventFile(tmp_path / "missing", "node")
    assert logs[-1]["event"] == "events are kept in memory alone"
    assert file.write([Event(EventKind.ATTACHED, WEB, "", number=1)])
    assert len(file.read(ALL)) == 1


def test_a_file_that_is_full_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The older half goes; what was refused is written with the next."""
    monkeypatch.setattr(eventfile, "_PAGES_MOST", 32)
    monkeypatch.setattr(eventfile, "LANE_MOST", 10_000)
    file = EventFile(tmp_path, "node")
    number = 0
    with capture_logs() as logs:
        while not logs:
            number += 1
            file.write([Event(EventKind.FAILED, WEB, "x" * 1000, number=number, at=number)])
    assert file.write([Event(EventKind.FAILED, WEB, "last", number=number, at=number)])
    kept = file.read(ALL)
    assert kept[-1].message == "last"
    assert 0 < len(kept) < number
