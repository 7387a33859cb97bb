"""PURE: what others ask for and takes long rests for some times as long before it is done again."""

from __future__ import annotations

DEAR_S = 0.1
RESTS_TIMES = 5
RESTS_MOST_S = 60.0


def rest_s(took_s: float) -> float:
    """For how long what took so much time is not done again."""
    return min(took_s * RESTS_TIMES, RESTS_MOST_S) if took_s > DEAR_S else 0.0
