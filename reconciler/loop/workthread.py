"""A thread for one part of the daemon, which is woken and then does what is due. What reads and writes the kernel runs
in the thread, what decides runs on the event loop, one after the other.

A thread is never interrupted within a step: when the part is cancelled, what runs there is let finish.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Result = TypeVar("_Result")


class WorkThread:
    """`name` is that of the thread."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something is due."""
        self._wake.set()

    async def run(self, turn: Callable[[], Awaitable[None]]) -> None:
        """Takes a turn whenever it is woken, and another if it was woken during a turn. Runs until cancelled."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                await turn()
        finally:
            self._thread.shutdown(wait=True)

    async def do(self, work: Callable[[], _Result]) -> _Result:
        """What the work returns or raises."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
