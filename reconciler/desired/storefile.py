"""The store's file before anything in it is believed: locked, opened, judged, brought to this schema, or set aside.

A file that cannot be used is never overwritten: it is set aside whole, with SQLite's log of it, or the start is refused
with what to do. A disk that is full or read-only says nothing about the file, and is never taken for damage.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Mapping
from enum import Enum
from errno import EROFS
from itertools import count
from pathlib import Path
from struct import Struct
from urllib.parse import quote

from netplumb.models.errors import NetplumbError

SCHEMA = 4
"""Grows with every table and every field of a record that an older netplumb would not know."""

TABLES = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE attachment (workload_id TEXT, if_name TEXT, record TEXT NOT NULL,
    PRIMARY KEY (workload_id, if_name)) WITHOUT ROWID""",
    """CREATE TABLE claim (source TEXT, workload_id TEXT, if_name TEXT, spec TEXT NOT NULL,
    PRIMARY KEY (source, workload_id, if_name)) WITHOUT ROWID""",
    "CREATE TABLE cursor (pool TEXT PRIMARY KEY, position TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE freed (number INTEGER PRIMARY KEY AUTOINCREMENT, address TEXT NOT NULL UNIQUE)",
    "CREATE TABLE sysctl (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE unclaimed (link TEXT PRIMARY KEY, addresses TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE reserved (address TEXT PRIMARY KEY, workload_id TEXT NOT NULL, if_name TEXT NOT NULL,
    until REAL NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE policy (number INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, kind TEXT NOT NULL,
    namespace TEXT NOT NULL, name TEXT NOT NULL, manifest TEXT NOT NULL, UNIQUE (source, kind, namespace, name))""",
)

MIGRATIONS: Mapping[int, tuple[str, ...]] = {1: (TABLES[6],), 2: (TABLES[7],), 3: (TABLES[8],)}
"""What brings a file of each older schema to the next one. A record's new fields have defaults and need nothing."""

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_WAL_MAGIC = (0x377F0682, 0x377F0683)  # https://www.sqlite.org/fileformat2.html#the_write_ahead_log
_WAL_HEADER_BYTES, _WAL_FRAME_HEADER_BYTES = 32, 24
_INDEX_HEADER = Struct("=12x?3xI")  # isInit and mxFrame, in the machine's byte order
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
_NO_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)


class StoreUnusableError(NetplumbError):
    """The store cannot be opened; the message says why and what to do."""


class Verdict(Enum):
    """What a file turned out to be."""

    USABLE = "usable"
    MISSING = "missing"
    DAMAGED = "damaged"
    FOREIGN = "other-boot-or-node"  # of another boot, or of another node


def lock(data_dir: Path) -> int:
    """Makes the directory and takes the lock that keeps a second daemon out; returns its descriptor."""
    try:
        data_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = _open_lock(data_dir / "lock")
    except OSError as error:
        raise StoreUnusableError(f"cannot use the data directory {data_dir}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreUnusableError(f"another netplumb daemon uses the data directory {data_dir}") from None
    return descriptor


def _open_lock(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno != EROFS:
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # what runs is still to be repaired


def connect(path: Path) -> sqlite3.Connection:
    """Opens the file, for writing if that can be. Raises StoreUnusableError, or sqlite3.DatabaseError for damage."""
    try:
        return _connected(path)
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            raise
        try:
            if error.sqlite_errorcode in _NO_ROOM:
                # Without a memory file to share, which the full disk has no room for.
                return _connected(path, "PRAGMA locking_mode=EXCLUSIVE")
            if error.sqlite_errorcode == sqlite3.SQLITE_CANTOPEN and _only_readable(path):
                # It was closed in good order, so there is no log to be read, and nobody can write it.
                return _connected(path, query="?immutable=1")
        except sqlite3.DatabaseError as second:
            error = second
        raise StoreUnusableError(f"cannot open {path}: {error}") from None


def _connected(path: Path, *first: str, query: str = "") -> sqlite3.Connection:
    uri = f"file:{quote(str(path.absolute()))}{query}"
    database = sqlite3.connect(uri, timeout=5, isolation_level="IMMEDIATE", cached_statements=64, uri=True)
    try:
        # What a sync would save, the kernel's death ends: a store of another boot is never read.
        for pragma in (*first, "PRAGMA journal_mode=WAL", "PRAGMA synchronous=OFF"):
            database.execute(pragma)
    except BaseException:
        database.close()
        raise
    return database


def _only_readable(path: Path) -> bool:
    """Whether the file system is read-only and SQLite's log of the file is empty."""
    read_only = os.statvfs(path.parent).f_flag & os.ST_RDONLY
    log = _beside(path, "wal")
    return bool(read_only) and path.is_file() and not (log.exists() and log.stat().st_size)


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether it is the file's fault, and not that of what it lies on."""
    return error.sqlite_errorcode & 0xFF in _DAMAGE


def open_usable(path: Path, node: str) -> sqlite3.Connection | Verdict:
    """The file as it can be read and written, or why it cannot be. Raises StoreUnusableError when that cannot be told,
    or when the file is not to be set aside."""
    if not path.exists():
        return Verdict.DAMAGED if _beside(path, "wal").exists() else Verdict.MISSING
    logged = _logged_frames(path)
    if path.is_file() and not (_is_database(path) and _is_log(_beside(path, "wal"), logged or 0)):
        return Verdict.DAMAGED  # seen before SQLite opens it, which would take a short file for a new one
    database: sqlite3.Connection | None = None
    try:
        database = connect(path)
        meta = dict(database.execute("SELECT name, value FROM meta"))
        schema = int(meta.get("schema", ""))
        if meta.get("node") != node:
            verdict = Verdict.FOREIGN
        elif (readable := _logged_frames(path)) is not None and readable < (logged or 0):
            verdict = Verdict.DAMAGED  # SQLite has passed over the end of its log, where it could not read it
        else:
            _migrate(path, database, schema)
            return database
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise StoreUnusableError(f"cannot read {path}: {error}") from None
        verdict = Verdict.DAMAGED
    except ValueError:
        verdict = Verdict.DAMAGED
    if database is not None:
        database.close()
    return verdict


def read_only(path: Path, node: str) -> sqlite3.Connection | Verdict:
    """The file for who only looks, beside a daemon that may be writing it. Nothing is set aside, migrated or made:
    where there is no log, SQLite is told that nobody writes, since it would make one. Raises sqlite3.Error, ValueError
    or OSError."""
    if not path.exists():
        return Verdict.MISSING
    if not _is_database(path):
        return Verdict.DAMAGED
    quiet = not _beside(path, "wal").exists()
    uri = f"file:{quote(str(path.absolute()))}?mode=ro{'&immutable=1' if quiet else ''}"
    database = sqlite3.connect(uri, timeout=5, uri=True)
    try:
        meta = dict(database.execute("SELECT name, value FROM meta"))
        usable = meta.get("node") == node and int(meta.get("schema", "")) <= SCHEMA
    except BaseException:
        database.close()
        raise
    if usable:
        return database
    database.close()
    return Verdict.FOREIGN


def _beside(path: Path, kind: str) -> Path:
    """SQLite's log of the file ("wal"), or its memory file ("shm"), which tells of the log."""
    return path.with_name(f"{path.name}-{kind}")


def _logged_frames(path: Path) -> int | None:
    """How many frames of the log are committed, as the memory file tells after a kill (walformat.html of SQLite, the
    WAL-index header). None where there is none, as after a stop in good order."""
    try:
        with _beside(path, "shm").open("rb") as memory:
            header = memory.read(_INDEX_HEADER.size)
    except FileNotFoundError:
        return None
    if len(header) < _INDEX_HEADER.size:
        return None
    initialised, frames = _INDEX_HEADER.unpack(header)
    return int(frames) if initialised else None


def _is_database(path: Path) -> bool:
    """Whether the file has SQLite's header (100 bytes, fileformat2.html as above) and whole pages."""
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        return False
    page = int.from_bytes(header[16:18], "big")
    return page >= 512 and path.stat().st_size % page == 0


def _is_log(path: Path, frames: int) -> bool:
    """Whether SQLite will take what is at the path for a log, and for all of it. It passes over any other, and takes
    the file beside it for the whole, without the last that was written."""
    try:
        with path.open("rb") as log:
            head = log.read(12)
    except FileNotFoundError:
        return not frames
    if not head:
        return not frames
    page = int.from_bytes(head[8:12], "big")
    whole = path.stat().st_size >= _WAL_HEADER_BYTES + frames * (_WAL_FRAME_HEADER_BYTES + page)
    return int.from_bytes(head[:4], "big") in _WAL_MAGIC and whole


def _migrate(path: Path, database: sqlite3.Connection, schema: int) -> None:
    if schema > SCHEMA:
        raise StoreUnusableError(
            f"{path} was written by a newer netplumb (schema {schema}; this one knows {SCHEMA}): run that version. "
            f"Or move the file away: what runs is then rebuilt from the kernel, less what only the file knows"
        )
    if schema < SCHEMA and schema not in MIGRATIONS:
        raise StoreUnusableError(f"{path} has schema {schema}, which no netplumb wrote; move the file away")
    while schema < SCHEMA:
        try:
            with database:
                database.execute("BEGIN IMMEDIATE")
                for statement in MIGRATIONS[schema]:
                    database.execute(statement)
                database.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (str(schema + 1),))
        except sqlite3.Error as error:
            raise StoreUnusableError(f"{path} cannot be brought from schema {schema} to the next: {error}") from None
        schema += 1


def set_aside(path: Path, verdict: Verdict) -> Path:
    """Moves the file and its log out of the way, and tells where to. Of files of other boots only the last is kept,
    since there is one more with each boot."""
    kept = path.with_name(f"{path.name}.{verdict.value}")
    if verdict is Verdict.DAMAGED:
        numbers = count(1)
        while kept.exists() or _beside(kept, "wal").exists():
            kept = path.with_name(f"{path.name}.{verdict.value}-{next(numbers)}")
    for suffix in ("", "-wal"):
        found, place = Path(f"{path}{suffix}"), Path(f"{kept}{suffix}")
        if found.exists():
            found.rename(place)
        else:
            place.unlink(missing_ok=True)  # the log of a file that was kept here before
    Path(f"{path}-shm").unlink(missing_ok=True)
    return kept
