"""What the daemon should serve and cannot now: told once for each cause, and by a condition for as long as it lasts."""

from __future__ import annotations

import time

from netplumb.models.status import Condition


class Outage:
    """Of one thing, which none is as long as there is no cause. `what` are the words for it."""

    def __init__(self, condition: str, what: str) -> None:
        self._condition = condition
        self._what = what
        self._since = 0.0
        self.cause = ""

    @property
    def conditions(self) -> tuple[Condition, ...]:
        if not self.cause:
            return ()
        return (Condition(self._condition, True, "CannotListen", self.cause, self._since),)

    def lasts(self, why: str) -> bool:
        """That it cannot be served, again or for the first time; whether that is news."""
        cause, before = f"{self._what}: {why}", self.cause
        if not before:
            self._since = time.time()
        self.cause = cause
        return cause != before

    def ends(self) -> None:
        self.cause = ""
