"""Runs of a program that are forked from a process which has loaded all that it needs (forking.py)."""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from tests.e2e.forking import REQUEST_BYTES
from tests.e2e.hosts import Host

LOADED_WITHIN_S = 60.0  # on a busy machine
END_WITHIN_S = 10.0


class Fork:
    """One run. What it has is called as in subprocess.Popen, but its parent is the server."""

    def __init__(self, words: Sequence[str], told: socket.socket) -> None:
        self.returncode: int | None = None
        self._words = words
        self._told = told
        told.settimeout(LOADED_WITHIN_S)
        self.pid = self._heard()

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._told.settimeout(timeout)
            try:
                self.returncode = self._heard()
            except (BlockingIOError, TimeoutError):
                raise subprocess.TimeoutExpired(self._words, timeout or 0) from None
            self._told.close()
        return self.returncode

    def _heard(self) -> int:
        said = self._told.recv(64)
        if not said:
            self._told.close()
            raise AssertionError("the fork server has ended; why, it says among the captured errors")
        return int(said)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


class ForkServer:
    """Started with its first run: the module that has loaded everything, under the given rights. It is started anew
    where the caller's mount namespace is another than it was then, with other names of network namespaces."""

    def __init__(self, module: str, *, rights: Sequence[str] = ()) -> None:
        self._command = [*rights, sys.executable, "-m", module]
        self._requests: socket.socket | None = None
        self._mounts = 0

    def start(self, node: Host, words: Sequence[str], stdin: IO[Any], stdout: IO[Any], stderr: IO[Any]) -> Fork:
        """Starts a run in the namespace, with the environment of this process."""
        mounts = Path("/proc/thread-self/ns/mnt").stat().st_ino
        if self._requests is None or self._mounts != mounts:
            self._requests, self._mounts = self._serve(), mounts
        asked = json.dumps({"netns": node.path, "environment": dict(os.environ), "words": [*words]}).encode()
        assert len(asked) < REQUEST_BYTES
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(self._requests, [asked], [it.fileno() for it in (theirs, stdin, stdout, stderr)])
        return Fork(words, ours)

    def run(
        self, node: Host, words: Sequence[str], *, given: str = "", within_s: float
    ) -> subprocess.CompletedProcess[str]:
        """A run from its beginning to its end, with what it is given as its input."""
        with TemporaryFile("w+") as stdin, TemporaryFile("w+") as stdout, TemporaryFile("w+") as stderr:
            stdin.write(given)
            stdin.seek(0)
            process = self.start(node, words, stdin, stdout, stderr)
            try:
                process.wait(within_s)
            finally:
                process.kill()
            said = []
            for stream in (stdout, stderr):
                stream.seek(0)
                said.append(stream.read())
        return subprocess.CompletedProcess([*words], process.wait(), *said)

    def _serve(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            server = subprocess.Popen(
                [*self._command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        atexit.register(_end, server, ours)
        return ours


def _end(server: subprocess.Popen[bytes], requests: socket.socket) -> None:
    requests.close()
    server.wait(END_WITHIN_S)
