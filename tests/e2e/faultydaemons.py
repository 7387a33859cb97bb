"""The daemon on the operating system of faulty.py, as a test starts it and waits for its death."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.daemons import Daemon
from tests.e2e.faults import Armoury
from tests.e2e.hosts import Host
from tests.e2e.waiting import STEP_S

WITHIN_S = 30.0
EXIT_WITHIN_S = 10.0


class Fork:
    """A daemon's process, which is a child of the one that it was forked from."""

    def __init__(self, origin: subprocess.Popen[bytes]) -> None:
        assert origin.stdin is not None
        assert origin.stdout is not None
        self._told = origin.stdout
        self.returncode: int | None = None
        origin.stdin.write(b"\n")
        self.pid = int(self._told.readline())

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self.returncode = int(self._told.readline())
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("netplumb", timeout or 0)
            self.returncode = int(self._told.readline())
        return self.returncode

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)


class FaultyDaemon(Daemon):
    """The daemon on the operating system of faulty.py, which forks one each time that it is started."""

    def __init__(self, node: Host, directory: Path) -> None:
        super().__init__(node, directory)
        self._origin: subprocess.Popen[bytes] | None = None

    @property
    def faults(self) -> Armoury:
        return Armoury(self.directory)

    @property
    def program(self) -> Sequence[str]:
        return (sys.executable, "-m", "tests.e2e.faulty", str(self.directory))

    def spawn(self) -> None:
        """Starts it and waits for nothing."""
        if self._origin is None:
            with self.log.open("ab") as log:
                self._origin = subprocess.Popen(
                    self.words(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0
                )
        self._process = Fork(self._origin)

    _spawn = spawn

    def end(self) -> None:
        super().end()
        if self._origin is not None:
            self._origin.communicate(timeout=EXIT_WITHIN_S)

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

    @contextmanager
    def held(self) -> Iterator[None]:
        """It does not run meanwhile, so that what happens meets it all at once."""
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)
