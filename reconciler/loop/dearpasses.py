"""Passes that take long, or may: one at a time, in a thread where nobody else waits behind them.

Which those are is known from what the last pass over a key took, or when a pass where others wait came upon more than
it may read or change at once. The thread rests after each pass for as long as that took, so that however many such
keys there are, they leave half of a processor alone.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from netplumb.models.attachment import AttachmentKey
from netplumb.reconciler.converge.attachment import converge_guarded
from netplumb.reconciler.converge.linux import LinuxKernel
from netplumb.reconciler.loop.threadpasses import Passes
from netplumb.reconciler.pacing.queue import Queue, Urgency


class DearPasses:
    """`kernel` is the thread's own."""

    def __init__(self, passes: Passes, kernel: LinuxKernel) -> None:
        self._passes = passes
        self._kernel = kernel
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="dear-passes")
        self._queue = Queue(time.monotonic)
        self._wake = asyncio.Event()
        self.busy: set[AttachmentKey] = set()
        """Whose pass is under way here; nobody else may pass over it."""

    def mark(self, key: AttachmentKey, urgency: Urgency) -> None:
        self._queue.mark(key, urgency)
        self._wake.set()

    def freed(self) -> None:
        """Another thread is done with what it was busy with."""
        self._wake.set()

    async def run(self) -> None:
        """Runs until cancelled; what runs in the thread then is let finish."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while (key := self._queue.take(tuple(Urgency), self._passes.busy)) is not None:
                    await self._pass(key)
        finally:
            self._thread.shutdown(wait=True)

    async def _pass(self, key: AttachmentKey) -> None:
        if (attachment := self._passes.prepared(key, dear=True)) is None:
            return
        self.busy = {key}
        work = self._passes.work(attachment, may_block=True)
        pass_over = partial(converge_guarded, work, self._kernel)
        outcome = await asyncio.get_running_loop().run_in_executor(self._thread, pass_over)
        self.busy = set()
        self._passes.finished([outcome])
        await asyncio.sleep(outcome.cost_s)
