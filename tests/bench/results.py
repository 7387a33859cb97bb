"""From samples to numbers and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import Any

from tests.bench.rounds import Samples

RATIO_AIM, RATIO_EXPECTED, RATIO_MOST = 1.6, 3.0, 6.0
RATE_EXPECTED, RATE_LEAST = 500.0, 250.0
PLUGIN_EXPECTED, PLUGIN_MOST = 2.0, 4.0
GUARD_MOST = 5.0  # kernels differ: of one that makes the objects in 0.3 ms, our own share is three times the floor


@dataclass(frozen=True, slots=True)
class Row:
    """The spread of one thing measured, in milliseconds, and how many a second the median round did."""

    name: str
    count: int
    p50: float
    p95: float
    p99: float
    rate: float


@dataclass(frozen=True, slots=True)
class Verdict:
    words: str
    failed: bool


@dataclass(frozen=True, slots=True)
class Results:
    rows: tuple[Row, ...]
    floor_ms: float
    ratio: float
    ratio_by_round: tuple[float, ...]
    plugin_ratio: float
    detach_rate: float
    detach_rate_by_round: tuple[float, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def failed(self) -> bool:
        return any(verdict.failed for verdict in self.verdicts)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def results(samples: Samples, clients: int) -> Results:
    rows = {name: _row(name, samples) for name in samples.rounds}
    floor_ms = rows["floor attach"].p50 + rows["call 1"].p50
    ratio = rows["attach 1"].p50 / floor_ms
    plugin_ratio = rows["plugin add"].p50 / (rows["python"].p50 + rows["attach 1"].p50)
    rates = tuple(timed.rate for timed in samples.rounds[f"detach {clients}"])
    rate = median(rates)
    return Results(
        rows=tuple(rows.values()),
        floor_ms=floor_ms,
        ratio=ratio,
        ratio_by_round=_ratios(samples),
        plugin_ratio=plugin_ratio,
        detach_rate=rate,
        detach_rate_by_round=rates,
        verdicts=(_of_ratio(ratio), _of_rate(rate, clients), _of_plugin(plugin_ratio)),
    )


def guarded(samples: Samples) -> Verdict:
    """Whether an Attach costs what it may, by the best round: a busy machine makes rounds worse, never better."""
    words = f"Attach is {min(_ratios(samples)):.2f} times its floor in the best round"
    failed = min(_ratios(samples)) > GUARD_MOST
    return Verdict(f"{words}: {'FAILED, above' if failed else 'within'} {GUARD_MOST:g}", failed)


def _row(name: str, samples: Samples) -> Row:
    p50, p95, p99 = _percentiles(samples.pooled(name))
    rate = median(timed.rate for timed in samples.rounds[name])
    return Row(name, len(samples.pooled(name)), p50 * 1e3, p95 * 1e3, p99 * 1e3, rate)


def _percentiles(seconds: Sequence[float]) -> tuple[float, float, float]:
    cuts = quantiles(seconds, n=100, method="inclusive")
    return cuts[49], cuts[94], cuts[98]


def _ratios(samples: Samples) -> tuple[float, ...]:
    """Attach against the floor measured right before it, round by round."""
    rounds = samples.rounds
    # The floor is measured twice a round; the first time is the one before the single client.
    parts = zip(rounds["attach 1"], rounds["floor attach"][::2], rounds["call 1"], strict=True)
    return tuple(median(a.each) / (median(f.each) + median(c.each)) for a, f, c in parts)


def _of_ratio(ratio: float) -> Verdict:
    words = f"Attach is {ratio:.2f} times its floor"
    if ratio > RATIO_MOST:
        return Verdict(f"{words}: FAILED, above {RATIO_MOST:g}", failed=True)
    if ratio > RATIO_EXPECTED:
        return Verdict(f"{words}: worse than the {RATIO_EXPECTED:g} expected (aim {RATIO_AIM:g})", failed=False)
    aim = "aim met" if ratio <= RATIO_AIM else f"the aim is {RATIO_AIM:g}"
    return Verdict(f"{words}: as expected, {RATIO_EXPECTED:g} or better ({aim})", failed=False)


def _of_rate(rate: float, clients: int) -> Verdict:
    words = f"{clients} clients detach {rate:.0f}/s"
    if rate < RATE_LEAST:
        return Verdict(f"{words}: FAILED, under {RATE_LEAST:g}/s", failed=True)
    if rate < RATE_EXPECTED:
        return Verdict(f"{words}: less than the {RATE_EXPECTED:g}/s expected", failed=False)
    return Verdict(f"{words}: as expected, {RATE_EXPECTED:g}/s or more", failed=False)


def _of_plugin(ratio: float) -> Verdict:
    words = f"ADD by the CNI plugin is {ratio:.2f} times Python's start and an Attach"
    if ratio > PLUGIN_MOST:
        return Verdict(f"{words}: FAILED, above {PLUGIN_MOST:g}", failed=True)
    if ratio > PLUGIN_EXPECTED:
        return Verdict(f"{words}: worse than the {PLUGIN_EXPECTED:g} expected", failed=False)
    return Verdict(f"{words}: as expected, {PLUGIN_EXPECTED:g} or better", failed=False)
