"""An event loop in a thread of its own, for calls from code that has none."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from threading import Lock, Thread
from typing import Any, TypeVar

T = TypeVar("T")


class Closed(RuntimeError):
    """The loop was closed, before the call or during it."""

    def __init__(self) -> None:
        super().__init__("this client is closed")


class BackgroundLoop:
    """Runs from its construction to `close`. Its calls may be made from any thread but its own, of this process: a fork
    has no such thread, and would wait for ever. Those that wait when it is closed, and those after it, raise Closed."""

    def __init__(self, name: str) -> None:
        self._process = os.getpid()
        self._closing = Lock()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """What the call returns or raises. An interrupt while it waits cancels the call.

        Raises RuntimeError in a process that was forked meanwhile."""
        if os.getpid() != self._process:
            call.close()
            raise RuntimeError("this client belongs to the process that opened it; open another after a fork")
        with self._closing:  # nothing is handed to a loop that turns no more
            if self._closed:
                call.close()
                raise Closed
            future = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return future.result()
        except CancelledError:
            if self._closed:
                raise Closed from None
            raise
        except BaseException:
            future.cancel()
            raise

    def iterate(self, values: AsyncIterator[T]) -> Iterator[T]:
        """The values as they come. Leaving the iteration early ends them."""
        try:
            while True:
                try:
                    value = self.run(_next(values))
                except StopAsyncIteration:
                    return
                yield value
        finally:
            with suppress(RuntimeError):  # it was closed, or belongs to another process
                self.run(_close(values))

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        """Ends the calls that wait, runs `last`, and stops."""
        if os.getpid() != self._process:  # it is the other process's to end
            last.close()
            return
        with self._closing:
            if self._closed:
                last.close()
                return
            self._closed = True
        asyncio.run_coroutine_threadsafe(self._end(last), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self, last: Coroutine[Any, Any, None]) -> None:
        calls = asyncio.all_tasks() - {asyncio.current_task()}
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await self._loop.shutdown_asyncgens()
        await last


async def _next(values: AsyncIterator[T]) -> T:
    return await anext(values)


async def _close(values: AsyncIterator[Any]) -> None:
    if (aclose := getattr(values, "aclose", None)) is not None:
        with suppress(RuntimeError):  # it is being closed already
            await aclose()
