"""PURE: keys of etcd and what they hold, as others see them who know nothing of how etcd is asked.

A key is any bytes, and text here: what is no UTF-8 of it stands in the text as it does in file names (PEP 383), so that
two keys are never one text. Such text is not for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


def key_text(key: bytes) -> str:
    return key.decode(errors="surrogateescape")


def key_bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def shown(text: str) -> str:
    """A key for people: of what cannot be printed its escapes."""
    words = key_bytes(text).decode(errors="backslashreplace")
    return "".join(it if it.isprintable() else ascii(it)[1:-1] for it in words)


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys that begin so, or one."""

    first: str
    is_prefix: bool = True

    @property
    def begin(self) -> bytes:
        return key_bytes(self.first)

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
