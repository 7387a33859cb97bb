"""A conversation with the daemon in a program without an event loop: the commands, the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.client.remote import Remote

Answer = TypeVar("Answer")


def converse(where: Path | Remote, timeout_s: float, ask: Callable[[AsyncClient], Awaitable[Answer]]) -> Answer:
    """What `ask` makes of a connected client. Raises ClientError, and KeyboardInterrupt at Ctrl-C."""
    try:
        return asyncio.run(_connected(where, timeout_s, ask))
    except asyncio.CancelledError:
        # asyncio.run takes SIGINT over before it sets its count of interrupts to zero: one that comes between the two
        # cancels, and is forgotten. Nobody else cancels.
        raise KeyboardInterrupt from None


async def _connected(where: Path | Remote, timeout_s: float, ask: Callable[[AsyncClient], Awaitable[Answer]]) -> Answer:
    made = (
        AsyncClient(timeout_s=timeout_s, remote=where) if isinstance(where, Remote) else AsyncClient(where, timeout_s)
    )
    async with made as client:
        return await ask(client)
