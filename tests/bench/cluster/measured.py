"""What a cluster cost when it was last measured, kept for docs/scale.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = Path(__file__).with_name("measured.json")


@dataclass(frozen=True, slots=True)
class Grown:
    """A cluster of so many nodes. Bytes are what etcd sent and received for one node, CPU is in milliseconds: of one
    node, and of all of etcd's members together for one node."""

    nodes: int
    join_s: float
    join_bytes: float
    join_cpu_ms: float
    join_etcd_ms: float
    watches: float
    idle_bytes: float
    idle_cpu_ms: float
    idle_etcd_ms: float
    change_p50_ms: float
    change_p99_ms: float
    change_bytes: float
    change_cpu_ms: float
    change_etcd_ms: float
    new_s: float
    new_bytes: float
    new_cpu_ms: float
    again_s: float
    again_bytes: float
    again_cpu_ms: float
    again_etcd_ms: float
    back_s: float
    back_bytes: float
    back_cpu_ms: float
    etcd_mib: float


@dataclass(frozen=True, slots=True)
class Reach:
    """How soon a change was in the kernels of so many real nodes."""

    nodes: int
    changes: int
    p50_ms: float
    p99_ms: float
    most_ms: float


@dataclass(frozen=True, slots=True)
class Measured:
    machine: str
    etcd: str
    grown: tuple[Grown, ...] = ()
    reach: Mapping[str, Reach] | None = None


def record(measured: Measured) -> None:
    FILE.write_text(json.dumps(asdict(measured), indent=2) + "\n")


def recorded() -> Measured:
    kept = json.loads(FILE.read_text())
    reach = {mode: Reach(**fields) for mode, fields in (kept["reach"] or {}).items()}
    return Measured(kept["machine"], kept["etcd"], tuple(Grown(**it) for it in kept["grown"]), reach)
