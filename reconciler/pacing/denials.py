"""PURE: which denied packets are told as events.

The kernel tells of each workload so many a minute, which is no burden; yet it would be as many events, for as long as
somebody keeps trying. The same ends are told of once in a while, a workload has a few events at once and then one a
minute, and all of them together a few more than that. What is not told is counted all the same, by the table.
"""

from __future__ import annotations

from collections.abc import Hashable

AGAIN_S = 600.0  # as for events that are the same
AT_ONCE, EACH_S = 5, 60.0
ALL_AT_ONCE, ALL_EACH_S = 100, 0.5
_KEPT = 4096


class Denials:
    """`now` is any clock that does not go back."""

    def __init__(self) -> None:
        self._told_at: dict[Hashable, float] = {}
        self._paid_at: dict[Hashable, float] = {}
        self._all_paid_at = 0.0

    def is_told(self, workload: Hashable, ends: Hashable, now: float) -> bool:
        """Whether to tell that the workload denied a packet between these ends."""
        told_at = self._told_at.get((workload, ends))
        if told_at is not None and now - told_at < AGAIN_S:
            return False
        paid_at = max(self._paid_at.get(workload, now), now)
        all_paid_at = max(self._all_paid_at, now)
        if paid_at - now > (AT_ONCE - 1) * EACH_S or all_paid_at - now > (ALL_AT_ONCE - 1) * ALL_EACH_S:
            return False
        self._keep(self._paid_at, workload, paid_at + EACH_S)
        self._keep(self._told_at, (workload, ends), now)
        self._all_paid_at = all_paid_at + ALL_EACH_S
        return True

    @staticmethod
    def _keep(times: dict[Hashable, float], key: Hashable, at: float) -> None:
        """Of more than can be told in the time, the oldest are forgotten."""
        times.pop(key, None)
        times[key] = at
        if len(times) > _KEPT:
            del times[next(iter(times))]
