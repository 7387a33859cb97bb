"""A conversation with the daemon in a program without an event loop: the commands, the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.client.remote import Remote

Answer = TypeVar("Answer")

SILENT_S = 1.5  # a check of thousands of attachments takes no longer
LOOK_S = 0.1


def converse(
    where: Path | Remote,
    timeout_s: float,
    ask: Callable[[AsyncClient], Awaitable[Answer]],
    silent: Callable[[], None] | None = None,
) -> Answer:
    """What `ask` makes of a connected client. `silent` is called once if the daemon owes an answer for more than a
    moment. Raises ClientError, and KeyboardInterrupt at Ctrl-C."""
    try:
        return asyncio.run(_connected(where, timeout_s, ask, silent))
    except asyncio.CancelledError:
        # asyncio.run takes SIGINT over before it sets its count of interrupts to zero: one that comes between the two
        # cancels, and is forgotten. Nobody else cancels.
        raise KeyboardInterrupt from None


async def _connected(
    where: Path | Remote,
    timeout_s: float,
    ask: Callable[[AsyncClient], Awaitable[Answer]],
    silent: Callable[[], None] | None,
) -> Answer:
    made = (
        AsyncClient(timeout_s=timeout_s, remote=where) if isinstance(where, Remote) else AsyncClient(where, timeout_s)
    )
    async with made as client:
        if silent is None:
            return await ask(client)
        watch = asyncio.create_task(_watch(client, silent))
        try:
            return await ask(client)
        finally:
            watch.cancel()


async def _watch(client: AsyncClient, silent: Callable[[], None]) -> None:
    while (left_s := SILENT_S - client.silent_s) > 0:  # noqa: ASYNC110, what is waited for is that nothing happens
        await asyncio.sleep(max(left_s, LOOK_S))
    silent()
