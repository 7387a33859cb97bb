"""Whether this daemon stood still for so long that its lease may have expired, as when its process was stopped or the
machine was suspended: then it does not know what became of its prefixes."""

from __future__ import annotations

import time


class Stillness:
    """Each part looks at the clock as it runs; the first to do so after such a time finds out."""

    def __init__(self, bearable_s: float) -> None:
        self._bearable_s = bearable_s
        self._looked_at = _boottime()
        self.is_behind = False
        """Stays true until the caller has caught up, and resets it."""

    def look(self) -> bool:
        now = _boottime()
        self.is_behind |= now - self._looked_at > self._bearable_s
        self._looked_at = now
        return self.is_behind


def _boottime() -> float:
    """Goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
