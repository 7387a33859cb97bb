"""A conversation with the daemon in a program without an event loop: the commands, the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from netplumb.api.client.asynchronous import AsyncClient

Answer = TypeVar("Answer")


def converse(socket: Path, timeout_s: float, ask: Callable[[AsyncClient], Awaitable[Answer]]) -> Answer:
    """What `ask` makes of a connected client. Raises ClientError, and KeyboardInterrupt at Ctrl-C."""
    try:
        return asyncio.run(_connected(socket, timeout_s, ask))
    except asyncio.CancelledError:
        # asyncio.run takes SIGINT over before it sets its count of interrupts to zero: one that comes between the two
        # cancels, and is forgotten. Nobody else cancels.
        raise KeyboardInterrupt from None


async def _connected(socket: Path, timeout_s: float, ask: Callable[[AsyncClient], Awaitable[Answer]]) -> Answer:
    async with AsyncClient(socket, timeout_s) as client:
        return await ask(client)
