"""Commands where no daemon answers: told at once and what to do, unless they are to wait."""

from __future__ import annotations

import asyncio
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import StartDaemon
from tests.e2e.daemons import COMMAND, STOP_WITHIN_S, Daemon
from tests.e2e.hosts import Host

UNAVAILABLE, TIMEOUT = 3, 6
PATIENCE_S = 30.0
AT_ONCE_S = PATIENCE_S / 3  # what Python takes to start on a busy machine, and far less than the patience
COMMANDS = (["status"], ["list"], ["get", "web"], ["check"], ["plan"], ["detach", "web"], ["watch"], ["events"])


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_daemon_that_is_down_is_told_at_once(node: Host, directory: Path, words: list[str]) -> None:
    """With the socket, and what starts one."""
    daemon = Daemon(node, directory)
    began = time.monotonic()
    done = daemon.command(*words, f"--socket={daemon.socket}", f"--timeout={PATIENCE_S}")
    assert time.monotonic() - began < AT_ONCE_S
    assert (done.returncode, done.stdout) == (UNAVAILABLE, "")
    assert f"no daemon answers on {daemon.socket}" in done.stderr
    assert "systemctl start netplumb" in done.stderr
    assert "--wait" in done.stderr


def test_a_path_that_no_socket_can_have_is_not_waited_for(node: Host, directory: Path) -> None:
    """Nor is told how to start a daemon there: none could."""
    path = f"{directory}/{'x' * 108}"
    began = time.monotonic()
    done = Daemon(node, directory).command("list", "--wait", f"--socket={path}", f"--timeout={PATIENCE_S}")
    assert time.monotonic() - began < AT_ONCE_S
    assert (done.returncode, done.stdout) == (UNAVAILABLE, "")
    assert "longer than the 107 bytes that fit a socket's address" in done.stderr
    assert "start one with" not in done.stderr


async def test_a_daemon_that_died_is_told_at_once(daemon: Daemon) -> None:
    """Its socket is still there, and nobody listens on it."""
    daemon.kill9()
    done = await asyncio.to_thread(daemon.command, "status", f"--socket={daemon.socket}", f"--timeout={PATIENCE_S}")
    assert done.returncode == UNAVAILABLE
    assert "Connection refused; start one with" in done.stderr


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
async def test_a_daemon_that_hangs_is_told_of(daemon: Daemon, words: list[str]) -> None:
    """Its kernel takes the connection, so that nothing fails: after a moment one line says what is waited for, and for
    how long."""
    daemon.pause()
    try:
        done = await asyncio.to_thread(daemon.command, *words, f"--socket={daemon.socket}", "--timeout=4")
    finally:
        daemon.resume()
    lines = done.stderr.split("\nnetplumb: ")
    assert " ".join(lines[0].split()) == (
        f"netplumb: the daemon on {daemon.socket} has not answered yet; waiting for it for up to 4 s (--timeout)"
    )
    assert len(lines) == 2, "the other one says how it ended"
    assert done.returncode in (UNAVAILABLE, TIMEOUT)


async def test_a_command_that_hangs_with_the_daemon_goes_on_with_it(daemon: Daemon) -> None:
    """The line comes well before the end, and the answer after all."""
    daemon.pause()
    line = daemon.node.command(str(COMMAND), "status", f"--socket={daemon.socket}", f"--timeout={PATIENCE_S}")
    asking = subprocess.Popen(  # noqa: ASYNC220
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert asking.stderr is not None
        said = await asyncio.wait_for(asyncio.to_thread(asking.stderr.readline), AT_ONCE_S)
        assert "has not answered yet" in said
        daemon.resume()
        await asyncio.to_thread(asking.wait, PATIENCE_S)
    finally:
        daemon.resume()
        asking.kill()
        asking.communicate()
    assert asking.returncode == 0


async def test_who_waits_is_answered_when_it_is_there(node: Host, directory: Path) -> None:
    """`--wait` waits for a daemon that does not run yet, and then gets its answer."""
    daemon = Daemon(node, directory)
    line = node.command(str(COMMAND), "list", "--wait", f"--socket={daemon.socket}", f"--timeout={PATIENCE_S}")
    waiting = subprocess.Popen(  # noqa: ASYNC220
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        await daemon.start()
        stdout, stderr = await asyncio.to_thread(waiting.communicate, timeout=PATIENCE_S)
    finally:
        waiting.kill()
        waiting.wait(STOP_WITHIN_S)
        daemon.end()
    assert (waiting.returncode, stderr) == (0, "")
    assert stdout.startswith("WORKLOAD")


async def test_without_access_the_setting_is_named(start_daemon: StartDaemon) -> None:
    """A socket that is there and not for the caller is no daemon that is down: waiting would not help."""
    daemon = await start_daemon()
    mode = daemon.socket.stat().st_mode
    daemon.socket.chmod(0)
    try:
        words = ("list", "--wait", f"--socket={daemon.socket}", f"--timeout={PATIENCE_S}")
        done = await asyncio.to_thread(daemon.command, *words)
    finally:
        daemon.socket.chmod(mode)
    assert (done.returncode, done.stdout) == (UNAVAILABLE, ""), done.stderr
    assert f"no access to {daemon.socket}: Permission denied" in done.stderr
    assert "socket_group" in done.stderr
