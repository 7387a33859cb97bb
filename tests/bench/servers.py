"""The processes that are measured: the daemon on a node of its own, and the server whose calls do nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from tests.bench.objects import POOLS
from tests.e2e.daemons import INSTALLED, ROOT, STOP_WITHIN_S, Daemon
from tests.e2e.hosts import Host

# The last of a flag that is given twice counts; these are the defaults that the tests' daemon departs from.
AS_BY_DEFAULT = "--log-level=info --log-format=text --resync-s=30"


@asynccontextmanager
async def daemon(
    node: Host, directory: Path, pools: tuple[str, ...] = POOLS, more_flags: str = ""
) -> AsyncIterator[Daemon]:
    """With the default settings, but for where it keeps its things, and those that `more_flags` say."""
    flags = f"{AS_BY_DEFAULT} {more_flags}"
    running = await Daemon(node, directory, pools=pools, flags=flags, program=INSTALLED).start()
    try:
        yield running
    finally:
        if running.running:
            running.terminate()


@contextmanager
def nothing(directory: Path) -> Iterator[Path]:
    """The socket of the server whose calls do nothing; clients wait until it listens."""
    socket = directory / "nothing.sock"
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.nothing", str(socket)], cwd=ROOT)
    try:
        yield socket
    finally:
        process.terminate()
        process.wait(STOP_WITHIN_S)
