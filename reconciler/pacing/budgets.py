"""PURE: what the passes over an attachment cost is paid by that attachment, in the time that its next repair waits.

A workload decides how much there is to be read in its namespace, and how often something changes there. So each
attachment has a small share of one processor for passes that no client waits for, and something to begin with. A pass
is charged what it took; time pays that off. Who owes more than the beginning waits until it does not: what took a
second waits for the better part of a minute, what takes two milliseconds may be done a hundred times in a row. Nobody
else waits for it, and a client's wish never does, though what it takes is charged too.

A resync reads what no event told, and takes no larger share of a processor either, as long as it is not too seldom.
"""

from __future__ import annotations

from typing import Generic, TypeVar

SHARE = 0.02
BEGINNING_S = 0.2
WAIT_MOST_S = 60.0
RESYNC_LATER_MOST = 10.0
DEAR_S = 0.02  # who took so long the last time is not passed over where others wait

_K = TypeVar("_K")


def resync_after_s(period_s: float, cost_s: float) -> float:
    """How long after a resync that took so much of a processor's time the next one comes."""
    return min(max(period_s, cost_s / SHARE), period_s * RESYNC_LATER_MOST)


class Budgets(Generic[_K]):
    """`now` is any clock that does not go back."""

    def __init__(self) -> None:
        self._paid_at: dict[_K, float] = {}
        self._dear: set[_K] = set()

    def charge(self, key: _K, cost_s: float, now: float) -> None:
        """A pass over this key took so much of a processor's time."""
        paid_at = max(self._paid_at.get(key, now), now) + cost_s / SHARE
        self._paid_at[key] = min(paid_at, now + BEGINNING_S / SHARE + WAIT_MOST_S)
        (self._dear.add if cost_s >= DEAR_S else self._dear.discard)(key)

    def held_s(self, key: _K, now: float) -> float:
        """How long the next repair has to wait yet."""
        return max(0.0, self.owed_s(key, now) - BEGINNING_S) / SHARE

    def owed_s(self, key: _K, now: float) -> float:
        """What was taken and is not paid off."""
        return max(0.0, self._paid_at.get(key, now) - now) * SHARE

    def is_dear(self, key: _K) -> bool:
        return key in self._dear

    def forget(self, key: _K) -> None:
        self._paid_at.pop(key, None)
        self._dear.discard(key)
