"""Sockets of the node's processes at which something may arrive."""

from __future__ import annotations

from dataclasses import dataclass, field

from netplumb.models.base import IPAddress
from netplumb.models.ports import Protocol


@dataclass(frozen=True, slots=True)
class Process:
    """As far as a person, or the runtime that started it, knows it."""

    pid: int
    name: str
    arguments: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} (process {self.pid})"


@dataclass(frozen=True, slots=True)
class Listener:
    """A TCP socket that listens, or a UDP socket that is bound and not connected. `versions` are the families it hears,
    `ip` the one address it is bound to. Of TCP `waiting` connections were not taken yet by who listens, and one more
    than `room` is the most that are kept. `process` has it open, where that can be told."""

    protocol: Protocol
    port: int
    versions: tuple[int, ...]
    ip: IPAddress | None
    inode: int
    process: Process | None = None
    waiting: int = field(default=0, compare=False)
    room: int = field(default=0, compare=False)

    @property
    def is_full(self) -> bool:
        """Whether the kernel drops who asks for a connection."""
        return self.protocol is Protocol.TCP and self.waiting > self.room
