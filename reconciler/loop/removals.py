"""Removals, off the event loop. The kernel waits 14 to 24 ms to remove one link and hardly longer for many, so what
comes in while one removal is under way goes together in the next; additions meanwhile wait at most for one batch. What
a client waits for goes first: a state file may give up thousands at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import Protocol

from netplumb.models.attachment import AttachmentKey
from netplumb.models.errors import StepError
from netplumb.reconciler.converge.linux import Doomed

BATCH = 32
OTHERS_LEAST = 8  # in each batch, if there are so many that no client waits for
LINGER_S = 0.012


class LinkRemover(Protocol):
    def remove_links(self, doomed: Sequence[Doomed]) -> Mapping[AttachmentKey, StepError | None]: ...


class Removals:
    """Collects doomed links and removes them in batches in a thread of its own. `removed` is called on the event loop
    with what came of each."""

    def __init__(self, kernel: LinkRemover, removed: Callable[[AttachmentKey, StepError | None], None]) -> None:
        self._kernel = kernel
        self._removed = removed
        self._awaited: dict[AttachmentKey, Doomed] = {}
        self._others: dict[AttachmentKey, Doomed] = {}
        self._under_way: set[AttachmentKey] = set()
        self._wake = asyncio.Event()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="removals")

    def add(self, doomed: Doomed, *, awaited: bool = False) -> None:
        key = doomed.key
        if key in self._under_way:
            return
        (self._awaited if key in self._awaited else self._others)[key] = doomed
        if awaited:
            self.hurry(key)
        self._wake.set()

    def hurry(self, key: AttachmentKey) -> None:
        """A client waits for it now."""
        if (doomed := self._others.pop(key, None)) is not None:
            self._awaited[key] = doomed

    def holds(self, key: AttachmentKey) -> bool:
        return key in self._awaited or key in self._others or key in self._under_way

    def _count(self) -> int:
        return len(self._awaited) + len(self._others)

    def _take(self) -> list[Doomed]:
        others = list(islice(self._others.values(), BATCH))
        batch = list(islice(self._awaited.values(), BATCH - min(len(others), OTHERS_LEAST)))
        batch += others[: BATCH - len(batch)]
        for doomed in batch:
            self._awaited.pop(doomed.key, None)
            self._others.pop(doomed.key, None)
        return batch

    async def _linger(self, expected: int) -> None:
        """Waits a moment for as many as there were the last time: clients whose removals ended together come back one
        after another, and half of them taken at once would make two waits of one."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while self._count() < min(expected, BATCH):
                    self._wake.clear()
                    await self._wake.wait()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        expected = 1
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._count():
                    await self._linger(expected)
                    batch = self._take()
                    self._under_way = {doomed.key for doomed in batch}
                    results = await loop.run_in_executor(self._executor, self._kernel.remove_links, batch)
                    self._under_way = set()
                    expected = len(batch) + self._count()
                    for key, error in results.items():
                        self._removed(key, error)
        finally:
            self._executor.shutdown(wait=True)
