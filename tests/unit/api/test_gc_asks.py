"""`netplumb gc` at a terminal: what would go is shown, and it is asked."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netplumb.api.cli.gc import _collect_only
from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.server.server import Server
from tests.unit.api.fake import FakeWorkloads, view
from tests.unit.api.test_cli import NETPLUMB

ENDS_WITHIN_S = 60.0
OWN_TERMINAL = "import fcntl, termios; fcntl.ioctl(1, termios.TIOCSCTTY, 0)"


@contextmanager
def at_terminal(
    socket_path: Path, *words: str, stdin: bytes | None = None
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The command with a terminal of its own, and that terminal's other end; stdin may be something else."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", f"{OWN_TERMINAL}; {NETPLUMB}", "gc", f"--socket={socket_path}", *words],
        stdin=theirs if stdin is None else subprocess.PIPE,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        if stdin is not None:
            assert process.stdin is not None
            process.stdin.write(stdin)
            process.stdin.close()
        yield ours, process
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read_until(terminal: int, words: bytes) -> bytes:
    said = b""
    while words not in said:
        said += os.read(terminal, 4096)
    return said


async def ended(process: subprocess.Popen[bytes]) -> int:
    return await asyncio.to_thread(process.wait, ENDS_WITHIN_S)


@pytest.mark.parametrize("stdin", [None, b"c9\n"], ids=["typed", "a list by stdin"])
@pytest.mark.parametrize(("answer", "left"), [(b"y\n", 0), (b"n\n", 1), (b"\n", 1)])
async def test_it_is_shown_and_asked(
    server: Server, workloads: FakeWorkloads, socket_path: Path, stdin: bytes | None, answer: bytes, left: int
) -> None:
    """Also where the list of the living comes from another program; nothing goes without a yes."""
    living = ["--none"] if stdin is None else ["--alive-file", "-"]
    with at_terminal(socket_path, "--source", "rpc", *living, stdin=stdin) as (terminal, process):
        said = await asyncio.to_thread(read_until, terminal, b"[y/N]")
        assert b"to detach web-1/eth0" in said
        assert len(workloads.views) == 1
        os.write(terminal, answer)
        assert await ended(process) == left
    assert len(workloads.views) == left


async def test_who_says_yes_beforehand_is_not_asked(
    server: Server, workloads: FakeWorkloads, socket_path: Path
) -> None:
    with at_terminal(socket_path, "--source", "rpc", "--none", "--yes") as (terminal, process):
        said = await asyncio.to_thread(read_until, terminal, b"\n")
        assert b"detached web-1/eth0" in said
        assert await ended(process) == 0
    assert not workloads.views


async def test_what_came_while_the_question_stood_stays(client: AsyncClient, workloads: FakeWorkloads) -> None:
    """Only what was shown goes."""
    shown = await client.gc([], "rpc", dry_run=True)
    workloads.views[view("came").key] = view("came")
    removed = await _collect_only(client, "rpc", set(), shown)
    assert [it.workload_id for it in removed] == ["web-1"]
    assert [key.workload_id for key in workloads.views] == ["came"]
