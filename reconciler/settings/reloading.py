"""Settings that are read again while the daemon runs. What only a start takes stays as it was then, in all that is
handed on, so that no part of it is gone by before the rest; that it is otherwise in the file by now is told.

What stays and what came are judged together once more: each may be right with its own and wrong with the other, such as
a pool of the node's own that takes the place of the cluster's.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from pydantic import ValidationError

from netplumb.models.errors import NetplumbError
from netplumb.models.settings import AT_START, Settings
from netplumb.models.status import Condition
from netplumb.reconciler.settings.mistakes import wrongs


class WantsRestart(NetplumbError):
    """What was read cannot be beside what only a start takes."""


class Reloading:
    """`waiting` are the settings that were otherwise when they were read last, and want a restart; `refused` is why
    what was read last is not in force, empty where it is."""

    def __init__(self, started: Settings, read: Callable[[], Settings]) -> None:
        self._started = started
        self._read = read
        self.waiting: tuple[str, ...] = ()
        self.refused = ""
        self._since: dict[str, float] = {}
        """From when on each condition has held."""

    def __call__(self, take: Callable[[Settings], None]) -> None:
        """Hands to `take` what is to be in force. Raises NetplumbError, and then what was before is."""
        try:
            take(self._merged())
            self.refused = ""
        except NetplumbError as error:
            self.refused = str(error)
            raise
        finally:
            now = time.time()
            self._since = {it.type: it.last_transition or now for it in self.conditions}

    def _merged(self) -> Settings:
        found = self._read()
        began = {name: getattr(self._started, name) for name in AT_START}
        self.waiting = tuple(name for name, value in began.items() if getattr(found, name) != value)
        if not self.waiting:
            return found
        data = found.model_copy(update=began).model_dump(mode="json")
        try:
            return Settings.model_validate(data)
        except ValidationError as error:
            words = "; ".join(str(wrong) for wrong in wrongs(error, Settings, data))
            raise WantsRestart(f"{words}, as the daemon was started; start it again for the whole of it") from None

    @property
    def conditions(self) -> tuple[Condition, ...]:
        told = []
        if self.refused:
            told.append(("SettingsRefused", "Wrong", f"{self.refused}; what was in force before is"))
        if self.waiting:
            words = f"{', '.join(self.waiting)}: set otherwise by now, which the daemon takes when it is started again"
            told.append(("RestartWanted", "SetOtherwise", words))
        return tuple(Condition(type_, True, why, words, self._since.get(type_, 0)) for type_, why, words in told)
