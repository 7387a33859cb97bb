"""The daemon as a child on the stage: started with its files in one directory, asked over gRPC, stopped, purged.

It dies with its parent, however that ends. It has a session of its own, so that a Ctrl-C at the terminal reaches the
sandbox alone, which then stops it in order.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Self, TypeVar

import grpc

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.client.conversation import converse
from netplumb.api.client.errors import ClientError
from netplumb.reconciler.sandbox.stage import SandboxError, command, environment

POOLS = ("10.213.0.0/24", "fd13::/64")
EXAMPLES = Path(__file__).parents[2] / "config" / "examples"
NETPLUMB = Path(sys.executable).with_name("netplumb")

_START_TIMEOUT_S = 20.0
_STOP_TIMEOUT_S = 10.0
_ASK_TIMEOUT_S = 10.0
_LOG_LINES = 12

Answer = TypeVar("Answer")


class Daemon:
    """Leaves no process behind when the `with` block ends. `entrance` are the words before a command on its node, where
    that is not the caller's; `given` are settings of its own."""

    def __init__(
        self,
        directory: Path,
        state_files: Path | None,
        *,
        entrance: Sequence[str] = (),
        given: Mapping[str, object] | None = None,
    ) -> None:
        self.entrance = tuple(entrance)
        self.given = {"pools": POOLS} if given is None else dict(given)
        self.socket = directory / "netplumb.sock"
        self.state_files = state_files.resolve() if state_files else directory / "state-files"
        self._data_dir = directory / "data"
        self.config = directory / "netplumb.yaml"
        self._log = directory / "daemon.log"
        if state_files is None:
            _copy_examples(self.state_files)
        elif not self.state_files.is_dir():
            raise SandboxError(f"{state_files} is not a directory")

    def __enter__(self) -> Self:
        self.start()
        return self

    def start(self, **given: object) -> None:
        """With these settings changed, from now on."""
        self.given |= given
        settings = {
            "socket": str(self.socket),
            "data_dir": str(self._data_dir),
            "state_files": str(self.state_files),
            "own_table": False,  # so that it can be damaged, and comes back
            **self.given,
        }
        self.config.write_text(json.dumps(settings, indent=2) + "\n")  # JSON is YAML
        self._process = beside((*self.entrance, str(NETPLUMB), "daemon", "--config", str(self.config)), self._log)

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_ready(self) -> None:
        """Until it serves and what the whole node needs is in the kernel. Raises SandboxError, with its log."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                if self.ask(lambda client: client.status(), timeout_s=0.5).ready:
                    return
            except ClientError as error:
                if error.code not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise
            time.sleep(0.01)
        raise SandboxError(f"the daemon does not get ready; it said:\n{self.last_words()}")

    def ask(self, question: Callable[[AsyncClient], Awaitable[Answer]], timeout_s: float = _ASK_TIMEOUT_S) -> Answer:
        """One conversation over its socket. Raises ClientError."""
        return converse(self.socket, timeout_s, question)

    def wait_for_end(self) -> None:
        """Returns never while all is well. Raises SandboxError when the daemon ends by itself."""
        code = self._process.wait()
        raise SandboxError(f"the daemon ended by itself with exit code {code}; it said:\n{self.last_words()}")

    def kill(self) -> None:
        """As a machine dies that it runs on."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Stops it as an init system would, then by force."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise SandboxError(f"the daemon did not stop within {_STOP_TIMEOUT_S:.0f} s of SIGTERM") from None

    def purge(self) -> None:
        """Takes all that is netplumb's off the node; the daemon must have stopped."""
        command(*self.entrance, str(NETPLUMB), "purge", "--yes", "--config", str(self.config))

    def last_words(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-_LOG_LINES:])


def beside(words: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Starts a program that dies with the sandbox, and in order if it can."""
    words = ("setpriv", "--pdeathsig", "KILL", *words)
    try:
        with log.open("ab") as said:
            return subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment(), start_new_session=True
            )
    except FileNotFoundError:
        raise SandboxError("the command 'setpriv' is missing; `make setup` installs it") from None


def _copy_examples(directory: Path) -> None:
    """A copy, which may be edited while the sandbox runs."""
    try:
        shutil.copytree(EXAMPLES, directory)
    except FileNotFoundError:
        raise SandboxError(f"the examples are not in {EXAMPLES}; give state files with --state-files") from None
