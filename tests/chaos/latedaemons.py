"""Daemons whose threads are late, and that compare all with the kernel only when they are asked to (raced.py)."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.chaos.raced import Lateness
from tests.e2e.daemons import RESYNC_NEVER_S, Daemon, under_unit_rights
from tests.e2e.forks import ForkServer
from tests.e2e.hosts import Host
from tests.e2e.nodes import VIEW

RACED = ForkServer("tests.chaos.raced", rights=under_unit_rights())


class LateDaemon(Daemon):
    """How late is as in `Lateness`; a file tells of the cluster where it `is_told`."""

    def __init__(
        self,
        node: Host,
        directory: Path,
        *,
        flags: str = f"--resync-s={RESYNC_NEVER_S}",
        share: float = 0.0,
        most_s: float = 0.0,
        after: Mapping[str, float] | None = None,
        is_told: bool = False,
    ) -> None:
        super().__init__(node, directory, flags=flags, server=RACED)
        self._lateness = Lateness(share, most_s, after or {}, str(directory / VIEW) if is_told else "")
        self._hears = False

    def arguments(self) -> list[str]:
        return [self._lateness.word, *super().arguments()]

    async def start(self, *, ready: bool = True) -> Self:
        await super().start(ready=ready)
        self._hears = True
        return self

    def kill9(self) -> None:
        self._hears = False
        super().kill9()

    def resync(self) -> None:
        """Has it compare all with the kernel, unless it is just being started."""
        if self._hears and self.running:
            os.kill(self.process.pid, signal.SIGUSR2)
