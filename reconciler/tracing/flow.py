"""PURE: the packet that is followed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from netplumb.models.base import IPAddress
from netplumb.models.lookups import Question
from netplumb.models.ports import Protocol


@dataclass(frozen=True, slots=True)
class Flow:
    """What stays the same of a packet on its way, or changes by translation alone. `answer` is one that comes back."""

    src: IPAddress
    dst: IPAddress
    protocol: int
    sport: int
    dport: int
    answer: bool = False
    translated: frozenset[str] = frozenset()

    def back(self) -> Flow:
        """The answer to it, as who received it sends that."""
        return Flow(self.dst, self.src, self.protocol, self.dport, self.sport, answer=True, translated=self.translated)

    def question(self, iif: int = 0, *, with_source: bool = True) -> Question:
        return Question(self.dst, self.src if with_source else None, iif, protocol=self.protocol, dport=self.dport)

    def to(self, dst: IPAddress, dport: int) -> Flow:
        return replace(self, dst=dst, dport=dport, translated=self.translated | {"dnat"})

    @property
    def told_protocol(self) -> str:
        """As a command line has it."""
        return next((str(it) for it in Protocol if it.number == self.protocol), "icmp")
