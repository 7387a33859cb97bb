"""The service over TCP, for clients elsewhere: mutual TLS, and roles by the names of certificates.

It is another server beside that of the socket, with streams of its own: what happens to it touches nobody on the node.
Where it cannot listen a condition says why, and it is tried again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, aclosing, suppress
from typing import Any, cast

import grpc
import structlog
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from netplumb.api.descriptors import share
from netplumb.api.errors import ANSWERED
from netplumb.api.server.arrivals import Arrivals
from netplumb.api.server.certificates import CertificateUnusable, Files, credentials
from netplumb.api.server.requests import Behaviour, register
from netplumb.api.server.roles import Roles
from netplumb.api.server.server import (
    CONNECTIONS_OPTION,
    CONNECTIONS_SHARE,
    HANDSHAKE_WITHIN_MS,
    OPTIONS,
    SERVICE,
)
from netplumb.api.server.servicer import Context, WorkloadNetworking
from netplumb.api.server.workloads import Workloads
from netplumb.api.text import printable
from netplumb.models.listenaddress import TcpAddress
from netplumb.models.outages import Outage
from netplumb.models.status import Condition

AGAIN_S = 5.0
PROBE_S = 2.0
STOP_GRACE_S = 1.0
CONNECTIONS_MAX = 256
"""Whoever reaches the port may open one."""

_OPTIONS = (
    *OPTIONS,
    ("grpc.so_reuseport", 0),  # or a port that another has would be shared with it, silently
)

log = structlog.get_logger(__name__)


class Remote:
    """`roles` may be replaced while it runs. `conditions` say that nobody can connect, while that is so. `bounded` is
    what keeps strangers from connecting without end, for as long as it runs."""

    def __init__(
        self,
        workloads: Workloads,
        address: TcpAddress,
        files: Files,
        roles: Roles,
        bounded: AbstractContextManager[None],
    ) -> None:
        self._workloads = workloads
        self._address = address
        self._files = files
        self.roles = roles
        self._bounded = bounded
        self._outage = Outage("RemoteUnavailable", f"remote clients cannot be served at {address}")
        self._arrivals = Arrivals(HANDSHAKE_WITHIN_MS / 1000)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        return self._outage.conditions

    async def run(self) -> None:
        """Serves until it is cancelled."""
        with self._bounded:
            await self._serve()

    async def _serve(self) -> None:
        while True:
            servicer = WorkloadNetworking(self._workloads)
            try:
                server = await self._listening(servicer)
            except (CertificateUnusable, RuntimeError) as error:
                if self._outage.lasts(str(error)):
                    log.error(self._outage.cause, again_after_s=AGAIN_S)
                await asyncio.sleep(AGAIN_S)
                continue
            self._outage.ends()
            log.info("remote clients are served", where=str(self._address))
            try:
                await self._while_reachable()
            finally:
                servicer.end_streams()
                await server.stop(STOP_GRACE_S)
            log.error("remote clients could not connect; another server takes over")

    async def _listening(self, servicer: WorkloadNetworking) -> grpc.aio.Server:
        """Raises CertificateUnusable, or RuntimeError where the address cannot be had."""
        connections = share(CONNECTIONS_SHARE, CONNECTIONS_MAX)
        server = grpc.aio.server(options=(*_OPTIONS, (CONNECTIONS_OPTION, connections)))
        register(servicer, server, self._guarded)
        healthy = health.aio.HealthServicer()
        await healthy.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
        server.add_secure_port(str(self._address), credentials(self._files, self._arrivals.began))
        await server.start()
        return server

    async def _while_reachable(self) -> None:
        """As long as something listens: gRPC closes its socket for good when its own loop fails."""
        while True:
            await asyncio.sleep(PROBE_S)
            if count := self._arrivals.fruitless(time.monotonic()):
                log.warning(
                    "remote clients connected and made no call: their certificates may not be taken", count=count
                )
            self._arrivals.probed()
            try:
                _, writer = await asyncio.open_connection(str(self._address.ip), self._address.port)
            except OSError:
                return
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def _guarded(self, method: str, behaviour: Behaviour, *, streams: bool) -> Behaviour:
        """The behaviour for those who may have it."""
        if streams:

            async def stream(request: Any, context: Context) -> AsyncIterator[Message]:
                await self._admit(method, request, context)
                made = cast("AsyncGenerator[Message, None]", behaviour(request, context))
                async with aclosing(made) as messages:
                    async for message in messages:
                        yield message

            return stream

        async def answer(request: Any, context: Context) -> Message:
            await self._admit(method, request, context)
            return await cast("Callable[[Any, Context], Awaitable[Message]]", behaviour)(request, context)

        return answer

    async def _admit(self, method: str, request: Any, context: Context) -> None:
        self._arrivals.called(context.peer())
        names = _names(context)
        if why := self.roles.refusal(names, method, dry_run=getattr(request, "dry_run", False)):
            log.info("a remote client was refused", names=sorted(names), rpc=method)
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, why, (ANSWERED,))


def _names(context: Context) -> frozenset[str]:
    """The common name and the alternative names of the client's certificate, all of which the authority vouches for."""
    told = context.auth_context()
    found = (*told.get("x509_common_name", ()), *told.get("x509_subject_alternative_name", ()))
    return frozenset(printable(name.decode(errors="replace")) for name in found)
