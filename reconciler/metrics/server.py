"""HTTP on a socket that is open already, TCP or unix: the handler of prometheus-client, in threads.

Few are served at a time, and each for some seconds at most: who connects and stalls must not keep others out.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from socketserver import BaseServer, ThreadingMixIn
from threading import BoundedSemaphore, Thread, Timer
from typing import Any
from urllib.parse import urlsplit

import structlog
from prometheus_client import CollectorRegistry, MetricsHandler

SERVED_MOST = 8
WITHIN_S = 10.0
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
        return self._free.acquire(blocking=False)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def shutdown_request(self, request: Any) -> None:
        with suppress(OSError):
            request.shutdown(socket.SHUT_WR)
        request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Of a client that went away, or was cut off."""
        log.debug("a scrape ended early")


class _Bounded(MetricsHandler):
    """What answers one request."""

    def setup(self) -> None:
        super().setup()
        self._deadline = Timer(WITHIN_S, self._cut)
        self._deadline.daemon = True
        self._deadline.start()

    def finish(self) -> None:
        self._deadline.cancel()
        super().finish()

    def _cut(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_GET(self) -> None:  # noqa: N802 - http.server's name
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
