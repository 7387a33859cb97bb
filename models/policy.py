"""Rules of others that choose routing tables, as far as they may concern workloads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from netplumb.models.base import IPAddress, IPNetwork
from netplumb.models.kernel import RT_TABLE_LOCAL, RT_TABLE_MAIN

_WHOLE_MARK = 0xFFFFFFFF
_HARMLESS_TABLES = (RT_TABLE_LOCAL, RT_TABLE_MAIN)


@dataclass(frozen=True, slots=True)
class ForeignRule:
    """`looks_up` a table, or `ends` the search: as a blackhole, unreachable or prohibit; `selects_more` than by source
    and destination. With a `fwmask` it asks for a mark: those bits of it are to be `fwmark`."""

    version: int
    preference: int
    src: IPNetwork | None = None
    dst: IPNetwork | None = None
    table: int = RT_TABLE_MAIN
    looks_up: bool = True
    ends: str = ""
    inverted: bool = False
    fwmark: int = 0
    fwmask: int = 0
    iif: str = ""
    oif: str = ""
    selects_more: bool = False

    def may_divert(self, prefixes: Iterable[IPNetwork]) -> bool:
        """Whether it may take traffic to one of these prefixes off the main table, where our routes are. What somebody
        marked, or bound to an interface, he means to have elsewhere."""
        if not (self.ends or (self.looks_up and self.table not in _HARMLESS_TABLES)):
            return False
        if self.inverted:
            return True
        if self.fwmask or self.oif:
            return False
        return self.dst is None or any(it.version == self.version and it.overlaps(self.dst) for it in prefixes)

    def answers_for(self, address: IPAddress) -> bool:
        """Whether it sends what the node answers from this address by a table of its own, as for a second uplink."""
        src = self._plain_source
        return src is not None and src.version == address.version and address in src

    def sends_for(self, prefixes: Iterable[IPNetwork]) -> bool:
        """Whether it sends what workloads of these prefixes send by a table of its own."""
        src = self._plain_source
        return src is not None and any(it.version == src.version and it.overlaps(src) for it in prefixes)

    @property
    def _plain_source(self) -> IPNetwork | None:
        """Of a rule that leads elsewhere whatever comes from there."""
        plain = self.looks_up and self.table not in _HARMLESS_TABLES and not (self.inverted or self.selects_more)
        return self.src if plain else None

    @property
    def _mark(self) -> str:
        if not self.fwmask:
            return ""
        return hex(self.fwmark) if self.fwmask == _WHOLE_MARK else f"{self.fwmark:#x}/{self.fwmask:#x}"

    def __str__(self) -> str:
        """As `ip rule` shows it, in essence."""
        words = [f"{self.preference}:"]
        if self.inverted:
            words.append("not")
        words.append(f"from {self.src or 'all'}")
        if self.dst is not None:
            words.append(f"to {self.dst}")
        for name, value in (("fwmark", self._mark), ("iif", self.iif), ("oif", self.oif)):
            if value:
                words.append(f"{name} {value}")
        if self.looks_up:
            words.append(f"lookup {self.table}")
        elif self.ends:
            words.append(self.ends)
        return " ".join(words)
