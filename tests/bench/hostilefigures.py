"""What `tests.bench.hostile` measured last, kept for the table in docs/security.md, and that table:
`python -m tests.bench.hostilefigures` writes it anew."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = Path(__file__).with_name("hostilefigures.json")
PAGE = Path(__file__).parents[2] / "docs" / "security.md"

COLUMNS = (
    "meanwhile", "Attach p50 (ms)", "p95", "times quiet", "floor's", "repair p50 (ms)", "times quiet", "ADD p50 (ms)",
    "times quiet", "memory (MiB)",
)  # fmt: skip
_BEGINS, _ENDS = "<!-- Written by `python -m tests.bench.hostilefigures`. -->\n", "<!-- Until here. -->\n"


@dataclass(frozen=True, slots=True)
class Figures:
    """What others waited for beside one harm, in milliseconds and in times of what they wait for when nothing goes on.
    `floor_times` is that of what any server, and the kernel, took longer."""

    harm: str
    attach_ms: float
    attach_p95_ms: float
    attach_times: float
    floor_times: float
    repair_ms: float
    repair_times: float
    add_ms: float
    add_times: float
    grown_mib: float

    @property
    def beyond_floor(self) -> float:
        return self.attach_times / max(1.0, self.floor_times)

    def cells(self) -> tuple[str, ...]:
        numbers = (
            self.attach_ms, self.attach_p95_ms, self.attach_times, self.floor_times, self.repair_ms, self.repair_times,
            self.add_ms, self.add_times,
        )  # fmt: skip
        return (self.harm, *(f"{number:.1f}" for number in numbers), f"{self.grown_mib:+.0f}")


@dataclass(frozen=True, slots=True)
class Measured:
    """`machine` tells on what it was measured, `scale` how much of each harm was done."""

    machine: str
    scale: float
    rows: Sequence[Figures]


def record(measured: Measured) -> None:
    FILE.write_text(json.dumps(asdict(measured), indent=1) + "\n")
    PAGE.write_text(rendered())


def recorded() -> Measured:
    found = json.loads(FILE.read_text())
    return Measured(found["machine"], found["scale"], [Figures(**row) for row in found["rows"]])


def rendered() -> str:
    """The page with the table that was recorded last."""
    before, _, rest = PAGE.read_text().partition(_BEGINS)
    return f"{before}{_BEGINS}\n{_table(recorded())}\n{_ENDS}{rest.partition(_ENDS)[2]}"


def _table(measured: Measured) -> str:
    part = f", {measured.scale:g} of each table and flood of flows" if measured.scale != 1 else ""
    lines = [COLUMNS, ("---", *["---:"] * (len(COLUMNS) - 1)), *(row.cells() for row in measured.rows)]
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    return f"{measured.machine}{part}:\n\n{table}"


if __name__ == "__main__":
    PAGE.write_text(rendered())
