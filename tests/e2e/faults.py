"""Faults of the operating system, as a test asks for them and as the daemon under test (faulty.py) meets them.

The two share a directory: in `armed` stands the fault to meet, and into `journal` goes what was called since. Both are
read and written anew each time, so that a daemon can be armed while it runs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


class Kind(StrEnum):
    NONE = "none"  # calls are written down, and all goes well
    DIE_BEFORE = "die before"  # SIGKILL before the call; what precedes it in the same batch is carried out
    DIE_AFTER = "die after"  # SIGKILL after the call, before its answer is seen
    REFUSE = "refuse"  # the call is answered with an error and not carried out; nor is the rest of a transaction
    SEND = "send"  # the batch that holds the call is refused as a whole
    RECEIVE = "receive"  # the batch is carried out, and its answer is lost
    INTERRUPT = "interrupt"  # the kernel marks the dump as interrupted


DEATHS = (Kind.DIE_BEFORE, Kind.DIE_AFTER)


@dataclass(frozen=True, slots=True)
class Fault:
    """What the `at`-th call meets, counted from 1 when it is armed, and the calls that follow it, `times` in all. For a
    death only the calls that change something count, for an interruption only dumps."""

    kind: Kind = Kind.NONE
    at: int = 0
    code: int = 0
    times: int = 1

    def meets(self, number: int) -> bool:
        return self.at <= number < self.at + self.times


@dataclass(frozen=True, slots=True)
class Journal:
    """What the daemon did since it was armed, in order: its calls by name, those of them that change something, the
    plans that it carried out, and the call that met the fault."""

    calls: Sequence[str]
    changes: Sequence[str]
    plans: Sequence[Plan]
    met: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a plan as (verb, kind of object), and the calls that changed something while it was carried out."""

    steps: Sequence[tuple[str, str]]
    changes: Sequence[str]


class Armoury:
    """The directory, as both sides use it."""

    def __init__(self, directory: Path) -> None:
        self._armed = directory / "armed"
        self._journal = directory / "journal"

    def arm(self, fault: Fault) -> None:
        """The fault is met from the next call on; the journal begins anew."""
        self.disarm()
        self._journal.write_text("")
        beside = self._armed.with_suffix(".new")
        beside.write_text(json.dumps(asdict(fault)))
        beside.rename(self._armed)

    def disarm(self) -> None:
        self._armed.unlink(missing_ok=True)

    def armed(self) -> tuple[Fault, int] | None:
        """The fault, and a number that differs each time that one is armed."""
        try:
            with self._armed.open() as file:
                fields = json.load(file)
                number = self._armed.stat().st_mtime_ns
        except FileNotFoundError:
            return None
        return Fault(**fields | {"kind": Kind(fields["kind"])}), number

    def write(self, entry: dict[str, Any]) -> None:
        with self._journal.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def journal(self) -> Journal:
        # The last line may be half written: the daemon goes on meanwhile.
        whole, _, _ = self._journal.read_text().rpartition("\n")
        entries = [json.loads(line) for line in whole.splitlines()]
        calls = [entry for entry in entries if "call" in entry]
        plans: list[Plan] = []
        under_way: dict[int, tuple[list[tuple[str, str]], list[str]]] = {}
        for entry in entries:
            thread = entry["thread"]
            if "plan" in entry:
                under_way[thread] = ([(verb, kind) for verb, kind in entry["plan"]], [])
                plans.append(Plan(*under_way[thread]))
            elif "done" in entry:
                under_way.pop(thread, None)
            elif entry["changes"] and thread in under_way:
                under_way[thread][1].append(entry["call"])
        return Journal(
            [entry["call"] for entry in calls],
            [entry["call"] for entry in calls if entry["changes"]],
            plans,
            next((entry["call"] for entry in calls if entry["met"]), ""),
        )
