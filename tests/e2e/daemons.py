"""The real daemon as a process of its own, in the node's namespace and under the rights that its unit gives it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, Self

import grpc

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.client.errors import ClientError, Unreachable
from tests.e2e.forks import ForkServer
from tests.e2e.hosts import Host, temporary

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "config" / "netplumb.service"
COMMAND = Path(sys.executable).with_name("netplumb")
INSTALLED = (str(COMMAND),)

POOLS = ("10.213.0.0/24", "fd13::/64")
RESYNC_NEVER_S = 3600  # so that what is repaired is repaired because of an event
READY_WITHIN_S = 20.0
STOP_WITHIN_S = 10.0
LOG_TAIL_LINES = 60
OWN_TABLE = os.environ.get("E2E_OWN_TABLE") == "1"
"""The daemon's default; but many tests damage the table, which nobody can where it is owned. See `make test-owned`."""


@cache
def unit_rights() -> tuple[str, ...]:
    """The capabilities of the unit's bounding set, as setpriv names them."""
    line = next(line for line in UNIT.read_text().splitlines() if line.startswith("CapabilityBoundingSet="))
    names = line.partition("=")[2].split()
    assert names
    return tuple(name.removeprefix("CAP_").lower() for name in names)


def under_unit_rights(*words: str) -> list[str]:
    """The words of a program as they are run with no rights but the unit's."""
    rights = ",".join(["-all", *(f"+{name}" for name in unit_rights())])
    return ["setpriv", "--no-new-privs", f"--bounding-set={rights}", f"--inh-caps={rights}", "--", *words]


class Process(Protocol):
    """What is asked of a daemon's process; subprocess.Popen has it."""

    pid: int
    returncode: int | None

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def kill(self) -> None: ...
    def terminate(self) -> None: ...


FORKED = ForkServer("tests.e2e.preloaded", rights=under_unit_rights())


class Daemon:
    """One daemon and where it keeps its things; it may die and be started again any number of times. It is forked from
    a server, unless it is to be started as a program."""

    def __init__(
        self,
        node: Host,
        directory: Path,
        *,
        pools: tuple[str, ...] = POOLS,
        flags: str = "",
        program: Sequence[str] = (),
        server: ForkServer = FORKED,
    ) -> None:
        self.node = node
        self.directory = directory
        self.socket = directory / "net.sock"
        self.data_dir = directory / "data"
        self.state_files = directory / "state"
        self.config = directory / "netplumb.yaml"
        self.log = directory / "daemon.log"
        self.state_files.mkdir(parents=True, exist_ok=True)
        self._flags = flags.split()
        self._program = program
        self._server = server
        self._process: Process | None = None
        self.configure(pools=pools)

    def configure(self, *, pools: Sequence[object] = POOLS, **settings: object) -> None:
        """Writes the settings file, which the daemon reads when it starts or is told to."""
        given = {"pools": pools, "resync_s": RESYNC_NEVER_S, "own_table": OWN_TABLE, **settings}
        self.config.write_text(json.dumps(given))

    def arguments(self) -> list[str]:
        own = (
            f"--config={self.config} --socket={self.socket} --data-dir={self.data_dir} "
            f"--state-files={self.state_files} --log-format=json --log-level=debug"
        )
        return ["daemon", *own.split(), *self._flags]

    def words(self) -> list[str]:
        """The command that starts it as a program."""
        return self.node.command(*under_unit_rights(*self._program, *self.arguments()))

    @property
    def process(self) -> Process:
        assert self._process is not None, "the daemon was not started"
        return self._process

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def client(self, timeout_s: float = 10.0) -> AsyncClient:
        return AsyncClient(self.socket, timeout_s)

    async def start(self, *, ready: bool = True) -> Self:
        """Starts it and waits until it answers, and is ready unless it cannot be."""
        self.spawn()
        await self.ready(ready=ready)
        return self

    def spawn(self) -> None:
        """Starts it and waits for nothing."""
        with self.log.open("ab") as log, Path(os.devnull).open() as nothing:
            if self._program:
                self._process = subprocess.Popen(self.words(), stdin=nothing, stdout=log, stderr=log)
            else:
                self._process = self._server.start(self.node, self.arguments(), nothing, log, log)

    async def ready(self, *, ready: bool = True) -> None:
        """Waits until it answers, and is ready unless it cannot be."""
        ends = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < ends:
            if not self.running:
                raise AssertionError(f"the daemon ended with {self.process.returncode}:\n{self.logged()}")
            if self.socket.exists() and await self._answers(ready):
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"the daemon is not ready after {READY_WITHIN_S} s:\n{self.logged()}")

    async def _answers(self, ready: bool) -> bool:
        try:
            async with self.client(timeout_s=1.0) as client:
                return (await client.status()).ready or not ready
        except Unreachable:
            return False
        except ClientError as error:
            return error.code is grpc.StatusCode.UNAVAILABLE  # it answers, and has no pools

    def kill9(self) -> None:
        """Ends it without giving it a chance to clean up."""
        self.process.kill()
        self.process.wait(STOP_WITHIN_S)

    def pause(self) -> None:
        """It answers and repairs nothing from now on; what connects to it waits."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    @contextmanager
    def held(self) -> Iterator[None]:
        """It does not run meanwhile, so that what happens meets it all at once."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def terminate(self) -> int:
        """Ends it politely, and returns its exit status."""
        self.process.terminate()
        return self.process.wait(STOP_WITHIN_S)

    async def restart(self) -> None:
        self.terminate()
        await self.start()

    def reload(self) -> None:
        os.kill(self.process.pid, signal.SIGHUP)

    def command(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Runs the command `netplumb` on the node, with the rights of the daemon and what it is given as input."""
        return FORKED.run(self.node, words, given=given, within_s=READY_WITHIN_S)

    def purge(self, *, answer: str) -> subprocess.CompletedProcess[str]:
        """Runs the purge; `answer` is what is said to its question."""
        return self.command("purge", f"--data-dir={self.data_dir}", given=answer)

    def logged(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def end(self) -> None:
        """Ends it, whatever state it is in, and shows what it logged; pytest prints that for a failed test."""
        if self.running:
            try:
                self.terminate()
            except subprocess.TimeoutExpired:
                self.kill9()
                raise AssertionError(f"the daemon did not stop within {STOP_WITHIN_S} s:\n{self.logged()}") from None
        print(*self.logged().splitlines()[-LOG_TAIL_LINES:], sep="\n")


@contextmanager
def daemon_alone(program: Sequence[str] = ()) -> Iterator[Daemon]:
    """A started daemon on a node without an uplink, for fixtures that serve a whole module."""
    with temporary("node") as node, TemporaryDirectory(prefix="np-") as directory:
        node.ip("link set lo up")
        daemon = Daemon(node, Path(directory), program=program)
        asyncio.run(daemon.start())
        try:
            yield daemon
        finally:
            daemon.end()
