"""Daemons under a clock that a test sets."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.daemons import Daemon, under_unit_rights
from tests.e2e.forks import ForkServer
from tests.e2e.hosts import Host

CLOCKED = ForkServer("tests.e2e.clocked", rights=under_unit_rights())


class ClockedDaemon(Daemon):
    """Its clock is wrong by as much as a test says."""

    def __init__(self, node: Host, directory: Path) -> None:
        super().__init__(node, directory, server=CLOCKED)
        self.set_clock(0)

    def set_clock(self, wrong_by_s: float) -> None:
        self._clock.write_text(str(wrong_by_s))

    @property
    def _clock(self) -> Path:
        return self.directory / "clock"

    def arguments(self) -> list[str]:
        return [str(self._clock), *super().arguments()]
