"""The plugin's socket: one request, one answer, for each connection.

Whoever may connect may attach, as on the socket of gRPC; both get their mode and group in the same way. A client that
says nothing, too much or nonsense costs a little memory for a few seconds. One that leaves is not missed: what it asked
for is carried out, as the runtime will undo it with a DEL.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import structlog

from netplumb.api.cni import wire
from netplumb.api.cni.service import Answer, Service, failed
from netplumb.api.cni.spec import LATEST, CniError, Code
from netplumb.api.unixsocket import PublishedSocket, publish, staged

REQUEST_WITHIN_S = 10.0
ANSWER_WITHIN_S = 10.0
BACKLOG = 1024  # a node that starts pods starts many at once, and a plugin would be refused beyond it

log = structlog.get_logger(__name__)


class CniServer:
    """A running server. It ends with `stop`, once."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._server: asyncio.Server | None = None
        self._published: PublishedSocket | None = None
        self._calls: set[asyncio.Task[Any]] = set()

    async def start(self, path: Path, mode: int, group: str | None) -> None:
        with staged(path) as place, socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(place))
            listening.listen(BACKLOG)
            self._server = await asyncio.start_unix_server(self._connected, sock=listening.dup(), backlog=BACKLOG)
            self._published = publish(place, path, mode, group)

    async def stop(self, grace_s: float) -> None:
        """Take no new calls, give those that run up to `grace_s`, then end them."""
        if self._published is not None:
            self._published.withdraw()
        if self._server is not None:
            self._server.close()
        if self._calls:
            await asyncio.wait(self._calls, timeout=grace_s)
        for call in self._calls:
            call.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        try:
            answer = await self._answer(reader)
            if answer is not None:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    writer.write(wire.answer(*answer))
                    await writer.drain()
        except (OSError, TimeoutError) as error:
            log.info("a cni client left", cause=str(error))
        finally:
            self._calls.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> Answer | None:
        """None when nobody is left to be answered."""
        try:
            async with asyncio.timeout(REQUEST_WITHIN_S):
                environment_bytes, config_bytes = wire.lengths(await reader.readuntil(b"\n"))
                environment = wire.environment(await reader.readexactly(environment_bytes))
                config = await reader.readexactly(config_bytes)
        except asyncio.IncompleteReadError:
            return None
        except TimeoutError:
            return failed(CniError(Code.IO_FAILURE, f"no whole request came within {REQUEST_WITHIN_S:g} s"), LATEST)
        except (wire.MalformedRequest, asyncio.LimitOverrunError) as error:
            return failed(CniError(Code.IO_FAILURE, "the request was not understood", str(error)), LATEST)
        return await self._service.answer(environment, config)
