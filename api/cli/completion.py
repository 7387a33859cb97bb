"""Names of workloads for a shell that completes a word. It asks the daemon, and says nothing where that does not answer
at once: who presses the tab key waits."""

from __future__ import annotations

import os
from typing import Any

from netplumb.api.defaults import DEFAULT_SOCKET, SOCKET_VARIABLE

WITHIN_S = 1.0
NAMED_MOST = 200
"""More than anybody reads; a shell asks before it shows so many."""


def workloads(ctx: Any, incomplete: str) -> list[str]:
    """The attachments that the word begins, as commands take them: a workload, or with a slash an interface of it."""
    from pathlib import Path

    from netplumb.api.client.asynchronous import AsyncClient
    from netplumb.api.client.conversation import converse
    from netplumb.api.client.errors import ClientError
    from netplumb.api.unixsocket import why_unreachable

    socket = Path(ctx.params.get("socket") or os.environ.get(SOCKET_VARIABLE) or DEFAULT_SOCKET)
    if why_unreachable(socket) is not None:
        return []

    async def ask(client: AsyncClient) -> list[str]:
        found: dict[str, None] = {}
        async for it in client.list():
            name = f"{it.workload_id}/{it.if_name}" if "/" in incomplete or it.if_name != "eth0" else it.workload_id
            if name.startswith(incomplete):
                found[name] = None
            if len(found) == NAMED_MOST:
                break
        return list(found)

    try:
        return converse(socket, WITHIN_S, ask)
    except ClientError:
        return []
