"""Whether this daemon stood still for so long that its lease may have ended, as one that was stopped does, or one on a
machine that was suspended: it does not know then what became of what it held."""

from __future__ import annotations

import time


class Stillness:
    """Whoever comes by looks at the clock, and the first who does after such a time finds that out."""

    def __init__(self, bearable_s: float) -> None:
        self._bearable_s = bearable_s
        self._looked_at = _boottime()
        self.is_behind = False
        """Until somebody says otherwise."""

    def look(self) -> bool:
        now = _boottime()
        self.is_behind |= now - self._looked_at > self._bearable_s
        self._looked_at = now
        return self.is_behind


def _boottime() -> float:
    """Goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
