"""PURE: the pause before the next try grows with each one that failed."""

from __future__ import annotations

from math import ldexp

_DOUBLINGS_MOST = 64  # a float ends at 1023, and a node may fail for days


def backoff_s(first_s: float, most_s: float, doublings: int) -> float:
    """`first_s` doubled so often, and `most_s` at most."""
    return min(ldexp(first_s, min(doublings, _DOUBLINGS_MOST)), most_s)
