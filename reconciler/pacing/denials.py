"""PURE: which denied packets are told as events.

The kernel tells of each workload so many a minute, which is no burden; yet it would be as many events, for as long as
somebody keeps trying. The same ends are told of once in a while. Of a workload and one other end there are a few events
at once and then one a minute, of a workload more, so that who tries every port does not hide what others are denied,
and of all together more than that. What is not told is counted all the same, by the table.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

AGAIN_S = 600.0  # as for events that are the same
_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Pace:
    """So many at once, and then one in so many seconds."""

    at_once: int
    each_s: float


OTHER_END = Pace(5, 60.0)
WORKLOAD = Pace(20, 15.0)
ALL = Pace(100, 0.5)


class Denials:
    """`now` is any clock that does not go back."""

    def __init__(self) -> None:
        self._told_at: dict[Hashable, float] = {}
        self._paid_at: dict[Hashable, float] = {}

    def is_told(self, workload: Hashable, other: Hashable, ends: Hashable, now: float) -> bool:
        """Whether to tell that the workload denied a packet between these ends, of which one is the other's."""
        told_at = self._told_at.get((workload, ends))
        if told_at is not None and now - told_at < AGAIN_S:
            return False
        paces: dict[Hashable, Pace] = {(workload, other): OTHER_END, workload: WORKLOAD, None: ALL}
        paid_at = {payer: max(self._paid_at.get(payer, now), now) for payer in paces}
        if any(paid_at[payer] - now > (pace.at_once - 1) * pace.each_s for payer, pace in paces.items()):
            return False
        for payer, pace in paces.items():
            self._keep(self._paid_at, payer, paid_at[payer] + pace.each_s)
        self._keep(self._told_at, (workload, ends), now)
        return True

    @staticmethod
    def _keep(times: dict[Hashable, float], key: Hashable, at: float) -> None:
        """Of more than can be told in the time, the oldest are forgotten."""
        times.pop(key, None)
        times[key] = at
        if len(times) > _KEPT:
            del times[next(iter(times))]
