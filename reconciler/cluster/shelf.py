"""A durable copy of a range of etcd's keys, complete as of a revision (the position): only on disk, where there may be
a hundred thousand of which most are never needed, or in memory too, where all of them are looked at again and again.

A shelf is an SQLite file. Each change is written to it, together with the position, before it is acted on: a daemon
that starts while etcd is away knows at least what its predecessor acted on, and reverts nothing. It is of use only to
the machine and the cluster that wrote it, which the caller checks. A file that is damaged, or holds other keys, is
created anew."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import structlog

from netplumb.reconciler.cluster.etcd.entries import Entry, Keys, key_bytes, key_text
from netplumb.reconciler.cluster.etcd.errors import Away

_TABLES = """
create table if not exists kept (key blob primary key, value blob, created integer, modified integer) without rowid;
create table if not exists at (position integer, keys text);
update kept set key = cast(key as blob) where typeof(key) <> 'blob';
"""
"""Keys are bytes, in the order of these; earlier versions wrote text, which could not be said of every key."""

log = structlog.get_logger(__name__)


class InMemory(dict[str, Entry]):
    """All of it at hand, and nothing after a death."""

    def __init__(self, entries: Mapping[str, Entry], position: int) -> None:
        super().__init__(entries)
        self.position = position

    def take(self, changes: Mapping[str, Entry | None], position: int) -> None:
        for key, entry in changes.items():
            if entry is None:
                self.pop(key, None)
            else:
                self[key] = entry
        self.position = position

    def replace(self, entries: Mapping[str, Entry], position: int) -> Collection[str]:
        """With what is all there is now; the keys of which something else is known than before."""
        different = [key for key in self.keys() | entries.keys() if self.get(key) != entries.get(key)]
        self.take({key: entries.get(key) for key in different}, position)
        return different


class AtHand(InMemory):
    """All of a shelf. Raises Away as that does."""

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf.all(), shelf.position)
        self._shelf = shelf

    def take(self, changes: Mapping[str, Entry | None], position: int) -> None:
        self._shelf.take(changes, position)
        super().take(changes, position)


class Shelf:
    """Used on one thread. What it cannot write is as if it had not come: raises Away, so that it comes again."""

    def __init__(self, path: Path, keys: str, *, as_left: bool, looks_only: bool = False) -> None:
        """Of what begins with `keys`. `as_left` is whether what is there is of this machine and cluster. Who
        `looks_only`, beside a daemon maybe, changes nothing."""
        self._path = path
        self._keys = keys
        if looks_only:
            self._file = self._looked_at()
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._file = self._opened(as_left=as_left)
        except sqlite3.Error as error:
            log.warning("what was known of the cluster is lost; it is read anew", file=str(path), cause=str(error))
            self._file = self._opened(as_left=False)

    def _opened(self, *, as_left: bool) -> sqlite3.Connection:
        if not as_left:
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        file = sqlite3.connect(self._path, isolation_level=None)
        self._path.chmod(0o600)
        file.execute("pragma journal_mode=wal")
        file.execute("pragma synchronous=normal")
        return self._read(file)

    def _looked_at(self) -> sqlite3.Connection:
        with suppress(sqlite3.Error):
            return self._read(sqlite3.connect(f"file:{quote(str(self._path))}?mode=ro", uri=True), is_new=False)
        return self._read(sqlite3.connect(":memory:"))

    def _read(self, file: sqlite3.Connection, *, is_new: bool = True) -> sqlite3.Connection:
        if is_new:
            file.executescript(_TABLES)
            file.execute("insert into at select 0, ? where not exists (select * from at)", (self._keys,))
        position, keys = file.execute("select position, keys from at").fetchone() or (0, self._keys)
        if keys != self._keys:
            raise sqlite3.DatabaseError(f"it is of {keys}, and not of {self._keys}")
        self.position = int(position)
        return file

    def close(self) -> None:
        self._file.close()

    def __len__(self) -> int:
        (number,) = self._file.execute("select count(*) from kept").fetchone()
        return int(number)

    def get(self, key: str) -> Entry | None:
        row = self._file.execute(
            "select value, created, modified from kept where key = ?", (key_bytes(key),)
        ).fetchone()
        return Entry(*row) if row is not None else None

    def all(self) -> dict[str, Entry]:
        rows = self._file.execute("select cast(key as blob), value, created, modified from kept")
        return {key_text(key): Entry(*rest) for key, *rest in rows}

    def below(self, first: str, after: str, most: int) -> Iterator[tuple[str, Entry]]:
        """Some of those that begin so, in the order of their keys, behind one."""
        keys = Keys(first)
        rows = self._file.execute(
            "select key, value, created, modified from kept where key > ? and key < ? order by key limit ?",
            (max(key_bytes(after), keys.begin), keys.end, most),
        ).fetchall()
        return ((key_text(key), Entry(*rest)) for key, *rest in rows)

    def take(self, changes: Mapping[str, Entry | None], position: int) -> None:
        try:
            self._file.execute("begin")
            for key, entry in changes.items():
                if entry is None:
                    self._file.execute("delete from kept where key = ?", (key_bytes(key),))
                else:
                    row = (key_bytes(key), entry.value, entry.created, entry.modified)
                    self._file.execute("insert or replace into kept values (?, ?, ?, ?)", row)
            self._file.execute("update at set position = ?", (position,))
            self._file.execute("commit")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                self._file.execute("rollback")
            raise Away(f"{self._path}: cannot be written: {error}") from error
        self.position = position

    def replace(self, entries: Mapping[str, Entry], position: int) -> Collection[str]:
        known = {key_text(key): it for key, it in self._file.execute("select key, modified from kept")}
        changes: dict[str, Entry | None] = {key: it for key, it in entries.items() if known.get(key) != it.modified}
        changes |= dict.fromkeys(known.keys() - entries.keys())
        self.take(changes, position)
        return changes.keys()
