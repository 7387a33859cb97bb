"""Removals, off the event loop, which end when the kernel announces that a link is gone.

The kernel announces it after a millisecond, but answers the request only after some twenty, in which it holds no lock.
So a few requests wait for their answers side by side, each in a thread of its own, and what comes in meanwhile goes
together into the next one: a request for many links takes the kernel hardly longer than one for a single link. Those
that a client waits for go first, since a state file may give up thousands at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from netplumb.models.attachment import AttachmentKey
from netplumb.models.errors import StepError
from netplumb.reconciler.converge.removal import Doomed

BATCH = 32
OTHERS_LEAST = 8  # in each batch, if there are so many that no client waits for


class LinkRemover(Protocol):
    def remove_links(
        self, doomed: Sequence[Doomed], going: Callable[[Mapping[int, AttachmentKey]], None]
    ) -> Mapping[AttachmentKey, StepError | None]: ...


class Departures(Protocol):
    """Announces which links are gone, by index."""

    def fileno(self) -> int: ...
    def drain(self) -> Iterator[int]: ...


@dataclass(slots=True, eq=False)
class _Batch:
    """One request that is under way. `left` holds the links of each key that are still to go; the remover's thread
    fills it in before it sends the request, and does not touch it afterwards."""

    keys: set[AttachmentKey]
    left: dict[AttachmentKey, set[int]] = field(default_factory=dict)


class Removals:
    """Collects doomed links and removes them in batches, one at a time for each of the `removers`. `removed` is called
    on the event loop with what came of each, once its links are gone or it failed."""

    def __init__(
        self,
        removers: Sequence[LinkRemover],
        departures: Departures,
        removed: Callable[[AttachmentKey, StepError | None], None],
    ) -> None:
        self._removers = removers
        self._departures = departures
        self._removed = removed
        self._awaited: dict[AttachmentKey, Doomed] = {}
        self._others: dict[AttachmentKey, Doomed] = {}
        self._under_way: dict[AttachmentKey, _Batch] = {}
        self._going: dict[int, tuple[AttachmentKey, _Batch]] = {}
        self._wake = asyncio.Event()

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

    def _take(self) -> list[Doomed]:
        others = list(islice(self._others.values(), BATCH))
        batch = list(islice(self._awaited.values(), BATCH - min(len(others), OTHERS_LEAST)))
        batch += others[: BATCH - len(batch)]
        for doomed in batch:
            self._awaited.pop(doomed.key, None)
            self._others.pop(doomed.key, None)
        return batch

    async def run(self) -> None:
        """Runs until cancelled; requests that are then under way are let finish."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._departures.fileno(), self._told)
        try:
            with ThreadPoolExecutor(len(self._removers), thread_name_prefix="removals") as threads:
                async with asyncio.TaskGroup() as tasks:
                    for remover in self._removers:
                        tasks.create_task(self._serve(remover, threads))
        finally:
            loop.remove_reader(self._departures.fileno())

    async def _serve(self, remover: LinkRemover, threads: ThreadPoolExecutor) -> None:
        while True:
            while not (doomed := self._take()):
                self._wake.clear()
                await self._wake.wait()
            batch = _Batch({each.key for each in doomed})
            self._under_way.update(dict.fromkeys(batch.keys, batch))

            def going(indexes: Mapping[int, AttachmentKey], batch: _Batch = batch) -> None:
                for index, key in indexes.items():
                    batch.left.setdefault(key, set()).add(index)
                self._going.update((index, (key, batch)) for index, key in indexes.items())

            results = await asyncio.get_running_loop().run_in_executor(threads, remover.remove_links, doomed, going)
            for indexes in batch.left.values():
                for index in indexes:
                    self._going.pop(index, None)
            for key, error in results.items():
                self._end(key, batch, error)

    def _told(self) -> None:
        for index in self._departures.drain():
            if (gone := self._going.pop(index, None)) is None:
                continue
            key, batch = gone
            batch.left[key].discard(index)
            if not batch.left[key]:
                self._end(key, batch, None)

    def _end(self, key: AttachmentKey, batch: _Batch, error: StepError | None) -> None:
        """Ends a removal once: when the answer comes later, the key may have been attached and be removed again."""
        if self._under_way.get(key) is batch:
            del self._under_way[key]
            self._removed(key, error)
