"""What a trace tells: hops in order, and how it came out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    ARRIVES = "arrives"  # and the answer comes back, where that could be followed
    ENDS = "ends"
    UNKNOWN = "unknown"  # something on the way cannot be judged


@dataclass(frozen=True, slots=True)
class Hop:
    """`where` names the namespace and the place in it. One that was `seen` was told by the kernel of a packet that was
    sent, the others are what follows from what was read."""

    where: str
    what: str
    answer: bool = False
    seen: bool = False

    @property
    def arrow(self) -> str:
        if self.seen:
            return "<=" if self.answer else "=>"
        return "<-" if self.answer else "->"


@dataclass(slots=True)
class Trace:
    """`why` is the cause where it ends or is not known, and `heal` what helps."""

    hops: list[Hop] = field(default_factory=list)
    outcome: Outcome = Outcome.ARRIVES
    why: str = ""
    heal: str = ""

    def plain(self) -> dict[str, object]:
        return {
            "hops": [asdict(hop) for hop in self.hops],
            "outcome": str(self.outcome),
            "why": self.why,
            "heal": self.heal,
        }


class PacketEndsError(Exception):
    """It goes no further."""

    def __init__(self, why: str, heal: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.heal = heal


class NotFollowedError(PacketEndsError):
    """It goes on where nobody can follow, or a rule on its way cannot be judged."""
