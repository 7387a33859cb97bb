"""The gRPC server: the service, health and reflection on one unix socket.

`serve` returns when clients can connect. Channel options for latency are left at gRPC's defaults on purpose: on a unix
socket so_reuseport, the BDP probe, channelz, the stream limit and the minimal stack all measured within noise of a
call that does nothing (0.33 ms at the median).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from netplumb.api.descriptors import share
from netplumb.api.server.requests import register
from netplumb.api.server.servicer import WorkloadNetworking
from netplumb.api.server.workloads import Workloads
from netplumb.api.unixsocket import SocketUnusable, grpc_address, listener_at, publish, staged, why_unreachable
from netplumb.api.v1 import netplumb_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["WorkloadNetworking"].full_name
HEALTH_POLL_S = 1.0
REACHABLE_POLL_S = 0.5
RETIRED_GRACE_S = 2.0
"""What calls in flight are given when their server failed."""

CONNECTIONS_OPTION = "grpc.max_allowed_incoming_connections"

REQUEST_MAX_BYTES = 1 << 20
"""Room for 256 KiB of annotations, as Kubernetes allows, and for as much of everything else as the models accept."""

PENDING_MAX = 1 << 16
CALLS_MAX = 32
"""Of one connection at a time; more are refused with UNAVAILABLE, unseen. Those that a client gave up count until they
have ended here, so that one which gives up faster than it can be served has its own calls refused. What others wait
for beside sixteen of these grows with it; clients hold back by themselves what is more."""

HANDSHAKE_WITHIN_MS = 5000
"""What connects and does not speak HTTP/2 until then is closed. gRPC's own two minutes are time to take every
descriptor."""

CONNECTIONS_MAX = 1024
CONNECTIONS_SHARE = 4

OPTIONS = (
    ("grpc.max_concurrent_streams", CALLS_MAX),
    ("grpc.server_handshake_timeout_ms", HANDSHAKE_WITHIN_MS),
    ("grpc.max_receive_message_length", REQUEST_MAX_BYTES),
    # From 1000 calls that wait for the event loop on, gRPC would cancel some of the next ones at random, whosever.
    ("grpc.server.max_pending_requests", PENDING_MAX),
    ("grpc.server.max_pending_requests_hard_limit", PENDING_MAX),
)

log = structlog.get_logger(__name__)


class Server:
    """A running server. It ends with `stop`, once."""

    def __init__(
        self,
        servicer: WorkloadNetworking,
        health_servicer: health.aio.HealthServicer,
        healthy: Callable[[], bool],
        socket_path: Path,
        mode: int,
        group: str | None,
    ) -> None:
        self._servicer = servicer
        self._health_servicer = health_servicer
        self._healthy = healthy
        self._socket_path = socket_path
        self._mode = mode
        self._group = group
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    async def start(self) -> None:
        """Raises SocketUnusable; nothing is left behind then."""
        await _report_health(self._health_servicer, self._healthy)
        await self._listen()
        self._tasks = [
            asyncio.create_task(_follow_health(self._health_servicer, self._healthy), name="grpc-health"),
            asyncio.create_task(self._stay_reachable(), name="grpc-reachable"),
        ]

    async def _listen(self) -> None:
        connections = share(CONNECTIONS_SHARE, CONNECTIONS_MAX)
        server = grpc.aio.server(options=(*OPTIONS, (CONNECTIONS_OPTION, connections)))
        register(self._servicer, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health_servicer, server)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        with staged(self._socket_path) as place:
            try:
                _bind(server, place)
                await server.start()
                self._listener = listener_at(place)
                self._published = publish(place, self._socket_path, self._mode, self._group)
            except BaseException:
                await server.stop(None)
                raise
        self._server = server

    async def _stay_reachable(self) -> None:
        """gRPC's server closes its socket for good when its own loop fails: up to 1.85 at least, at any call whose path
        is not UTF-8. One such client would end the API for all, so another server takes over."""
        told = ""
        while not self._stopping:  # `failed.stop` may swallow a cancellation, as `wait_for` does in Python 3.11
            await asyncio.sleep(REACHABLE_POLL_S)
            if self._published.is_there and self._listener is not None and self._listener.is_open:
                continue  # to connect would be a surer look, and half of what an idle daemon costs
            error = await asyncio.to_thread(why_unreachable, self._socket_path)
            if error is None:
                continue
            failed = self._server
            try:
                await self._listen()
            except SocketUnusable as unusable:
                if told != str(unusable):
                    log.error("clients cannot connect", cause=str(unusable))
                told = str(unusable)
                continue
            told = ""
            log.error("clients could not connect; another server took over", cause=str(error))
            await failed.stop(RETIRED_GRACE_S)

    async def stop(self, grace_s: float) -> None:
        """Take no new calls, give running ones up to `grace_s`, then end them.

        The socket is removed first, so that a client that connects now waits for the next daemon.
        """
        self._stopping = True
        self._published.withdraw()
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        self._servicer.end_streams()
        await self._server.stop(grace_s)


async def serve(
    workloads: Workloads, *, socket_path: Path, mode: int, group: str | None, healthy: Callable[[], bool]
) -> Server:
    """Listen on the socket. SocketUnusable says why if that cannot be; nothing is left behind then.

    `healthy` is asked every second; gRPC health answers with what it said last.
    """
    server = Server(WorkloadNetworking(workloads), health.aio.HealthServicer(), healthy, socket_path, mode, group)
    await server.start()
    return server


def _bind(server: grpc.aio.Server, place: Path) -> None:
    try:
        server.add_insecure_port(grpc_address(place))
    except RuntimeError as error:
        raise SocketUnusable(f"cannot listen in {place.parent.parent}: {error}") from error


async def _follow_health(servicer: health.aio.HealthServicer, healthy: Callable[[], bool]) -> None:
    while True:
        await asyncio.sleep(HEALTH_POLL_S)
        await _report_health(servicer, healthy)


async def _report_health(servicer: health.aio.HealthServicer, healthy: Callable[[], bool]) -> None:
    try:
        serving = healthy()
    except Exception:
        # Were the task to end here, the last answer would stand for ever.
        log.exception("health check failed")
        serving = False
    status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
    for service in (health.OVERALL_HEALTH, SERVICE):
        await servicer.set(service, status)
