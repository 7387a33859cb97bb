"""The file that events are kept in: SQLite beside the store, for one boot of one node as the store is.

It is worth less than what it tells of. So it is bounded in bytes and in events, of one attachment too; one that cannot
be read is begun anew, and where there is no room, events live in memory alone. Nothing raises but what is a mistake.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from netplumb.models.attachment import AttachmentKey
from netplumb.models.events import Event, EventKind, EventQuery
from netplumb.reconciler.desired.storefile import is_damage

EVENTS_MOST = 10_000
LANE_MOST = 200
"""Of one attachment, of all refusals, of all denied packets, and of the node: what one makes many of must not drive out
the others'."""

_PAGES_MOST = 2048  # of 4 KiB; SQLite refuses what would need more, and then all but the newest go
_SCHEMA = "1"
_COLUMNS = "number, lane, at, first_at, count, kind, workload_id, if_name, message, found, done, lasted_s, at_most"
_TABLES = (
    "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS event (number INTEGER PRIMARY KEY, lane TEXT NOT NULL, at REAL NOT NULL,
    first_at REAL NOT NULL, count INTEGER NOT NULL, kind TEXT NOT NULL, workload_id TEXT, if_name TEXT,
    message TEXT NOT NULL, found TEXT NOT NULL, done TEXT NOT NULL, lasted_s REAL, at_most INTEGER NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS event_lane ON event (lane, number)",
)

log = structlog.get_logger(__name__)


def path_in(data_dir: Path) -> Path:
    return data_dir / "events.db"


def remove(data_dir: Path) -> None:
    """Forgets what happened."""
    path = path_in(data_dir)
    for name in (path, path.with_name(f"{path.name}-journal")):
        with suppress(OSError):
            name.unlink(missing_ok=True)


class EventFile:
    """`node` names boot and node namespace. It is used by one thread at a time."""

    def __init__(self, data_dir: Path, node: str) -> None:
        self._data_dir = data_dir
        self._node = node
        self._database = self._opened()

    def _opened(self) -> sqlite3.Connection:
        path = path_in(self._data_dir)
        try:
            return _connected(str(path), self._node)
        except (sqlite3.DatabaseError, ValueError) as error:
            if not isinstance(error, ValueError):
                log.warning("the file of events cannot be used", file=str(path), cause=str(error))
            if isinstance(error, ValueError) or is_damage(error):
                remove(self._data_dir)
        try:
            return _connected(str(path), self._node)
        except (sqlite3.DatabaseError, ValueError):
            log.warning("events are kept in memory alone")
            return _connected(":memory:", self._node)

    @property
    def last_number(self) -> int:
        return int(self._database.execute("SELECT COALESCE(MAX(number), 0) FROM event").fetchone()[0])

    def write(self, events: Sequence[Event]) -> bool:
        """Keeps these, and of all the newest. One with a number that is kept replaces that. False if it could not."""
        try:
            with self._database as database:
                placeholders = ", ".join("?" for _ in _COLUMNS.split(","))
                database.executemany(f"INSERT OR REPLACE INTO event VALUES ({placeholders})", map(_row, events))
                for lane in {_lane(event) for event in events}:
                    database.execute(
                        "DELETE FROM event WHERE lane = ? AND number <= "
                        "(SELECT number FROM event WHERE lane = ? ORDER BY number DESC LIMIT 1 OFFSET ?)",
                        (lane, lane, LANE_MOST),
                    )
                # By their count: numbers are given to those that went with their lane, too.
                database.execute(
                    "DELETE FROM event WHERE number <= "
                    "(SELECT number FROM event ORDER BY number DESC LIMIT 1 OFFSET ?)",
                    (EVENTS_MOST,),
                )
        except sqlite3.Error as error:
            log.warning("events are not stored", cause=str(error))
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:  # not all have one
                self._halve()
            return False
        return True

    def _halve(self) -> None:
        """Makes room where events are larger than was thought of; a disk without any may not allow even that."""
        with suppress(sqlite3.Error), self._database as database:
            database.execute(
                "DELETE FROM event WHERE number < "
                "(SELECT number FROM event ORDER BY number LIMIT 1 OFFSET (SELECT (COUNT(*) + 1) / 2 FROM event))"
            )

    def read(self, query: EventQuery) -> list[Event]:
        """What is asked for, the oldest first."""
        where, values = ["at >= ?"], list[object]([query.since])
        if query.about:
            where.append("(workload_id = ? OR workload_id || '/' || if_name = ?)")
            values += [query.about, query.about]
        order = f"ORDER BY at DESC, number DESC LIMIT {query.most or EVENTS_MOST}"
        try:
            rows = self._database.execute(f"SELECT * FROM event WHERE {' AND '.join(where)} {order}", values).fetchall()
        except sqlite3.Error as error:
            log.warning("events are not read", cause=str(error))
            return []
        return [_event(row) for row in reversed(rows)]

    def close(self) -> None:
        self._database.close()


def _connected(path: str, node: str) -> sqlite3.Connection:
    """Raises sqlite3.DatabaseError for a file that is none or cannot be written, ValueError for one that is damaged, or
    of another node."""
    database = sqlite3.connect(path, timeout=1, check_same_thread=False)
    try:
        # The rollback journal with which a killed daemon leaves no half of a transaction. The disk need not be waited
        # for: what outlives the boot is not wanted.
        for pragma in ("journal_mode=TRUNCATE", "synchronous=OFF", "cache_size=-256", f"max_page_count={_PAGES_MOST}"):
            database.execute(f"PRAGMA {pragma}")
        if database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise ValueError("damaged")
        with database:
            for statement in _TABLES:
                database.execute(statement)
            meta = {"schema": _SCHEMA, "node": node}
            for name, value in meta.items():
                database.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (name, value))
            if dict(database.execute("SELECT name, value FROM meta")) != meta:
                raise ValueError("of another boot, node or version")
    except BaseException:
        database.close()
        raise
    return database


def _lane(event: Event) -> str:
    if event.kind is EventKind.REFUSED or event.kind is EventKind.DENIED:
        return str(event.kind.value)
    return str(event.key) if event.key is not None else ""


def _row(event: Event) -> tuple[object, ...]:
    key = event.key if event.key is not None else (None, None)
    return (
        event.number,
        _lane(event),
        event.at,
        event.first_at,
        event.count,
        event.kind.value,
        *key,
        event.message,
        json.dumps(event.found) if event.found else "[]",
        json.dumps(event.done) if event.done else "[]",
        event.lasted_s,
        event.at_most,
    )


def _event(row: Iterable[Any]) -> Event:
    number, _, at, first_at, count, kind, workload_id, if_name, message, found, done, lasted_s, at_most = row
    return Event(
        EventKind(kind),
        AttachmentKey(workload_id, if_name) if workload_id is not None else None,
        message,
        tuple(json.loads(found)),
        tuple(json.loads(done)),
        lasted_s,
        bool(at_most),
        number,
        at,
        first_at,
        count,
    )
