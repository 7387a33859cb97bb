"""HTTP on a socket that is open already, TCP or unix: the handler of prometheus-client, in threads.

Few are served at a time, and each for some seconds at most. Who connects and stalls keeps nobody out: where as many are
there as are served, the one that has been silent for longest makes room for the next, or one that takes too long.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain
from socketserver import BaseServer, ThreadingMixIn
from threading import BoundedSemaphore, Lock, Thread, Timer
from typing import Any
from urllib.parse import urlsplit

import structlog
from prometheus_client import CollectorRegistry, MetricsHandler

SERVED_MOST = 8
WITHIN_S = 10.0
GIVES_WAY_S = 3.0
"""An answer that is not taken within this is given up where somebody else waits."""

_ROOM_WITHIN_S = 1.0
_POLL_S = 0.1

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Listening:
    """A socket that listens, what takes its place away, and where that is in words."""

    socket: socket.socket
    withdraw: Callable[[], None]
    where: str


class MetricsServer:
    """Serves from when it is made until it is closed."""

    def __init__(self, listening: Listening, registry: CollectorRegistry) -> None:
        self._listening = listening
        self._server = _Server(listening.socket, MetricsHandler.factory(registry))
        self._thread = Thread(target=self._server.serve_forever, args=(_POLL_S,), name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listening.withdraw()
        self._server.shutdown()
        self._listening.socket.close()


class _Server(ThreadingMixIn, BaseServer):
    """socketserver's own servers open a socket by themselves."""

    daemon_threads = True

    def __init__(self, listening: socket.socket, handler: type[MetricsHandler]) -> None:
        super().__init__(("", 0), type("Handler", (_Bounded, handler), {}))
        self._listening = listening
        self._free = BoundedSemaphore(SERVED_MOST)
        self._lock = Lock()
        self._served: dict[socket.socket, _Served] = {}
        """Those that are served, the longest first."""

    def fileno(self) -> int:
        return self._listening.fileno()

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            connection, _ = self._listening.accept()
        except OSError:  # such as no free descriptor, and who waits to be accepted still does
            time.sleep(_POLL_S)
            raise
        return connection, ("", 0)

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002
        if not self._free.acquire(blocking=False) and not (
            self._makes_room() and self._free.acquire(timeout=_ROOM_WITHIN_S)
        ):
            return False
        with self._lock:
            self._served[request] = _Served(time.monotonic())
        return True

    def _makes_room(self) -> bool:
        """Whether somebody is cut off for who comes next."""
        with self._lock:
            late = time.monotonic() - GIVES_WAY_S
            silent = (it for it, served in self._served.items() if not served.has_asked)
            slow = (it for it, served in self._served.items() if served.since < late)
            found = next(chain(silent, slow), None)
            if found is None:
                return False
            del self._served[found]
            cut(found)
        return True

    def asked(self, connection: socket.socket) -> None:
        """Its request is whole."""
        with self._lock:
            if (served := self._served.get(connection)) is not None:
                served.has_asked = True

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._served.pop(request, None)
            self._free.release()

    def shutdown_request(self, request: Any) -> None:
        with suppress(OSError):
            request.shutdown(socket.SHUT_WR)
        request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Of a client that went away, or was cut off."""
        log.debug("a scrape ended early")


@dataclass(slots=True)
class _Served:
    since: float
    has_asked: bool = False


def cut(connection: socket.socket) -> None:
    """Whoever reads from it or writes to it goes on, and fails."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Bounded(MetricsHandler):
    """What answers one request."""

    server: _Server

    def setup(self) -> None:
        super().setup()
        self._deadline = Timer(WITHIN_S, cut, (self.connection,))
        self._deadline.daemon = True
        self._deadline.start()

    def finish(self) -> None:
        self._deadline.cancel()
        super().finish()

    def do_GET(self) -> None:  # noqa: N802 - http.server's name
        self.server.asked(self.connection)
        if urlsplit(self.path).path != "/metrics":
            self.send_error(HTTPStatus.NOT_FOUND, explain="Metrics are at /metrics.")
            return
        try:
            super().do_GET()
        except ConnectionError:
            raise
        except Exception as error:
            # Nothing was sent yet: the text is made whole before its first byte is.
            log.warning("a scrape failed", cause=f"{type(error).__name__}: {error}")
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)
