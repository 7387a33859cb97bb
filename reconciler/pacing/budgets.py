"""PURE: an attachment pays for its own passes, by the time that its next repair has to wait.

A workload decides how much there is to read in its namespace, and how often it changes. So each attachment has a small
share of one processor for passes that no client waits for, and an initial credit. A pass is charged what it took, which
time pays off. An attachment that owes more than the credit waits until it no longer does: after a pass of a second for
the better part of a minute, while passes of two milliseconds may follow each other a hundred times. No other attachment
waits for it, and a client's wish never waits, though its cost is charged, too.

A resync, which finds what no event reported, takes no larger share of a processor either, unless that would make it too
rare.
"""

from __future__ import annotations

from typing import Generic, TypeVar

SHARE = 0.02
BEGINNING_S = 0.2
WAIT_MOST_S = 60.0
RESYNC_LATER_MOST = 10.0
DEAR_S = 0.02  # an attachment whose last pass took this long gets the next one where no other waits

_K = TypeVar("_K")


def resync_after_s(period_s: float, cost_s: float) -> float:
    """How long to wait for the next resync after one that took so much processor time."""
    return min(max(period_s, cost_s / SHARE), period_s * RESYNC_LATER_MOST)


class Budgets(Generic[_K]):
    """`now` is any clock that does not go back."""

    def __init__(self) -> None:
        self._paid_at: dict[_K, float] = {}
        self._dear: set[_K] = set()

    def charge(self, key: _K, cost_s: float, now: float) -> None:
        """A pass over this key took so much processor time."""
        paid_at = max(self._paid_at.get(key, now), now) + cost_s / SHARE
        self._paid_at[key] = min(paid_at, now + BEGINNING_S / SHARE + WAIT_MOST_S)
        (self._dear.add if cost_s >= DEAR_S else self._dear.discard)(key)

    def held_s(self, key: _K, now: float) -> float:
        """How long the next repair still has to wait."""
        return max(0.0, self.owed_s(key, now) - BEGINNING_S) / SHARE

    def owed_s(self, key: _K, now: float) -> float:
        """What was charged and is not paid off yet."""
        return max(0.0, self._paid_at.get(key, now) - now) * SHARE

    def is_dear(self, key: _K) -> bool:
        return key in self._dear

    def forget(self, key: _K) -> None:
        self._paid_at.pop(key, None)
        self._dear.discard(key)
