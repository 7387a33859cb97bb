"""The daemon's socket: never open wider than its setting says, and never put over something else."""

from __future__ import annotations

import asyncio
import grp
import os
import socket
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.daemons import READY_WITHIN_S, Daemon
from tests.e2e.hosts import Host

Configured = Callable[..., Daemon]

STARTS = 2
LOOK_EVERY_S = 0.0001
NOBODY = 65534


@pytest.fixture
def configured(node: Host, directory: Path) -> Iterator[Configured]:
    """A daemon, not started, with settings of its own."""
    made: list[Daemon] = []

    def make(**settings: str) -> Daemon:
        daemon = Daemon(node, directory / "0")
        daemon.configure(**settings)
        made.append(daemon)
        return daemon

    yield make
    for daemon in made:
        daemon.end()


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


class Onlooker:
    """Looks at a directory without pause: which modes its sockets were ever seen with, wherever they lay, and whether
    somebody without rights could ever connect."""

    def __init__(self, directory: Path, socket_path: Path) -> None:
        self.modes: set[int] = set()
        self.reachable_modes: set[int] = set()
        self.looks = 0
        self._directory = directory
        self._socket_path = socket_path
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Onlooker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ending.wait(LOOK_EVERY_S):
            self.looks += 1
            self._see(self._socket_path, enterable=True)
            for place in self._directory.glob(".*/s"):
                self._see(place, enterable=_others_may_enter(place.parent))

    def _see(self, path: Path, *, enterable: bool) -> None:
        try:
            mode = path.lstat().st_mode
        except OSError:
            return
        if stat.S_ISSOCK(mode):
            self.modes.add(stat.S_IMODE(mode))
            if enterable:
                self.reachable_modes.add(stat.S_IMODE(mode))


def _others_may_enter(directory: Path) -> bool:
    try:
        return bool(directory.stat().st_mode & 0o077)
    except OSError:
        return False


@pytest.mark.parametrize("mode", [0o600, 0o660])
async def test_the_socket_is_never_open_wider_than_asked(configured: Configured, mode: int) -> None:
    """Even where the umask takes nothing away, from the first moment that anybody could reach it, at every start."""
    daemon = configured(socket_mode=f"{mode:04o}")
    with _umask(0):
        await daemon.start()
        with Onlooker(daemon.directory, daemon.socket) as onlooker:
            for _ in range(STARTS):
                await daemon.restart()
                daemon.kill9()  # and its socket stays behind
                await daemon.start()
    print(f"{onlooker.looks} looks, modes {sorted(map(oct, onlooker.modes))}")
    assert onlooker.reachable_modes == {mode}
    assert stat.S_IMODE(daemon.socket.stat().st_mode) == mode
    assert sorted(path.name for path in daemon.directory.glob(".*")) == []


async def test_the_socket_belongs_to_the_group_asked_for(configured: Configured) -> None:
    """A member of the group connects, somebody else does not."""
    group = next(it for it in grp.getgrall() if it.gr_gid not in (0, NOBODY, os.getgid()))
    daemon = await configured(socket_group=group.gr_name, socket_mode="0660").start()
    assert daemon.socket.stat().st_gid == group.gr_gid
    daemon.directory.parent.chmod(0o755)
    daemon.directory.chmod(0o755)
    assert _connects(daemon.socket, group.gr_gid)
    assert not _connects(daemon.socket, NOBODY)


def _connects(path: Path, gid: int) -> bool:
    """Whether an unprivileged user of the group can connect."""
    words = ["setpriv", f"--reuid={NOBODY}", f"--regid={gid}", "--clear-groups", "--"]
    code = f"import socket; socket.socket(socket.AF_UNIX).connect({str(path)!r})"
    done = subprocess.run([*words, "/usr/bin/python3", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or "PermissionError" in done.stderr, done.stderr
    return done.returncode == 0


def _put_file(path: Path) -> None:
    path.write_text("precious")


def _put_directory(path: Path) -> None:
    path.mkdir()


def _put_link(path: Path) -> None:
    path.symlink_to("/dev/null")


def _put_fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("put", [_put_file, _put_directory, _put_link, _put_fifo])
async def test_what_is_not_a_socket_is_not_replaced(node: Host, directory: Path, put: Callable[[Path], None]) -> None:
    """The daemon does not start, says what is in its way, and leaves it as it is."""
    daemon = Daemon(node, directory / "0")
    put(daemon.socket)
    before = daemon.socket.lstat()
    with pytest.raises(AssertionError, match="is not a socket"):
        await daemon.start()
    assert daemon.process.wait(READY_WITHIN_S) != 0
    after = daemon.socket.lstat()
    assert (before.st_ino, before.st_mode, before.st_mtime_ns) == (after.st_ino, after.st_mode, after.st_mtime_ns)


async def test_a_socket_that_somebody_else_serves_is_not_replaced(node: Host, directory: Path) -> None:
    """Another program's socket stays that program's."""
    daemon = Daemon(node, directory / "0")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(daemon.socket))
        other.listen()
        inode = daemon.socket.lstat().st_ino
        with pytest.raises(AssertionError, match="another daemon answers"):
            await daemon.start()
        assert daemon.process.wait(READY_WITHIN_S) != 0
        assert daemon.socket.lstat().st_ino == inode


async def test_a_socket_that_is_taken_away_comes_back(daemon: Daemon) -> None:
    """Whoever clears the directory cuts clients off for a moment, not until the daemon is started again."""
    daemon.socket.unlink()
    async with asyncio.timeout(READY_WITHIN_S), daemon.client(READY_WITHIN_S) as client:
        assert (await client.status()).ready
    assert daemon.socket.is_socket()
