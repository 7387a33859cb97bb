"""Desired state, durable: one SQLite file (WAL) that survives any death of the daemon but not the boot.

Namespaces do not outlive a boot, so what was attached to them must not either: the file carries the boot id and the
cookie of the node's own namespace. One that is damaged, or of another boot or node, is set aside. A new one begins with
what can be rebuilt, in the transaction that makes it, so that no empty store ever passes for what is wanted. Every
change is one transaction, written before anything in memory or in the kernel follows from it.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol

from netplumb.models.attachment import Attachment, AttachmentKey, AttachmentSpec
from netplumb.models.base import IPAddress
from netplumb.models.errors import StoreUnwritable
from netplumb.models.networkpolicy import MANIFESTS, Manifest, ManifestKey
from netplumb.models.words import address_words
from netplumb.reconciler.decide.policies.lost import Lost
from netplumb.reconciler.desired import storefile
from netplumb.reconciler.desired.reservations import Reservation
from netplumb.reconciler.desired.storefile import SCHEMA, TABLES, StoreUnusableError, Verdict


@dataclass(slots=True)
class Change:
    """What one transaction writes."""

    put: Sequence[Attachment] = ()
    delete: Sequence[AttachmentKey] = ()
    claims: Mapping[str, Mapping[AttachmentKey, AttachmentSpec]] = field(default_factory=dict)
    taken: Sequence[IPAddress] = ()
    freed: Sequence[IPAddress] = ()
    reserved: Sequence[Reservation] = ()
    unreserved: Sequence[IPAddress] = ()
    cursors: Sequence[tuple[str, int]] = ()
    unclaimed: Mapping[str, Sequence[IPAddress]] = field(default_factory=dict)
    claimed: Sequence[str] = ()
    policies: Sequence[tuple[str, Manifest]] = ()
    policies_gone: Sequence[tuple[str, ManifestKey]] = ()
    lost: Lost | None = None


_LOST = "lost policies"
_INTERFACE_OF = "interface of "
"""What the index of the interface that a switch is of stands under."""


@dataclass(slots=True)
class Contents:
    """What was stored, in the order in which it was freed where that matters. `unclaimed` are links on the node whose
    attachment is not known, by name, with the addresses that they hold; `interfaces` are those whose `sysctls` were
    kept, each by its index, by the names of these."""

    attachments: dict[AttachmentKey, Attachment] = field(default_factory=dict)
    claims: dict[str, dict[AttachmentKey, AttachmentSpec]] = field(default_factory=dict)
    cursors: dict[str, int] = field(default_factory=dict)
    freed: list[IPAddress] = field(default_factory=list)
    reserved: list[Reservation] = field(default_factory=list)
    sysctls: dict[str, str] = field(default_factory=dict)
    interfaces: dict[str, int] = field(default_factory=dict)
    unclaimed: dict[str, tuple[IPAddress, ...]] = field(default_factory=dict)
    policies: dict[ManifestKey, dict[str, Manifest]] = field(default_factory=dict)
    lost: Lost = field(default_factory=dict)


class Records(Protocol):
    """What desired state needs of a store."""

    def load(self) -> Contents: ...
    def commit(self, change: Change) -> None: ...
    def trim_freed(self, kept: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Origin:
    """Why a store was begun anew, when (seconds since the epoch), and where what was there before is kept."""

    verdict: Verdict
    made_at: float
    kept_as: str = ""


class Store:
    """The one writer of the file; a lock beside it keeps a second daemon out. `node` names boot and node namespace.

    `rebuild` is asked what a store that is begun anew begins with. Raises StoreUnusableError when there can be none.
    """

    def __init__(self, data_dir: Path, node: str, rebuild: Callable[[], Change] = Change) -> None:
        self.path = data_dir / "netplumb.db"
        self._lock = storefile.lock(data_dir)
        self._opened: Contents | None = None
        self.is_new = False
        try:
            self._database = self._open(node, rebuild)
        except BaseException:
            os.close(self._lock)
            raise

    def _open(self, node: str, rebuild: Callable[[], Change]) -> sqlite3.Connection:
        database = storefile.open_usable(self.path, node)
        if isinstance(database, Verdict):
            return self._begin(node, database, rebuild)
        try:
            self._opened = contents_of(database)
        except (sqlite3.Error, ValueError) as error:  # pydantic's mistakes are ValueErrors
            database.close()
            if isinstance(error, sqlite3.DatabaseError) and not storefile.is_damage(error):
                raise StoreUnusableError(f"cannot read {self.path}: {error}") from None
            return self._begin(node, Verdict.DAMAGED, rebuild)
        return database

    def _begin(self, node: str, verdict: Verdict, rebuild: Callable[[], Change]) -> sqlite3.Connection:
        """Makes the file anew. Should this end half-way, the next start finds no file or one without tables, and begins
        again."""
        change = rebuild()
        self.is_new = True
        database: sqlite3.Connection | None = None
        try:
            kept_as = "" if verdict is Verdict.MISSING else str(storefile.set_aside(self.path, verdict))
            database = storefile.connect(self.path)
            meta = {
                "schema": SCHEMA,
                "node": node,
                "verdict": verdict.value,
                "kept_as": kept_as,
                "made_at": time.time(),
            }
            with database:
                database.execute("BEGIN IMMEDIATE")
                for statement in TABLES:
                    database.execute(statement)
                database.executemany("INSERT INTO meta VALUES (?, ?)", ((name, str(it)) for name, it in meta.items()))
                _write(database, change)
        except (sqlite3.Error, OSError) as error:
            if database is not None:
                database.close()
            raise StoreUnusableError(f"cannot set up {self.path}: {error}") from None
        return database

    @property
    def origin(self) -> Origin:
        """What was there before this store."""
        meta = dict(self._database.execute("SELECT name, value FROM meta"))
        verdict = Verdict(meta.get("verdict", Verdict.MISSING.value))
        return Origin(verdict, float(meta.get("made_at", 0)), meta.get("kept_as", ""))

    def load(self) -> Contents:
        """All that is stored."""
        if (opened := self._opened) is not None:
            self._opened = None
            return opened
        return contents_of(self._database)

    def used_pools(self) -> frozenset[str]:
        """The names of the pools that addresses were given from since this store was made."""
        return frozenset(pool for (pool,) in self._database.execute("SELECT pool FROM cursor"))

    def commit(self, change: Change) -> None:
        """Writes a change, all or nothing. Raises StoreUnwritable, and then nothing has changed."""
        with self._transaction() as database:
            _write(database, change)

    @property
    def uplink_mtu(self) -> int:
        """What was recorded last; 0 if nothing was."""
        row = self._database.execute("SELECT value FROM meta WHERE name = 'uplink_mtu'").fetchone()
        return int(row[0]) if row is not None else 0

    def record_uplink_mtu(self, mtu: int | None) -> None:
        """Keeps what the uplinks' MTU is, for when there is no uplink."""
        if mtu and mtu != self.uplink_mtu:
            with self._transaction() as database:
                database.execute("INSERT OR REPLACE INTO meta VALUES ('uplink_mtu', ?)", (str(mtu),))

    def record_sysctl(self, name: str, value: str, interface: int = 0) -> None:
        """Keeps the value that a switch had before netplumb set it; the first record stands, but for that of an
        interface that had the name before."""
        with self._transaction() as database:
            of = (_INTERFACE_OF + name,)
            known = database.execute("SELECT value FROM meta WHERE name = ?", of).fetchone()
            if interface and known is not None and int(known[0]) != interface:
                database.execute("DELETE FROM sysctl WHERE name = ?", (name,))
            database.execute("INSERT OR IGNORE INTO sysctl VALUES (?, ?)", (name, value))
            if interface:
                database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (*of, str(interface)))

    def forget_sysctl(self, name: str) -> None:
        """Others have set it themselves."""
        with self._transaction() as database:
            database.execute("DELETE FROM sysctl WHERE name = ?", (name,))
            database.execute("DELETE FROM meta WHERE name = ?", (_INTERFACE_OF + name,))

    def erase(self) -> None:
        """Forgets everything, what was recorded of switches included."""
        with self._transaction() as database:
            for table in ("attachment", "claim", "cursor", "freed", "sysctl", "unclaimed", "reserved", "policy"):
                database.execute(f"DELETE FROM {table}")
            database.execute("DELETE FROM meta WHERE name LIKE ? OR name = ?", (_INTERFACE_OF + "%", _LOST))

    def trim_freed(self, keep: int) -> None:
        """Forgets all but the newest freed addresses."""
        with self._transaction() as database:
            database.execute("DELETE FROM freed WHERE number <= (SELECT MAX(number) FROM freed) - ?", (keep,))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._opened = None
        try:
            with self._database:
                yield self._database
        except sqlite3.Error as error:
            raise StoreUnwritable(
                f"desired state cannot be written to {self.path} ({error}); nothing was changed"
            ) from error

    def close(self) -> None:
        self._database.close()
        os.close(self._lock)


def contents_of(database: sqlite3.Connection) -> Contents:
    """All that a store's file holds. Raises sqlite3.Error or ValueError when anything cannot be read."""
    contents = Contents()
    for (record,) in database.execute("SELECT record FROM attachment"):
        attachment = Attachment.model_validate_json(record)
        contents.attachments[attachment.key] = attachment
    for source, text in database.execute("SELECT source, spec FROM claim"):
        spec = AttachmentSpec.model_validate_json(text)
        contents.claims.setdefault(source, {})[spec.key] = spec
    contents.cursors = {pool: int(position) for pool, position in database.execute("SELECT pool, position FROM cursor")}
    contents.freed = [ip_address(text) for (text,) in database.execute("SELECT address FROM freed ORDER BY number")]
    for address, workload_id, if_name, until in database.execute("SELECT * FROM reserved ORDER BY until"):
        contents.reserved.append(Reservation(ip_address(address), AttachmentKey(workload_id, if_name), float(until)))
    contents.sysctls = dict(database.execute("SELECT name, value FROM sysctl"))
    indexes = database.execute("SELECT name, value FROM meta WHERE name LIKE ?", (_INTERFACE_OF + "%",))
    contents.interfaces = {name.removeprefix(_INTERFACE_OF): int(index) for name, index in indexes}
    for link, texts in database.execute("SELECT link, addresses FROM unclaimed"):
        contents.unclaimed[link] = tuple(ip_address(text) for text in texts.split())
    for source, kind, text in database.execute("SELECT source, kind, manifest FROM policy ORDER BY number"):
        manifest = MANIFESTS[kind].model_validate_json(text)
        contents.policies.setdefault(manifest.key, {})[source] = manifest
    for (text,) in database.execute("SELECT value FROM meta WHERE name = ?", (_LOST,)):
        contents.lost = json.loads(text)
    return contents


def _write(database: sqlite3.Connection, change: Change) -> None:
    """Defaults are left out: some, such as an empty name, are no values that could be read back."""
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
        database.execute("DELETE FROM freed WHERE address = ?", (address_words(address),))
    for address in change.freed:
        database.execute("INSERT OR REPLACE INTO freed (address) VALUES (?)", (address_words(address),))
    for address in change.unreserved:
        database.execute("DELETE FROM reserved WHERE address = ?", (address_words(address),))
    for it in change.reserved:
        database.execute("INSERT OR REPLACE INTO reserved VALUES (?, ?, ?, ?)", (str(it.address), *it.key, it.until))
    for pool, position in change.cursors:
        database.execute("INSERT OR REPLACE INTO cursor VALUES (?, ?)", (pool, str(position)))
    for link, addresses in change.unclaimed.items():
        words = " ".join(str(address) for address in addresses)
        database.execute("INSERT OR REPLACE INTO unclaimed VALUES (?, ?)", (link, words))
    for link in change.claimed:
        database.execute("DELETE FROM unclaimed WHERE link = ?", (link,))
    if change.lost is not None:
        database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_LOST, json.dumps(change.lost)))
    gone = ((source, *key) for source, key in change.policies_gone)
    database.executemany("DELETE FROM policy WHERE source = ? AND kind = ? AND namespace = ? AND name = ?", gone)
    database.executemany(
        """INSERT INTO policy (source, kind, namespace, name, manifest) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET manifest = excluded.manifest""",
        ((source, *it.key, it.model_dump_json(by_alias=True, exclude_defaults=True)) for source, it in change.policies),
    )


def boot_id() -> str:
    """The kernel's id of this boot, proc_sys_kernel(5)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
