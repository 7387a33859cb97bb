"""What this node writes to etcd about its attachments. Each kind begins anew whenever everything is read again, and is
written only while the name that it is written under is this node's."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial

from netplumb.models.status import WatchEvent
from netplumb.reconciler.cluster.etcd.client import Client
from netplumb.reconciler.cluster.keys import Layout
from netplumb.reconciler.cluster.presence import Presence
from netplumb.reconciler.cluster.reporting import ENDPOINTS_PAUSE_S, STATE_PAUSE_S, Reporting, endpoint, state


class Telling:
    """`watch` tells of all attachments, and then of each change. `told` is called with a kind that etcd has all of."""

    def __init__(
        self,
        client: Client,
        layout: Layout,
        node: str,
        presence: Presence,
        watch: Callable[[], AsyncIterator[WatchEvent]],
        told: Callable[[str], None],
        *,
        again_s: float,
    ) -> None:
        fence = presence.fence
        self._presence = presence
        self._again_s = again_s
        states, endpoints = layout.statuses(node), layout.endpoints_of(node)
        self._states = Reporting(client, states, state, fence, watch, partial(told, "status"), pause_s=STATE_PAUSE_S)
        self._endpoints = Reporting(
            client, endpoints, endpoint, fence, watch, partial(told, "endpoints"), pause_s=ENDPOINTS_PAUSE_S
        )
        self._named = asyncio.Event()

    def named(self) -> None:
        """The name was claimed, once more."""
        self._named.set()

    def begin_anew(self) -> None:
        """etcd may have lost what was told."""
        self._states.begin_anew()
        self._endpoints.begin_anew()

    async def tell_states(self) -> None:
        await self._tell(self._states)

    async def tell_endpoints(self) -> None:
        await self._tell(self._endpoints)

    async def _tell(self, reporting: Reporting) -> None:
        if not self._presence.is_held:  # no sooner, and no later: others wait for what is said anew
            self._named.clear()
            await self._named.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._again_s * random.uniform(0.75, 1.25)):
                await reporting.run()
