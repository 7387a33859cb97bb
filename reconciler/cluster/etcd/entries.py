"""PURE: keys of etcd and what they hold, as others see them who know nothing of how etcd is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys that begin so, or one."""

    first: str
    is_prefix: bool = True

    @property
    def begin(self) -> bytes:
        return self.first.encode()

    @property
    def end(self) -> bytes:
        """The first that is behind them; nothing for a single key."""
        return self.begin[:-1] + bytes([self.begin[-1] + 1]) if self.is_prefix else b""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a key holds, and since which revision: as it is, and at all. With a `lease` it goes when that ends."""

    value: bytes
    created: int
    modified: int
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Header:
    """Whose answer it is, and as of when."""

    cluster: int
    revision: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Keys at one revision."""

    header: Header
    entries: Mapping[str, Entry]
