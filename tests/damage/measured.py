"""How long each kind of damage lasted when it was last measured, kept beside the table for docs/damage.md."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import quantiles

from rich.table import Table

FILE = Path(__file__).with_name("measured.json")


@dataclass(frozen=True, slots=True)
class Spread:
    samples: int
    p50_ms: float
    p99_ms: float
    most_ms: float


@dataclass(frozen=True, slots=True)
class Later:
    """Kinds that were measured when the others had been, on what may be a busier machine."""

    machine: str
    idle: Spread
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """`kinds` is by the id of the damage. `machine` tells on what it was measured, and `idle` how long the kernel took
    meanwhile for a request that does nothing: how quiet it was there."""

    machine: str
    attachments: int
    idle: Spread
    kinds: Mapping[str, Spread]
    later: Later | None = None


def machine(load_before: float) -> str:
    return f"Linux {platform.release()}, {os.cpu_count()} CPUs, load {load_before:.1f} before"


def spread(seconds: Sequence[float]) -> Spread:
    cuts = quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else [*seconds] * 99
    p50, p99, most = (round(value * 1e3, 2) for value in (cuts[49], cuts[98], max(seconds)))
    return Spread(len(seconds), p50, p99, most)


def shown(measured: Measured) -> Table:
    table = Table(title=f"{measured.attachments} attachments on {measured.machine}; milliseconds")
    table.add_column("damage")
    for column in ("p50", "p99", "most", "samples"):
        table.add_column(column, justify="right")
    for name, spread in [*sorted(measured.kinds.items()), ("(a netlink request that does nothing)", measured.idle)]:
        values = (spread.p50_ms, spread.p99_ms, spread.most_ms)
        table.add_row(name, *(f"{value:.1f}" for value in values), str(spread.samples))
    return table


def record(measured: Measured) -> None:
    FILE.write_text(json.dumps(asdict(measured), indent=2) + "\n")


def recorded() -> Measured:
    kept = json.loads(FILE.read_text())
    kinds = {name: Spread(**fields) for name, fields in kept["kinds"].items()}
    later = None
    if (told := kept.get("later")) is not None:
        later = Later(told["machine"], Spread(**told["idle"]), tuple(told["kinds"]))
    return Measured(kept["machine"], kept["attachments"], Spread(**kept["idle"]), kinds, later)


def completed(before: Measured, more: Measured) -> Measured:
    """What was kept, and what was measured of the kinds that it lacks."""
    later = Later(more.machine, more.idle, tuple(more.kinds))
    return Measured(before.machine, before.attachments, before.idle, {**before.kinds, **more.kinds}, later)
