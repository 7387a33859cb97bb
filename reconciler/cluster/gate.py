"""A gate: what goes through it runs only while it is open."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Gate:
    """Open at first. What goes through it waits until it is open, and is ended once it is closed."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()
        self._opened.set()
        self._inside: set[asyncio.Timeout] = set()

    @property
    def is_open(self) -> bool:
        return self._opened.is_set()

    def open(self) -> None:
        self._opened.set()

    def close(self) -> None:
        """To be called from outside of what goes through it."""
        self._opened.clear()
        now = asyncio.get_running_loop().time()
        while self._inside:
            self._inside.pop().reschedule(now)

    async def opened(self) -> None:
        await self._opened.wait()

    async def through(self, does: Callable[[], Awaitable[None]]) -> None:
        """Raises what that raises, and nothing where it was ended here."""
        await self._opened.wait()
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._inside.add(scope)
                try:
                    await does()
                finally:
                    self._inside.discard(scope)
        except TimeoutError:
            if not scope.expired():
                raise
