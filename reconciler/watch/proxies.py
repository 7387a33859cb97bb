"""Looks for proxy neighbours that went, since the kernel tells nobody of it; what it misses it marks, as events do.

A look is cheap but not free, and it grows with the number of attachments. So it is taken as often as costs at most half
a percent of a CPU, and not more often than is worth it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Set
from functools import partial
from typing import Protocol

import structlog

from netplumb.models.attachment import AttachmentKey
from netplumb.models.errors import Retryable
from netplumb.reconciler.converge.hints import Hints
from netplumb.reconciler.kernel.rtnetlink.listener import NODE_NSID

PAUSE_LEAST_S = 0.05
PAUSE_IDLE_S = 0.5  # while nobody should have one
PAUSES_A_LOOK = 200  # how much longer than a look the pause after it is
AT_ONCE_MOST_S = 0.002  # after one that took longer, the next is taken in a thread

log = structlog.get_logger(__name__)


class Looker(Protocol):
    def indexes(self) -> Set[int]: ...


async def watch_proxies(looker: Looker, hints: Hints, mark: Callable[[AttachmentKey], None]) -> None:
    """Looks without end. `mark` is called with each attachment whose proxy neighbour is not there."""
    took_s = 0.0
    while True:
        wanted = frozenset(hints.proxied)
        if wanted:
            look = partial(_look, looker, wanted)
            # The kernel walks what workloads have of such neighbours too, however many those are.
            missing, took_s = await asyncio.to_thread(look) if took_s > AT_ONCE_MOST_S else look()
            for index in missing:
                if (key := hints.at((NODE_NSID, index))) is not None:
                    mark(key)
        await asyncio.sleep(max(PAUSE_LEAST_S, took_s * PAUSES_A_LOOK) if wanted else PAUSE_IDLE_S)


def _look(looker: Looker, wanted: Set[int]) -> tuple[Set[int], float]:
    """Which of these are missing, and how long the thread worked for that."""
    started = time.thread_time()
    try:
        missing = wanted - looker.indexes()
    except (Retryable, OSError) as error:
        log.debug("no look at the proxy neighbours", cause=str(error))
        missing = set()
    return missing, time.thread_time() - started
