"""What the daemon's process holds while its clients come and go."""

from __future__ import annotations

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e.daemons import Daemon
from tests.e2e.waiting import until
from tests.footprint import footprint

SETTLES_WITHIN_S = 30.0


def resident_bytes(daemon: Daemon) -> int:
    return footprint(daemon.process.pid).rss_kib << 10


async def descriptors_when_connected(daemon: Daemon, client: AsyncClient) -> int:
    """With the client's own connection, which it opens with its first call."""
    await client.status()
    return footprint(daemon.process.pid).fds


async def let_go(daemon: Daemon, before: int) -> None:
    """Waits until the daemon holds no more descriptors than before; connections close a moment after their clients."""
    await until(
        lambda: footprint(daemon.process.pid).fds <= before,
        f"no more than {before} descriptors are open",
        within_s=SETTLES_WITHIN_S,
    )
