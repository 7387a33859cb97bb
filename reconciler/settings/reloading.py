"""Settings that are read again while the daemon runs. What only a start takes stays as it was then, in all that is
handed on, so that no part of it is gone by before the rest; that it is otherwise in the file by now is told.
"""

from __future__ import annotations

from collections.abc import Callable

from netplumb.models.settings import AT_START, Settings
from netplumb.models.status import Condition


class Reloading:
    """`waiting` are the settings that were otherwise when they were read last, and want a restart."""

    def __init__(self, started: Settings, read: Callable[[], Settings]) -> None:
        self._started = started
        self._read = read
        self.waiting: tuple[str, ...] = ()

    def __call__(self) -> Settings:
        """Raises NetplumbError."""
        found = self._read()
        began = {name: getattr(self._started, name) for name in AT_START}
        self.waiting = tuple(name for name, value in began.items() if getattr(found, name) != value)
        return found.model_copy(update=began)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        if not self.waiting:
            return ()
        words = f"{', '.join(self.waiting)}: set otherwise by now, which the daemon takes when it is started again"
        return (Condition("RestartWanted", True, "SetOtherwise", words),)
