"""The daemon on the operating system of faulty.py, as a test starts it and waits for its death."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.e2e.daemons import Daemon, under_unit_rights
from tests.e2e.faults import Armoury
from tests.e2e.forks import ForkServer
from tests.e2e.hosts import Host
from tests.e2e.waiting import STEP_S

WITHIN_S = 30.0


FAULTY = ForkServer("tests.e2e.faulty", rights=under_unit_rights())


class FaultyDaemon(Daemon):
    """The daemon on the operating system of faulty.py."""

    def __init__(self, node: Host, directory: Path) -> None:
        super().__init__(node, directory, server=FAULTY)

    @property
    def faults(self) -> Armoury:
        return Armoury(self.directory)

    def arguments(self) -> list[str]:
        return [str(self.directory), *super().arguments()]

    async def died(self, *, unless: Callable[[], bool]) -> bool:
        """Waits until it was killed, or the other has come about."""
        ends = time.monotonic() + WITHIN_S
        while time.monotonic() < ends:
            done = unless()
            if self.process.poll() is not None:
                assert self.process.returncode == -signal.SIGKILL, self.logged()
                return True
            if done:
                return False
            await asyncio.sleep(STEP_S / 4)
        raise AssertionError(f"neither dead nor done within {WITHIN_S} s:\n{self.logged()}")
