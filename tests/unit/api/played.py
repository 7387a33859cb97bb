"""A daemon as the CNI plugin sees it, played by a test; and the plugin as a runtime runs it."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Thread

CONFIG = b'{"cniVersion": "0.4.0", "name": "cluster"}'


def run(plugin: Path, command: str, config: bytes = CONFIG, **variables: str) -> subprocess.CompletedProcess[bytes]:
    environment = {"CNI_COMMAND": command, "CNI_IFNAME": "eth0", "SECRET": "x", **variables}
    return subprocess.run([plugin], input=config, capture_output=True, env=environment, timeout=30, check=False)


@contextmanager
def played(socket_path: Path, answer: bytes, *, hears_out: bool = True) -> Iterator[list[bytes]]:
    """A daemon for one request, which is kept, that says `answer` and leaves."""
    heard: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{socket_path}.cni")
        listening.listen()

        def play() -> None:
            connection, _ = listening.accept()
            with connection:
                while hears_out and not (heard and _whole(heard[-1])):
                    heard[:] = [b"".join(heard) + connection.recv(1 << 16)]
                connection.sendall(answer)

        thread = Thread(target=play)
        thread.start()
        try:
            yield heard
        finally:
            thread.join(30)


def _whole(request: bytes) -> bool:
    head, newline, rest = request.partition(b"\n")
    return bool(newline) and len(rest) == sum(int(word) for word in head.split()[2:])


@contextmanager
def hanging(socket_path: Path, *, full: bool) -> Iterator[None]:
    """A daemon that takes nobody: each waits for it, and where it is `full` as many wait as may."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(f"{socket_path}.cni")
        listening.listen(0)
        if full:
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.connect(f"{socket_path}.cni")
        yield
