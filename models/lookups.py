"""Which way a packet would go, as the kernel is asked and as it answers."""

from __future__ import annotations

from dataclasses import dataclass

from netplumb.models.base import IPAddress


@dataclass(frozen=True, slots=True)
class Question:
    """A packet of which the kernel is asked where it would go. With an `iif`, an index, it came in there."""

    dst: IPAddress
    src: IPAddress | None = None
    iif: int = 0
    mark: int = 0
    protocol: int = 0
    dport: int = 0


@dataclass(frozen=True, slots=True)
class Lookup:
    """The kernel's answer. `length` is the prefix length of the route that was found; `error` an errno where there is
    no way, 0 otherwise."""

    type: str = ""
    table: int = 0
    oif: int = 0
    gateway: IPAddress | None = None
    source: IPAddress | None = None
    length: int = 0
    error: int = 0
