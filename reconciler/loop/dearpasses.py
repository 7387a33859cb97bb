"""Passes that take long, or may: one at a time, in a thread where no other pass waits behind them.

A key comes here if its last pass took long, or if a pass on the event loop's thread met more than it may read or change
at once. The thread rests after each pass for as long as the pass took, so that such keys, however many they are, leave
half of a processor free.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial

from netplumb.models.attachment import AttachmentKey
from netplumb.reconciler.converge.attachment import converge_guarded
from netplumb.reconciler.converge.linux import LinuxKernel
from netplumb.reconciler.loop.threadpasses import Passes
from netplumb.reconciler.loop.workthread import WorkThread
from netplumb.reconciler.pacing.queue import Queue, Urgency


class DearPasses:
    """`kernel` is the thread's own."""

    def __init__(self, passes: Passes, kernel: LinuxKernel) -> None:
        self._passes = passes
        self._kernel = kernel
        self._thread = WorkThread("dear-passes")
        self._queue = Queue(time.monotonic)
        self.busy: set[AttachmentKey] = set()
        """The key with a pass under way here; no other thread may start one for it."""

    def mark(self, key: AttachmentKey, urgency: Urgency) -> None:
        self._queue.mark(key, urgency)
        self._thread.wake()

    def freed(self) -> None:
        """Another thread is no longer busy with its keys."""
        self._thread.wake()

    async def run(self) -> None:
        """Runs until cancelled; what then runs in the thread is let finish."""
        await self._thread.run(self._turn)

    async def _turn(self) -> None:
        while (key := self._queue.take(tuple(Urgency), self._passes.busy)) is not None:
            await self._pass(key)

    async def _pass(self, key: AttachmentKey) -> None:
        if (attachment := self._passes.prepared(key, dear=True)) is None:
            return
        self.busy = {key}
        work = self._passes.work(attachment, may_block=True)
        outcome = await self._thread.do(partial(converge_guarded, work, self._kernel))
        self.busy = set()
        self._passes.finished([outcome])
        await asyncio.sleep(outcome.cost_s)
