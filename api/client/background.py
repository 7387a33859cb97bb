"""An event loop in a thread of its own, for calls from code that has none; and a client in such a loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import CancelledError
from contextlib import AbstractAsyncContextManager, suppress
from threading import Lock, Thread
from typing import Any, TypeVar

from netplumb.api.client.connection import NotOpen, OpenAlready

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


class InBackground:
    """An asynchronous client that is opened, called and closed in a loop in the background."""

    def __init__(self, client: AbstractAsyncContextManager[Any], name: str) -> None:
        self._client = client
        self._name = name
        self._opening = Lock()
        self._loop: BackgroundLoop | None = None
        self._is_open = False

    def open(self) -> None:
        """Raises OpenAlready, or what the client does; then it is as it was."""
        with self._opening:
            if self._is_open:
                raise OpenAlready
            loop = BackgroundLoop(self._name)
            try:
                loop.run(self._client.__aenter__())
            except BaseException:
                loop.close(_nothing())
                raise
            self._loop, self._is_open = loop, True

    def close(self) -> None:
        with self._opening:
            if self._loop is not None:
                self._loop.close(self._client_closed())
            self._is_open = False

    async def _client_closed(self) -> None:
        await self._client.__aexit__(None, None, None)

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """As the loop does. Raises NotOpen before it was opened, Closed after that."""
        if self._loop is None:
            call.close()
            raise NotOpen
        return self._loop.run(call)

    def iterate(self, values: AsyncIterator[T]) -> Iterator[T]:
        """As the loop does. Raises NotOpen before it was opened."""
        if self._loop is None:
            raise NotOpen
        return self._loop.iterate(values)


async def _next(values: AsyncIterator[T]) -> T:
    return await anext(values)


async def _close(values: AsyncIterator[Any]) -> None:
    if (aclose := getattr(values, "aclose", None)) is not None:
        with suppress(RuntimeError):  # it is being closed already
            await aclose()


async def _nothing() -> None:
    """What is left to do where nothing was opened."""
