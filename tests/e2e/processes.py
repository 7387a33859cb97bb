"""What the daemon's process holds, read from outside: descriptors, threads, memory."""

from __future__ import annotations

import os
from pathlib import Path

from api.client import Client
from tests.e2e.daemons import Daemon
from tests.e2e.waiting import until

SETTLES_WITHIN_S = 30.0


def descriptors(daemon: Daemon) -> int:
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))  # noqa: PTH208 - names that vanish meanwhile are no error


def resident_bytes(daemon: Daemon) -> int:
    pages = int(Path(f"/proc/{daemon.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def descriptors_when_connected(daemon: Daemon, client: Client) -> int:
    """With the client's own connection, which it opens with its first call."""
    await client.status()
    return descriptors(daemon)


async def let_go(daemon: Daemon, before: int) -> None:
    """Waits until the daemon holds no more descriptors than before; connections close a moment after their clients."""
    await until(
        lambda: descriptors(daemon) <= before,
        f"no more than {before} descriptors are open",
        within_s=SETTLES_WITHIN_S,
    )
