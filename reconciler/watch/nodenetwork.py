"""Looks at the node's network beside what is ours: after an event that may concern it, and where somebody is to be told
of an address whether it is free and what is known may be of a moment ago.

A table of routes may be large, so it is read in a thread, and the longer that worked for a look, the longer is the
pause after it: what it waited for on a busy machine does not count.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from netplumb.models.base import IPAddress, IPNetwork
from netplumb.models.errors import StepError
from netplumb.models.network import Pool
from netplumb.models.nodenetwork import NodeNetwork
from netplumb.reconciler.decide.nodenetwork import surveyed, whose_else
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.rtnetlink.nodenetwork import read_network
from netplumb.reconciler.kernel.rtnetlink.routelookups import ends_here

GATHER_S = 0.02  # one change comes in several events, and the address of a router advertisement after its route
PAUSE_LEAST_S = 0.2
PAUSES_A_LOOK = 50  # how much longer than the work of a look the pause after it is

log = structlog.get_logger(__name__)


def look(pools: Sequence[Pool], cluster: Sequence[IPNetwork] = ()) -> NodeNetwork:
    """What the node's network is now, and means for these pools and for a cluster of these. Raises Retryable."""
    return surveyed(read_network(), pools, cluster)


def _look_and_cost(pools: Sequence[Pool], cluster: Sequence[IPNetwork]) -> tuple[NodeNetwork, float]:
    """And what the thread worked for it, in seconds."""
    began_s = time.thread_time()
    return look(pools, cluster), time.thread_time() - began_s


class NetworkWatch:
    """`known` is what the last look saw; `changed` is called on the event loop with what is not as before."""

    def __init__(
        self,
        known: NodeNetwork,
        pools: Callable[[], Sequence[Pool]],
        changed: Callable[[NodeNetwork], None],
        cluster: Callable[[], Sequence[IPNetwork]] = tuple,
    ) -> None:
        self._known = known
        self._pools = pools
        self._changed = changed
        self._cluster = cluster
        self._due = asyncio.Event()
        self._looking = asyncio.Lock()

    def mark(self) -> None:
        """Something may have changed."""
        self._due.set()

    async def check(self, addresses: Sequence[IPAddress]) -> None:
        """Looks at once where the kernel takes one of these for its own, or ends the way to it, and that is not known
        yet. It is asked of each by itself, which takes microseconds."""
        if not addresses:
            return
        try:
            with Channel() as channel:
                found = ends_here(channel, addresses)
            if any(not whose_else(address, self._known) for address in found):
                await self._look()
        except (StepError, OSError) as error:
            log.warning("the node's network cannot be read", cause=str(error))

    async def run(self) -> None:
        while True:
            await self._due.wait()
            await asyncio.sleep(GATHER_S)
            self._due.clear()
            cost_s = 0.0
            try:
                cost_s = await self._look()
            except (StepError, OSError) as error:
                log.warning("the node's network cannot be read", cause=str(error))
                self._due.set()
            await asyncio.sleep(max(PAUSE_LEAST_S, cost_s * PAUSES_A_LOOK))

    async def _look(self) -> float:
        """One at a time: what began earlier must not be taken for newer because it ended later. Returns the cost."""
        async with self._looking:
            known, cost_s = await asyncio.to_thread(_look_and_cost, self._pools(), self._cluster())
            self.take(known)
            return cost_s

    def take(self, known: NodeNetwork) -> None:
        """Passes on what somebody saw, if it is not as before."""
        if known != self._known:
            self._known = known
            self._changed(known)
