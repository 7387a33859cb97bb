"""Rules of others that choose routing tables, as far as they may concern workloads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from netplumb.models.base import IPAddress, IPNetwork
from netplumb.models.kernel import RT_TABLE_LOCAL, RT_TABLE_MAIN
from netplumb.models.naming import is_our_name

_WHOLE_MARK = 0xFFFFFFFF
ENDS = frozenset({"blackhole", "unreachable", "prohibit"})
_OF_SERVICES = frozenset({"ipproto", "sport"})
_HARMLESS_TABLES = (RT_TABLE_LOCAL, RT_TABLE_MAIN)


@dataclass(frozen=True, slots=True)
class ForeignRule:
    """`looks_up` a table, or `ends` the search: as a blackhole, unreachable or prohibit; `selects_more` than by source
    and destination: what by is among the `selectors`, but for marks and interfaces. With a `fwmask` it asks for a mark:
    those bits of it are to be `fwmark`. Its table `delivers` where that makes packets the node's own."""

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
    selectors: tuple[tuple[str, str], ...] = ()
    suppress: tuple[tuple[str, str], ...] = ()
    delivers: bool = False

    @property
    def is_end(self) -> bool:
        """Whether no route is looked up for what meets it, here nor behind it."""
        return self.ends in ENDS

    @property
    def ends_sending(self) -> bool:
        """Whether it ends what is sent from its source, or by its interface of ours, to anywhere, if only of one
        protocol or from some ports."""
        picks = self.inverted or self.wants_mark or self.oif or self.dst is not None
        named = {name for name, _ in self.selectors}
        return self.is_end and not picks and named <= _OF_SERVICES and (not self.iif or is_our_name(self.iif))

    @property
    def heal(self) -> str:
        """The command that takes it away, and no other of the same preference."""
        selector = str(self).partition(": ")[2]
        return f"ip{' -6' if self.version == 6 else ''} rule del preference {self.preference} {selector}"

    @property
    def wants_mark(self) -> bool:
        """Whether what nobody marked does not meet it: a rule for the mark 0 is for exactly that."""
        return bool(self.fwmask and self.fwmark) and not self.inverted

    @property
    def is_for_unmarked(self) -> bool:
        """Whether whatever nobody marked meets it: as that of a VPN for all but its own packets, `not fwmark M`."""
        return self.inverted and bool(self.fwmask and self.fwmark)

    def may_divert(self, prefixes: Iterable[IPNetwork]) -> bool:
        """Whether it may take traffic to one of these prefixes off the main table, where our routes are. Marks choose
        among the ways out of a node, which no way to a workload is; but where they have packets delivered to the node
        itself, that is a transparent proxy's, and meant. What is bound to an interface finds no route over another, by
        whichever rule."""
        if not (self.ends or (self.looks_up and self.table not in _HARMLESS_TABLES)):
            return False
        if self.inverted:
            return True
        if self.oif or (self.wants_mark and (self.ends or self.delivers)):
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
        """As `ip rule` shows it, and takes it behind the preference."""
        words = [f"{self.preference}:"]
        if self.inverted:
            words.append("not")
        words.append(f"from {self.src or 'all'}")
        if self.dst is not None:
            words.append(f"to {self.dst}")
        named = (("fwmark", self._mark), ("iif", self.iif), ("oif", self.oif), *self.selectors)
        words += [f"{name} {value}".rstrip() for name, value in named if value or name == "l3mdev"]
        if self.looks_up:
            words.append(f"lookup {self.table}")
        elif self.ends:
            words.append(self.ends)
        words += [f"{name} {value}" for name, value in self.suppress]
        return " ".join(words)
