"""Reads the kernel's events and marks what they concern. One change comes as several messages, so they are read
together a moment later. If messages were lost, everything is read anew, less and less often while losses go on.

A namespace that sends too many events is muted, and what is attached to it is marked now and then instead. A turn takes
a few milliseconds at most, so that nothing waits behind a flood.

Runs on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from netplumb.models.attachment import AttachmentKey
from netplumb.reconciler.kernel.rtnetlink.listener import Listener
from netplumb.reconciler.pacing.backoff import backoff_s
from netplumb.reconciler.status.results import Results
from netplumb.reconciler.watch.hearing import hear

GATHER_EVENTS_S = 0.001
LOST_EVENTS_RESYNC_S = 1.0  # losses come in bursts; one more full read after a burst answers them all
LOST_EVENTS_RESYNC_MOST_S = 30.0
MUTED_LOOK_S = 1.0
_TURN_MESSAGES, _TURN_S = 4096, 0.004  # of the node, and of workloads

log = structlog.get_logger(__name__)


class Listening:
    """`damaged` is called with each key that an event concerns, `node` if one concerns the node's own objects,
    `network` if one concerns what is not ours, and `resync` if events were lost."""

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
        """Keys whose passes have ended since the last drain."""
        self._floods = results.floods
        self._loss_timer: asyncio.TimerHandle | None = None
        self._lost_more = False
        self._bursts = 0
        self._muted_timer: asyncio.TimerHandle | None = None
        self._gathering: asyncio.Handle | None = None
        self._just_heard = False

    def start(self) -> None:
        for fileno in self._listener.filenos():
            asyncio.get_running_loop().add_reader(fileno, self._told)

    def _pause(self) -> None:
        for fileno in self._listener.filenos():
            asyncio.get_running_loop().remove_reader(fileno)

    def stop(self) -> None:
        self._pause()
        for due in (self._gathering, self._loss_timer, self._muted_timer):
            if due is not None:
                due.cancel()

    def _told(self) -> None:
        if self._just_heard:
            return  # the socket stays readable if more is there
        self._pause()
        self._gathering = asyncio.get_running_loop().call_later(GATHER_EVENTS_S, self._gathered)

    def _gathered(self) -> None:
        """Runs after the answers to clients of a slice in the same turn of the event loop."""
        self._gathering = asyncio.get_running_loop().call_soon(self._hear_gathered)

    def _hear_gathered(self) -> None:
        self.hear()
        self.start()

    def hear_now(self) -> None:
        """As `hear`, when there certainly are events. The event loop, whose socket became readable too, need not act
        on it."""
        self._just_heard = True
        asyncio.get_running_loop().call_soon(self._heard)
        self.hear()

    def _heard(self) -> None:
        self._just_heard = False

    def hear(self) -> None:
        """Reads the pending events, and marks what they concern."""
        began = time.thread_time()
        messages = self._listener.drain(_TURN_MESSAGES, _TURN_S, self._heeds)
        heard = hear(messages, self._results.hints, self.just_applied)
        took_s = time.thread_time() - began
        if self._listener.is_drained:
            self.just_applied.clear()
        self._results.tally.events += heard.events
        self._results.hints.uppers.heard(heard.uppers)
        for key in heard.keys:
            self._damaged(key)
        if heard.node:
            self._node()
        if heard.network:
            self._network()
        for gone in heard.gone:
            self._floods.forget(gone)
        self._settle_floods(took_s / max(heard.events, 1))
        if heard.lost:
            self._lost()

    def _heeds(self, nsid: int, messages: int) -> bool:
        """Whether to read events of this namespace. One with no known attachment concerns nothing."""
        if not self._results.hints.in_namespace(nsid):
            self._results.hints.told_of_nobody(nsid)
            return False
        return self._floods.heeds(nsid, messages)

    def _settle_floods(self, each_s: float = 0.0) -> None:
        """What becomes muted, or no longer is, gets one pass, so that its status says so."""
        for nsid in self._floods.settle(time.monotonic(), each_s):
            for key in self._results.hints.in_namespace(nsid):
                muted = nsid in self._floods.muted
                (log.warning if muted else log.info)("events are muted" if muted else "events are heard", at=str(key))
                self._damaged(key)
        if self._floods.muted and self._muted_timer is None:
            self._muted_timer = asyncio.get_running_loop().call_later(MUTED_LOOK_S, self._look_at_muted)

    def _look_at_muted(self) -> None:
        self._muted_timer = None
        for nsid in self._floods.muted:
            for key in self._results.hints.in_namespace(nsid):
                self._damaged(key)
        self._settle_floods()

    def _lost(self) -> None:
        self._results.tally.lost_events += 1
        self._lost_more = True
        if self._loss_timer is None:
            self._resync()
            self._resync_later()

    def _resync_later(self) -> None:
        self._lost_more = False
        after_s = backoff_s(LOST_EVENTS_RESYNC_S, LOST_EVENTS_RESYNC_MOST_S, self._bursts)
        self._loss_timer = asyncio.get_running_loop().call_later(after_s, self._after_loss)

    def _after_loss(self) -> None:
        """Resyncs once more in any case: the kernel does not report every loss."""
        self._loss_timer = None
        self._bursts = self._bursts + 1 if self._lost_more else 0
        self._resync()
        if self._lost_more:
            self._resync_later()
