"""One daemon a node, one a data directory, one a socket: who comes second is told so, and touches nothing."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netplumb.reconciler.kernel.nodelock import NAME, NodeInUseError, NodeLock
from tests.e2e.conftest import StartDaemon
from tests.e2e.daemons import FORKED, READY_WITHIN_S, Daemon
from tests.e2e.hosts import Host, kernel_state, temporary
from tests.e2e.losses import all_attached
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, v4

_BACKLOG_AND_MORE = 100
NOBODY = 65534


@pytest.fixture
def second_node() -> Iterator[Host]:
    with temporary("second") as host:
        host.ip("link set lo up")
        yield host


def start_another(node: Host, socket_path: Path, data_dir: Path) -> str:
    """What another daemon says before it ends with 1; it must not run."""
    words = ("daemon", "--pool=10.214.0.0/24", "--pool=fd14::/64", "--log-level=error")
    places = (f"--socket={socket_path}", f"--data-dir={data_dir}")
    done = FORKED.run(node, (*words, *places), within_s=READY_WITHIN_S)
    assert done.returncode == 1, done.stderr
    (said,) = done.stderr.splitlines()
    return said


def untouched(node: Host) -> tuple[set[str], str, str]:
    """What any daemon changes first of all."""
    return kernel_state(node), node.ruleset(), node.sysctl("net/ipv4/ip_forward")


async def serves(daemon: Daemon, node: Host, web: Host) -> bool:
    async with daemon.client() as client:
        answer = await client.attach(attach(web))
        return (await client.status()).ready and node.ping(v4(answer))


async def test_a_second_daemon_on_the_node_is_refused(daemon: Daemon, node: Host, web: Host) -> None:
    """Whatever directory and socket it has: the first one's process is named, its attachments are not touched, and
    nothing is left that a later daemon could take for desired state."""
    async with daemon.client() as client:
        await client.attach(attach(web))
    before = untouched(node)
    other = daemon.directory / "other"
    said = start_another(node, daemon.directory / "other.sock", other)
    assert f"process {daemon.process.pid}" in said
    assert untouched(node) == before
    assert not other.exists()
    assert await serves(daemon, node, web)


async def test_each_that_comes_later_is_told_who_is_there(daemon: Daemon, node: Host) -> None:
    """The third is told the same as the second, whatever became of that."""
    for name in ("second", "third", "fourth"):
        said = start_another(node, daemon.directory / f"{name}.sock", daemon.directory / name)
        assert f"process {daemon.process.pid}" in said


async def test_a_purge_beside_a_daemon_is_refused(daemon: Daemon, node: Host, web: Host) -> None:
    """Also one that looks at another data directory."""
    async with daemon.client() as client:
        await client.attach(attach(web))
    before = untouched(node)
    done = daemon.command("purge", "--yes", f"--data-dir={daemon.directory}/other")
    assert done.returncode == 1
    assert "another netplumb daemon works on this node" in done.stderr
    assert untouched(node) == before


async def test_a_second_daemon_on_the_data_is_refused(daemon: Daemon, node: Host, second_node: Host, web: Host) -> None:
    """From another node of this machine: the directory is named, and the store is not taken for another node's."""
    before = untouched(second_node)
    said = start_another(second_node, daemon.directory / "other.sock", daemon.data_dir)
    assert str(daemon.data_dir) in said
    assert untouched(second_node) == before
    assert not list(daemon.data_dir.glob("*other-boot*"))
    assert await serves(daemon, node, web)


async def test_a_socket_on_which_a_daemon_answers_is_refused(
    daemon: Daemon, node: Host, second_node: Host, web: Host
) -> None:
    """A daemon of another node with the same socket path ends before it has done anything there."""
    before = untouched(second_node)
    said = start_another(second_node, daemon.socket, daemon.directory / "other")
    assert f"{daemon.socket}: another daemon answers on it" in said
    assert untouched(second_node) == before
    assert await serves(daemon, node, web)


@contextmanager
def something_else(kind: str, path: Path) -> Iterator[None]:
    """Something at the path that is not a daemon's socket, and that must be the same afterwards."""
    listener: socket.socket | None = None
    match kind:
        case "file":
            path.write_text("precious")
        case "directory":
            path.mkdir()
            (path / "precious").touch()
        case "link":
            path.symlink_to("/dev/null")
        case _:
            type_ = socket.SOCK_DGRAM if kind == "datagram socket" else socket.SOCK_STREAM
            listener = socket.socket(socket.AF_UNIX, type_)
            listener.bind(str(path))
            if type_ is socket.SOCK_STREAM:
                listener.listen(1)
    before = path.lstat()
    yield
    after = path.lstat()
    assert (after.st_ino, after.st_mode, after.st_mtime) == (before.st_ino, before.st_mode, before.st_mtime)
    if listener is not None:
        listener.close()


@pytest.mark.parametrize("kind", ["file", "directory", "link", "program", "datagram socket"])
async def test_a_path_that_something_else_uses_is_left_alone(second_node: Host, directory: Path, kind: str) -> None:
    """A start that cannot have its socket is refused with the path; what is there and the node are not touched."""
    path = directory / "net.sock"
    before = untouched(second_node)
    with something_else(kind, path):
        said = start_another(second_node, path, directory / "data")
    assert str(path) in said
    assert untouched(second_node) == before


async def test_a_socket_that_a_kill_left_behind_is_taken_over(daemon: Daemon, node: Host, web: Host) -> None:
    """The dead daemon's socket is in nobody's way, its locks went with it, and its successor has the same path."""
    async with daemon.client() as client:
        await client.attach(attach(web))
    daemon.kill9()
    assert daemon.socket.is_socket()
    inode = daemon.socket.stat().st_ino
    await daemon.start()
    assert daemon.socket.stat().st_ino != inode
    async with daemon.client() as client:
        await until(lambda: all_attached(client, 1), "attached")
    assert [it.name for it in daemon.socket.parent.glob(".*")] == []


async def test_a_strangers_hold_on_the_nodes_lock_does_not_stop_a_daemon(
    node: Host, web: Host, start_daemon: StartDaemon
) -> None:
    """Any user of the node can take the name; only a process that could be a netplumb here is heeded."""
    with held_by_a_stranger(node):
        daemon = await start_daemon()
        assert await serves(daemon, node, web)
        assert "held by a stranger" in daemon.logged()


@contextmanager
def held_by_a_stranger(node: Host) -> Iterator[None]:
    """A process without rights that has the name of the node's lock."""
    script = (
        f"import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind({NAME!r}); s.listen(1); "
        "print('held', flush=True); sys.stdin.read()"
    )
    words = node.command("setpriv", f"--reuid={NOBODY}", "--clear-groups", "/usr/bin/env", "python3", "-c", script)
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stranger:
        assert stranger.stdout is not None
        assert stranger.stdout.readline() == b"held\n"
        yield


def test_everyone_who_asks_is_told_who_holds_the_lock(second_node: Host) -> None:
    """However many asked before, whose questions are long forgotten; and nobody, once it was given up."""
    with second_node.enter():
        lock = NodeLock()
        for _ in range(_BACKLOG_AND_MORE):
            with pytest.raises(NodeInUseError, match=rf"process {os.getpid()}\)"):
                NodeLock()
        lock.close()
        NodeLock().close()


def test_the_lock_is_the_nodes_alone(second_node: Host) -> None:
    """Daemons of different nodes on one machine do not see each other's."""
    with temporary("third") as third:
        with second_node.enter():
            one = NodeLock()
            with pytest.raises(NodeInUseError):
                NodeLock()
        with third.enter():
            NodeLock().close()
        one.close()
        with second_node.enter():
            NodeLock().close()
