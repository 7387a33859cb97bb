"""Connections to the page: no more than a few browsers make, since each takes a descriptor of the daemon's. Where there
are as many, one that asks for nothing makes room for the next: who connects and stalls keeps nobody out. And what is
told of those that send nonsense, which is a line and no traceback.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Container
from typing import cast

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from netplumb.api.descriptors import share

CONNECTIONS_MAX = 64
CONNECTIONS_SHARE = 16

log = structlog.get_logger(__name__)


class Bounded:
    """Makes what serves a connection, as an event loop's server asks for it. `answering` are those whose request is
    being answered."""

    def __init__(self, server: web.Server, answering: Container[web.RequestHandler]) -> None:
        self._server = server
        self._answering = answering

    def __call__(self) -> asyncio.BaseProtocol:
        there = [it for it in self._server.connections if it.transport is not None]
        if len(there) >= share(CONNECTIONS_SHARE, CONNECTIONS_MAX):
            idle = next((it for it in there if it not in self._answering), None)
            if idle is None:
                return _Refused()
            idle.force_close()
        return self._server()


class _Refused(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).abort()


def logger() -> logging.Logger:
    """aiohttp's way to the daemon's log."""
    made = logging.getLogger(__name__)
    made.setLevel(logging.DEBUG)
    made.propagate = False
    made.handlers = [_Told()]
    return made


class _Told(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            log.debug("a request for the page is none", cause=str(error).splitlines()[0])
        elif record.levelno >= logging.ERROR:
            log.error("the page failed", cause=record.getMessage(), exc_info=error)
