"""Those who wait for the loop: an RPC and the generation that it wants to see in the kernel, or gone from it."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from netplumb.models.attachment import AttachmentKey
from netplumb.models.errors import Superseded


class Waiters:
    def __init__(self) -> None:
        self._waiting: defaultdict[AttachmentKey, list[tuple[int, asyncio.Future[None]]]] = defaultdict(list)

    async def wait(self, key: AttachmentKey, generation: int, timeout_s: float) -> None:
        """Returns when the generation was reached. Raises what it failed with, Superseded when a later wish took its
        place, TimeoutError when neither happened in time."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (generation, future)
        self._waiting[key].append(entry)
        try:
            async with asyncio.timeout(timeout_s):
                await future
        finally:
            self._waiting[key].remove(entry)
            if not self._waiting[key]:
                del self._waiting[key]

    def has(self, key: AttachmentKey) -> bool:
        """Whether anybody waits for the key."""
        return key in self._waiting

    def reached(self, key: AttachmentKey, generation: int) -> None:
        for wanted, future in self._waiting.get(key, ()):
            if wanted == generation and not future.done():
                future.set_result(None)

    def failed(self, key: AttachmentKey, generation: int, error: Exception) -> None:
        for wanted, future in self._waiting.get(key, ()):
            if wanted == generation and not future.done():
                future.set_exception(error)

    def supersede(self, key: AttachmentKey, generation: int) -> None:
        """A wish of this generation is in force; who waits for an older one waits for nothing."""
        for wanted, future in self._waiting.get(key, ()):
            if wanted < generation and not future.done():
                future.set_exception(superseded(key))


def superseded(key: AttachmentKey) -> Superseded:
    return Superseded(f"the wish for {key} was detached or replaced by a later one")
