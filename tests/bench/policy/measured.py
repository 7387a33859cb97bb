"""What network policies cost when that was last measured, kept for docs/policy.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.datapath import Ratio

FILE = Path(__file__).with_name("measured.json")


@dataclass(frozen=True, slots=True)
class Measured:
    """All of one run. `machine` tells on what, and `busy` how many processes ran or wanted to before. `load_s` is how
    long it took until all policies were enforced, in seconds, `label_ms` how long another label of one workload took,
    in milliseconds; the daemon's memory is in MiB, without and with policies."""

    machine: str
    busy: float
    attachments: int
    policies: int
    labels: int
    ratios: Sequence[Ratio]
    load_s: float
    label_ms: float
    memory_mib: tuple[float, float]


def record(measured: Measured) -> None:
    FILE.write_text(json.dumps(asdict(measured), indent=2) + "\n")


def recorded() -> Measured:
    kept = json.loads(FILE.read_text())
    ratios = [Ratio(**it) for it in kept.pop("ratios")]
    before, after = kept.pop("memory_mib")
    return Measured(ratios=ratios, memory_mib=(before, after), **kept)
