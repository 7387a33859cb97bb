"""The plugin's socket: one request, one answer, for each connection.

Whoever may connect may attach, as on the socket of gRPC; both get their mode and group in the same way. A client that
says nothing, too much or nonsense costs a little memory for a few seconds; where there are many such clients, the one
that has kept us waiting longest makes room for the next, and large requests wait for each other. One that leaves is not
missed: what it asked for is carried out, as the runtime will undo it with a DEL.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import cast

import structlog

from netplumb.api.cni import wire
from netplumb.api.cni.accepting import Accepting
from netplumb.api.cni.service import Answer, Service, failed
from netplumb.api.cni.spec import LATEST, CniError, Code
from netplumb.api.descriptors import share
from netplumb.api.unixsocket import PublishedSocket, publish, staged

REQUEST_WITHIN_S = 10.0
ANSWER_WITHIN_S = 10.0
CALLS_MAX = 128
CALLS_SHARE = 8
"""Served at a time."""

SMALL_BYTES = 64 << 10
LARGE_MAX = 4
"""Requests that are larger than that are read at a time; a few KiB are usual."""

_READ_AHEAD_BYTES = 16 << 10
BACKLOG = 1024  # a node that starts pods starts many at once, and a plugin would be refused beyond it

log = structlog.get_logger(__name__)


class CniServer:
    """A running server. It ends with `stop`, once."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._accepting: Accepting | None = None
        self._published: PublishedSocket | None = None
        self._read_from: dict[asyncio.Task[None], None] = {}
        """Those whose request is not whole yet, the longest first."""
        self._large = asyncio.Semaphore(LARGE_MAX)

    async def start(self, path: Path, mode: int, group: str | None) -> None:
        with staged(path) as place, socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(place))
            listening.listen(BACKLOG)
            self._accepting = Accepting(
                listening.dup(), self._connected, share(CALLS_SHARE, CALLS_MAX), self._slowest, REQUEST_WITHIN_S
            )
            self._published = publish(place, path, mode, group)

    async def stop(self, grace_s: float) -> None:
        """Take no new calls, give those that run up to `grace_s`, then end them."""
        if self._published is not None:
            self._published.withdraw()
        if (accepting := self._accepting) is None:
            return
        self._accepting = None
        accepting.close()
        if calls := set(accepting.calls):
            await asyncio.wait(calls, timeout=grace_s)
        for call in calls:
            call.cancel()

    def _slowest(self) -> asyncio.Task[None] | None:
        for task in self._read_from:
            del self._read_from[task]
            return task
        return None

    async def _connected(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=connection, limit=_READ_AHEAD_BYTES)
        try:
            answer = await self._answer(reader)
            if answer is not None:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    writer.write(wire.answer(*answer))
                    await writer.drain()
        except (OSError, TimeoutError) as error:
            log.info("a cni client left", cause=str(error))
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> Answer | None:
        """None when nobody is left to be answered."""
        try:
            async with asyncio.timeout(REQUEST_WITHIN_S):
                environment, config = await self._request(reader)
        except asyncio.IncompleteReadError:
            return None
        except TimeoutError:
            return failed(CniError(Code.IO_FAILURE, f"no whole request came within {REQUEST_WITHIN_S:g} s"), LATEST)
        except (wire.MalformedRequest, asyncio.LimitOverrunError) as error:
            return failed(CniError(Code.IO_FAILURE, "the request was not understood", str(error)), LATEST)
        return await self._service.answer(environment, config)

    async def _request(self, reader: asyncio.StreamReader) -> tuple[Mapping[str, str], bytes]:
        """Environment and configuration."""
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._read_from[task] = None
        try:
            environment, config = wire.lengths(await reader.readuntil(b"\n"))
            async with self._large if environment + config > SMALL_BYTES else nullcontext():
                return wire.environment(await reader.readexactly(environment)), await reader.readexactly(config)
        finally:
            self._read_from.pop(task, None)
