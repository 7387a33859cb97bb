"""Reads of the kernel for those who ask, beside the loop: Check and Plan.

The kernel that is read serves one thread, which is its own here. So a read that nobody waits for any more still ends
before the next one begins, and never shares the kernel with it; of many reads, those that have not begun are dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import TypeVar

from netplumb.reconciler.converge.linux import LinuxKernel

_TURN = 8  # others have their turn after so many reads of one who asks for thousands

T = TypeVar("T")


class Reader:
    """`kernel` belongs to the reader's thread until `close`, which waits for the read that is under way."""

    def __init__(self, kernel: LinuxKernel) -> None:
        self._kernel = kernel
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reader")

    async def read(self, read: Callable[[LinuxKernel], T]) -> T:
        return await self._in_thread(partial(read, self._kernel))

    async def read_each(self, reads: Iterable[Callable[[LinuxKernel], T]]) -> list[T]:
        """What each of the reads tells, in their order."""
        waiting, told = iter(reads), list[T]()
        while turn := list(islice(waiting, _TURN)):
            told += await self._in_thread(partial(self._all, turn))
        return told

    def _all(self, reads: Sequence[Callable[[LinuxKernel], T]]) -> list[T]:
        return [read(self._kernel) for read in reads]

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        self._thread.shutdown(wait=True)
