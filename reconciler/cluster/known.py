"""What was last known of the cluster, in a file: a daemon that starts while etcd is away knows by it its prefixes, its
peers and its wishes. Nothing in it is ever written to etcd unasked.

The file is of one cluster (its prefix), one name and one machine. What is of another, or damaged, is as good as none.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from pydantic import Field

from netplumb.models.cluster import KNOWN_FILE
from netplumb.reconciler.cluster.etcd.entries import Entry
from netplumb.reconciler.cluster.records import Identity, Record

FORMAT = 2

_Kept: TypeAlias = tuple[str, int, int]
"""An entry: its value in base64, and the revisions at which it was made and last written. No model of its own, as there
may be thousands, which are written often."""


class KnownRange(Record):
    """`position` is the revision up to which it is complete."""

    position: int = 0
    entries: dict[str, _Kept] = Field(default_factory=dict)

    def as_entries(self) -> dict[str, Entry]:
        return {key: Entry(b64decode(value), *revisions) for key, (value, *revisions) in self.entries.items()}


class Known(Record):
    """`lost` are prefixes that this node has no more and that workloads may still have addresses of, each with why;
    `heard_at` is when etcd was last heard, in seconds since the epoch."""

    format: int = FORMAT
    prefix: str
    node: str
    identity: Identity
    cluster: int = 0
    revision: int = 0
    shared: KnownRange = KnownRange()
    own: KnownRange = KnownRange()
    lost: dict[str, str] = Field(default_factory=dict)
    heard_at: float | None = None

    def is_of(self, prefix: str, node: str, identity: Identity) -> bool:
        """Whether it is what this machine, under this name, knew of this cluster."""
        if (self.format, self.prefix, self.node) != (FORMAT, prefix, node):
            return False
        return self.identity == identity or (bool(identity.machine) and self.identity.machine == identity.machine)


def range_of(entries: Mapping[str, Entry], position: int) -> KnownRange:
    kept = {key: (b64encode(it.value).decode(), it.created, it.modified) for key, it in entries.items()}
    return KnownRange(position=position, entries=kept)


@dataclass(slots=True)
class KnownFile:
    directory: Path
    _last: Known | None = field(default=None, init=False)

    @property
    def path(self) -> Path:
        return self.directory / KNOWN_FILE

    def load(self) -> Known | None:
        try:
            known = Known.model_validate_json(self.path.read_bytes())
            for each in (known.shared, known.own):
                each.as_entries()
        except (OSError, ValueError):
            return None
        return known

    def save(self, known: Known) -> None:
        """All or nothing, and durable when it returns. Raises OSError."""
        if known == self._last:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(".new")
        with new.open("wb") as file:
            new.chmod(0o600)
            file.write(known.model_dump_json().encode())
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)
        self._last = known
