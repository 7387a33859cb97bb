"""A file that records which cluster was known last, and what this node lost in it. None of it is ever written to etcd
unasked.

The file belongs to one cluster (its prefix), one node name and one machine. If it belongs to another, or is damaged, it
and the shelves beside it count as missing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from pydantic import Field

from netplumb.models.cluster import KNOWN_FILE
from netplumb.reconciler.cluster.records import Identity, Record

FORMAT = 3


class Known(Record):
    """`lost` are prefixes that this node has no more and that workloads may still have addresses of, each with why;
    `heard_at` is when etcd was last heard, in seconds since the epoch."""

    format: int = FORMAT
    prefix: str
    node: str
    identity: Identity
    cluster: int = 0
    revision: int = 0
    lost: dict[str, str] = Field(default_factory=dict)
    heard_at: float | None = None

    def is_of(self, prefix: str, node: str, identity: Identity) -> bool:
        """Whether it is what this machine, under this name, knew of this cluster."""
        if (self.format, self.prefix, self.node) != (FORMAT, prefix, node):
            return False
        return self.identity == identity or (bool(identity.machine) and self.identity.machine == identity.machine)


@dataclass(slots=True)
class KnownFile:
    directory: Path
    _last: Known | None = field(default=None, init=False)
    _saving: Lock = field(default_factory=Lock, init=False)

    @property
    def path(self) -> Path:
        return self.directory / KNOWN_FILE

    def load(self) -> Known | None:
        try:
            return Known.model_validate_json(self.path.read_bytes())
        except (OSError, ValueError):
            return None

    def save(self, known: Known) -> None:
        """All or nothing, and durable when it returns. Raises OSError. A thread that is at it when the daemon stops is
        let finish, or two would write into one file."""
        with self._saving:
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
