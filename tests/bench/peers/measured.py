"""What netplumb and its peers took when they were last measured side by side, kept for docs/performance.md."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import quantiles

FILE = Path(__file__).with_name("measured.json")


@dataclass(frozen=True, slots=True)
class Times:
    """Every hundredth of the times that calls took, in milliseconds: the first is p1."""

    samples: int
    percentiles: tuple[float, ...]

    def p(self, which: int) -> float:
        return self.percentiles[which - 1]


@dataclass(frozen=True, slots=True)
class Row:
    """What one way takes for an attachment and its end. `cpu_ms` is the server's for an attachment, and the rates are
    those of many clients; None for programs, which have neither."""

    name: str
    attach: Times
    detach: Times
    cpu_ms: float | None = None
    attach_rate: float | None = None
    detach_rate: float | None = None


@dataclass(frozen=True, slots=True)
class Beside:
    """The median attachment beside so many others, in milliseconds, and the server's CPU for one."""

    others: int
    netplumb_ms: float
    netplumb_cpu_ms: float
    peer_ms: float
    peer_cpu_ms: float


@dataclass(frozen=True, slots=True)
class Measured:
    """`machine` tells on what it was measured. The groups do the same work each, the first row of each is netplumb's;
    `floor` is that of the first group: an idle call, and the objects by assembled netlink messages."""

    machine: str
    clients: int
    floor: Times
    groups: Mapping[str, Sequence[Row]]
    beside: Sequence[Beside]


def times(seconds: Sequence[float]) -> Times:
    return Times(len(seconds), tuple(round(it * 1e3, 3) for it in quantiles(seconds, n=100, method="inclusive")))


def record(measured: Measured) -> None:
    FILE.write_text(json.dumps(asdict(measured)) + "\n")


def recorded() -> Measured:
    kept = json.loads(FILE.read_text())
    groups = {words: [_row(row) for row in rows] for words, rows in kept["groups"].items()}
    beside = [Beside(**it) for it in kept["beside"]]
    return Measured(kept["machine"], kept["clients"], _times(kept["floor"]), groups, beside)


def _row(kept: Mapping[str, object]) -> Row:
    given = dict(kept)
    attach, detach = _times(given.pop("attach")), _times(given.pop("detach"))
    return Row(attach=attach, detach=detach, **given)  # type: ignore[arg-type]


def _times(kept: object) -> Times:
    assert isinstance(kept, dict)
    return Times(kept["samples"], tuple(kept["percentiles"]))
