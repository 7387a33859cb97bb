"""What the daemon counts of itself since its start, at next to no cost: it does so whether or not anybody reads it."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from netplumb.models.kernel import KernelObject
from netplumb.models.words import kind_of

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""An attach takes one or two milliseconds, and a client waits thirty seconds at most."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """How many took so long: a count for each bound, not cumulative, and one for what is beyond the last."""

    counts: tuple[int, ...]
    total_s: float


class Durations:
    """Observed at a cost that does not grow."""

    __slots__ = ("_counts", "_total_s")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._total_s = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self._total_s += seconds

    def frozen(self) -> Distribution:
        return Distribution(tuple(self._counts), self._total_s)


@dataclass(slots=True)
class Tally:
    """Totals since the start. `repairs` counts objects by kind, `repaired` is how long the damage to each kind lasted
    from when it was heard of or, where nothing told of it, from when it was looked for."""

    passes: int = 0
    retries: int = 0
    resyncs: int = 0
    events: int = 0
    lost_events: int = 0
    repairs: Counter[str] = field(default_factory=Counter)
    attaching: Durations = field(default_factory=Durations)
    detaching: Durations = field(default_factory=Durations)
    passing: Durations = field(default_factory=Durations)
    passing_node: Durations = field(default_factory=Durations)
    resyncing: Durations = field(default_factory=Durations)
    repaired: defaultdict[str, Durations] = field(default_factory=lambda: defaultdict(Durations))

    def repair(self, things: Iterable[KernelObject], lasted_s: float) -> None:
        kinds = Counter(map(kind_of, things))
        self.repairs.update(kinds)
        for kind in kinds:
            self.repaired[kind].observe(lasted_s)
