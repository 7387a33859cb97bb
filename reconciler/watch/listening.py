"""Hears what the kernel tells and passes on what that marks. One change comes in several messages, so they are read
together a moment later; where messages were lost, everything is read anew.

Runs on the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from netplumb.models.attachment import AttachmentKey
from netplumb.reconciler.kernel.listener import Listener
from netplumb.reconciler.status.results import Results
from netplumb.reconciler.watch.hearing import hear

GATHER_EVENTS_S = 0.001
LOST_EVENTS_RESYNC_S = 1.0  # losses come in bursts; one more full read after a burst answers them all
_DRAIN_DATAGRAMS = 4096


class Listening:
    """`damaged` is called with each key that an event touches, `node` where one touches the node's own objects,
    `network` where one touches what is not ours, and `resync` where events were lost."""

    def __init__(
        self,
        listener: Listener,
        results: Results,
        *,
        damaged: Callable[[AttachmentKey], None],
        node: Callable[[], None],
        network: Callable[[], None],
        resync: Callable[[], None],
    ) -> None:
        self._listener = listener
        self._results = results
        self._damaged = damaged
        self._node = node
        self._network = network
        self._resync = resync
        self.just_applied: set[AttachmentKey] = set()
        """Whose passes have ended since the last drain."""
        self._loss_timer: asyncio.TimerHandle | None = None
        self._gathering: asyncio.TimerHandle | None = None

    def start(self) -> None:
        asyncio.get_running_loop().add_reader(self._listener.fileno(), self._told)

    def stop(self) -> None:
        asyncio.get_running_loop().remove_reader(self._listener.fileno())
        if self._gathering is not None:
            self._gathering.cancel()

    def _told(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listener.fileno())
        self._gathering = loop.call_later(GATHER_EVENTS_S, self._hear_gathered)

    def _hear_gathered(self) -> None:
        self.hear()
        self.start()

    def hear(self) -> None:
        """Reads what the kernel told, and marks what it touches."""
        heard = hear(self._listener.drain(_DRAIN_DATAGRAMS), self._results.hints, self.just_applied)
        self.just_applied.clear()
        self._results.tally.events += heard.events
        for key in heard.keys:
            self._damaged(key)
        if heard.node:
            self._node()
        if heard.network:
            self._network()
        if heard.lost:
            self._results.tally.lost_events += 1
            if self._loss_timer is None:
                self._resync()
                self._loss_timer = asyncio.get_running_loop().call_later(LOST_EVENTS_RESYNC_S, self._after_loss)

    def _after_loss(self) -> None:
        self._loss_timer = None
        self._resync()
