"""What the doctor says: one finding for each thing that is wrong, in words for whoever is woken by it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class Severity(StrEnum):
    BROKEN = "broken"  # traffic that should flow does not, or nothing is repaired
    RISK = "risk"  # nothing hurts yet, or only some of it


@dataclass(frozen=True, slots=True)
class Finding:
    """`check` is the name by which a script can tell it or leave it out, `heal` a command, or what to do where no
    command can know it."""

    check: str
    severity: Severity
    what: str
    why: str
    heal: str

    def plain(self) -> dict[str, str]:
        return {name: str(value) for name, value in asdict(self).items()}


def broken(check: str, what: str, why: str, heal: str) -> Finding:
    return Finding(check, Severity.BROKEN, what, why, heal)


def risk(check: str, what: str, why: str, heal: str) -> Finding:
    return Finding(check, Severity.RISK, what, why, heal)
