"""Desired state, durable: one SQLite file (WAL) that survives any death of the daemon but not the boot.

Namespaces do not outlive a boot, so what was attached to them must not either: the file carries the boot id and the
cookie of the node's own namespace, and one of another boot or node is set aside and started afresh. Every change is
one transaction, written before anything in memory or in the kernel follows from it.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from pydantic import ValidationError

from models.attachment import Attachment, AttachmentKey, AttachmentSpec
from models.base import IPAddress
from models.errors import NetplumbError, StoreUnwritable

SCHEMA = 1
_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE attachment (workload_id TEXT, if_name TEXT, record TEXT NOT NULL, PRIMARY KEY (workload_id, if_name))
    WITHOUT ROWID;
CREATE TABLE claim (source TEXT, workload_id TEXT, if_name TEXT, spec TEXT NOT NULL,
    PRIMARY KEY (source, workload_id, if_name)) WITHOUT ROWID;
CREATE TABLE cursor (pool TEXT PRIMARY KEY, position TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE freed (number INTEGER PRIMARY KEY AUTOINCREMENT, address TEXT NOT NULL UNIQUE);
CREATE TABLE sysctl (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class StoreUnusableError(NetplumbError):
    """The store cannot be opened; the message says why and what to do."""


@dataclass(slots=True)
class Change:
    """What one transaction writes."""

    put: Sequence[Attachment] = ()
    delete: Sequence[AttachmentKey] = ()
    claims: Mapping[str, Mapping[AttachmentKey, AttachmentSpec]] = field(default_factory=dict)
    taken: Sequence[IPAddress] = ()
    freed: Sequence[IPAddress] = ()
    cursors: Sequence[tuple[str, int]] = ()


@dataclass(slots=True)
class Contents:
    """What was stored, in the order in which it was freed where that matters."""

    attachments: dict[AttachmentKey, Attachment] = field(default_factory=dict)
    claims: dict[str, dict[AttachmentKey, AttachmentSpec]] = field(default_factory=dict)
    cursors: dict[str, int] = field(default_factory=dict)
    freed: list[IPAddress] = field(default_factory=list)
    sysctls: dict[str, str] = field(default_factory=dict)


class Store:
    """The one writer of the file; a lock beside it keeps a second daemon out. `node` names boot and node namespace."""

    def __init__(self, data_dir: Path, node: str) -> None:
        self._path = data_dir / "netplumb.db"
        try:
            data_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._lock = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnusableError(f"cannot use the data directory {data_dir}: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise StoreUnusableError(f"another netplumb daemon uses the data directory {data_dir}") from None
        self.set_aside: Path | None = None
        try:
            self._database = self._open(node)
        except BaseException:
            os.close(self._lock)
            raise

    def _open(self, node: str) -> sqlite3.Connection:
        if self._path.exists() and (why := self._unusable(node)):
            self._set_aside(why)
        database = self._connect()
        try:
            if not database.execute("SELECT 1 FROM sqlite_master").fetchone():
                with database:
                    database.execute("BEGIN IMMEDIATE")
                    for statement in _TABLES.split(";"):
                        database.execute(statement)
                    database.execute("INSERT INTO meta VALUES ('schema', ?), ('node', ?)", (str(SCHEMA), node))
        except sqlite3.Error as error:
            database.close()
            raise StoreUnusableError(f"cannot set up {self._path}: {error}") from None
        return database

    def _connect(self) -> sqlite3.Connection:
        try:
            database = sqlite3.connect(self._path, timeout=5, isolation_level="IMMEDIATE", cached_statements=64)
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=FULL")
        except sqlite3.Error as error:
            raise StoreUnusableError(f"cannot open {self._path}: {error}") from None
        return database

    def _unusable(self, node: str) -> str:
        """Why the file there is not this node's store; empty if it is."""
        try:
            database = self._connect()
            try:
                meta = dict(database.execute("SELECT name, value FROM meta"))
            finally:
                database.close()
        except (sqlite3.Error, StoreUnusableError):
            return "damaged"
        if meta.get("schema") != str(SCHEMA):
            raise StoreUnusableError(
                f"{self._path} has schema {meta.get('schema')}, this netplumb knows {SCHEMA}; "
                "run the version that wrote it, or move the file away"
            )
        return "" if meta.get("node") == node else "other-boot"

    def _set_aside(self, why: str) -> None:
        self.set_aside = self._path.with_name(f"{self._path.name}.{why}")
        self._path.rename(self.set_aside)
        for suffix in ("-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)

    def load(self) -> Contents:
        """All that is stored. Raises StoreUnusableError when a record cannot be read."""
        contents = Contents()
        try:
            for (record,) in self._database.execute("SELECT record FROM attachment"):
                attachment = Attachment.model_validate_json(record)
                contents.attachments[attachment.key] = attachment
            for source, text in self._database.execute("SELECT source, spec FROM claim"):
                spec = AttachmentSpec.model_validate_json(text)
                contents.claims.setdefault(source, {})[spec.key] = spec
            contents.cursors = {pool: int(p) for pool, p in self._database.execute("SELECT pool, position FROM cursor")}
            rows = self._database.execute("SELECT address FROM freed ORDER BY number")
            contents.freed = [ip_address(address) for (address,) in rows]
            contents.sysctls = dict(self._database.execute("SELECT name, value FROM sysctl"))
        except (sqlite3.Error, ValidationError, ValueError) as error:
            why = str(error).splitlines()[0]
            raise StoreUnusableError(f"{self._path} cannot be read: {why}") from None
        return contents

    def used_pools(self) -> frozenset[str]:
        """The names of the pools that addresses were given from since this store was made."""
        return frozenset(pool for (pool,) in self._database.execute("SELECT pool FROM cursor"))

    def commit(self, change: Change) -> None:
        """Writes a change, all or nothing. Raises StoreUnwritable, and then nothing has changed.

        Defaults are left out: some, such as an empty name, are no values that could be read back.
        """
        with self._transaction() as database:
            for attachment in change.put:
                database.execute(
                    "INSERT OR REPLACE INTO attachment VALUES (?, ?, ?)",
                    (*attachment.key, attachment.model_dump_json(exclude_defaults=True)),
                )
            for key in change.delete:
                database.execute("DELETE FROM attachment WHERE workload_id = ? AND if_name = ?", key)
            for source, claims in change.claims.items():
                database.execute("DELETE FROM claim WHERE source = ?", (source,))
                rows = [(source, *key, spec.model_dump_json(exclude_defaults=True)) for key, spec in claims.items()]
                database.executemany("INSERT INTO claim VALUES (?, ?, ?, ?)", rows)
            for address in change.taken:
                database.execute("DELETE FROM freed WHERE address = ?", (str(address),))
            for address in change.freed:
                database.execute("INSERT OR REPLACE INTO freed (address) VALUES (?)", (str(address),))
            for pool, position in change.cursors:
                database.execute("INSERT OR REPLACE INTO cursor VALUES (?, ?)", (pool, str(position)))

    def record_sysctl(self, name: str, value: str) -> None:
        """Keeps the value that a switch had before netplumb set it; the first record stands."""
        with self._transaction() as database:
            database.execute("INSERT OR IGNORE INTO sysctl VALUES (?, ?)", (name, value))

    def erase(self) -> None:
        """Forgets everything, what was recorded of switches included."""
        with self._transaction() as database:
            for table in ("attachment", "claim", "cursor", "freed", "sysctl"):
                database.execute(f"DELETE FROM {table}")

    def trim_freed(self, keep: int) -> None:
        """Forgets all but the newest freed addresses."""
        with self._transaction() as database:
            database.execute("DELETE FROM freed WHERE number <= (SELECT MAX(number) FROM freed) - ?", (keep,))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._database:
                yield self._database
        except sqlite3.Error as error:
            raise StoreUnwritable(
                f"desired state cannot be written to {self._path} ({error}); nothing was changed"
            ) from error

    def close(self) -> None:
        self._database.close()
        os.close(self._lock)


def boot_id() -> str:
    """The kernel's id of this boot, proc_sys_kernel(5)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
