"""The page, served over HTTP by aiohttp on the daemon's own event loop. There is nothing to be changed by it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

import grpc
import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from netplumb.api import answers
from netplumb.api.errors import status_of
from netplumb.api.map import page
from netplumb.api.map.picture import picture
from netplumb.api.map.svg import drawing
from netplumb.api.page import connections
from netplumb.api.page.access import refusal
from netplumb.api.page.feed import Feed, text_of
from netplumb.api.server.workloads import Workloads
from netplumb.models.listenaddress import TcpAddress
from netplumb.models.outages import Outage
from netplumb.models.status import AttachmentView, Condition, NodeStatus

VIEWERS_MAX = 16
STALLED_S = 30.0
"""How long a viewer may take nothing; then its place is another's."""
EVENTS_SHOWN = 20
AGAIN_S = 5.0
_STOP_WITHIN_S = 0.5
_REQUEST_MAX_BYTES = 4096

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_STATUSES = {
    grpc.StatusCode.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    grpc.StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}

log = structlog.get_logger(__name__)


class Page:
    """`conditions` say that nobody can see it, while that is so."""

    def __init__(self, workloads: Workloads, address: TcpAddress) -> None:
        self._workloads = workloads
        self._address = address
        self._outage = Outage("PageUnavailable", f"the page cannot be served at {address}")

    @property
    def conditions(self) -> tuple[Condition, ...]:
        return self._outage.conditions

    async def run(self) -> None:
        """Serves until it is cancelled."""
        views = _Views(self._workloads)
        runner = web.AppRunner(
            _application(views), access_log=None, shutdown_timeout=_STOP_WITHIN_S, logger=connections.logger()
        )
        await runner.setup()
        assert runner.server is not None
        try:
            listening = await self._listening(connections.Bounded(runner.server, views.answering))
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                listening.close()
        finally:
            await runner.cleanup()

    async def _listening(self, made: connections.Bounded) -> asyncio.Server:
        while True:
            try:
                found = await asyncio.get_running_loop().create_server(made, str(self._address.ip), self._address.port)
            except OSError as error:
                if self._outage.lasts(error.strerror or str(error)):
                    log.error(self._outage.cause, again_after_s=AGAIN_S)
                await asyncio.sleep(AGAIN_S)
            else:
                self._outage.ends()
                log.info("the page is served", where=f"http://{self._address}/")
                return found


def application(workloads: Workloads) -> web.Application:
    return _application(_Views(workloads))


def _application(views: _Views) -> web.Application:
    made = web.Application(middlewares=[views.answered, _guarded], client_max_size=_REQUEST_MAX_BYTES)
    made.add_routes(
        [
            web.get("/", views.page),
            web.get("/stream", views.stream),
            web.get("/picture.svg", views.picture),
            web.get("/describe", views.describe),
        ]
    )
    return made


@web.middleware
async def _guarded(request: web.Request, handler: Answer) -> web.StreamResponse:
    if why := refusal(request.headers, request.path):
        return web.Response(status=HTTPStatus.FORBIDDEN, text=f"{why}\n", headers=_HEADERS)
    return await handler(request)


class _Views:
    def __init__(self, workloads: Workloads) -> None:
        self._workloads = workloads
        self._feed = Feed(workloads)
        self._viewers = 0
        self._drawing = asyncio.Lock()
        self.answering: set[web.RequestHandler] = set()
        """The connections that are waited on here, and not for what they ask."""
        self._page = page.live()
        self._policy = page.policy(self._page)

    @property
    def answered(self) -> Middleware:
        @web.middleware
        async def answered(request: web.Request, handler: Answer) -> web.StreamResponse:
            self.answering.add(request.protocol)
            try:
                return await handler(request)
            finally:
                self.answering.discard(request.protocol)

        return answered

    async def page(self, _: web.Request) -> web.Response:
        headers = {**_HEADERS, "Content-Security-Policy": self._policy}
        return web.Response(text=self._page, content_type="text/html", headers=headers)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        if self._viewers >= VIEWERS_MAX:
            raise web.HTTPServiceUnavailable(text=f"{VIEWERS_MAX} look at it already\n", headers=_HEADERS)
        self._viewers += 1
        try:
            return await self._streamed(request)
        finally:
            self._viewers -= 1

    async def _streamed(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={**_HEADERS, "Content-Type": "text/event-stream"})
        await response.prepare(request)
        turn = asyncio.Lock()

        async def send(kind: str, data: str) -> None:
            async with turn, asyncio.timeout(STALLED_S):
                await response.write(f"event: {kind}\ndata: {data}\n\n".encode())

        try:
            await self._feed.follow(send)
        except* (ConnectionError, TimeoutError):
            pass  # the viewer went, or stalled
        return response

    async def picture(self, _: web.Request) -> web.Response:
        async with self._drawing:
            status, views = self._workloads.status(without_pools=True), tuple(self._workloads.list())
            drawn = await asyncio.to_thread(_drawn, status, views)
        return web.Response(text=drawn, content_type="image/svg+xml", headers=_HEADERS)

    async def describe(self, request: web.Request) -> web.Response:
        workload_id, if_name = request.query.get("workload_id", ""), request.query.get("if_name", "")
        try:
            found = await self._workloads.describe(workload_id, if_name, EVENTS_SHOWN)
        except Exception as error:
            return _refused(error)
        (described, *_) = answers.describe_response(found).descriptions
        return web.Response(text=text_of(described), content_type="application/json", headers=_HEADERS)


def _drawn(status: NodeStatus, views: tuple[AttachmentView, ...]) -> str:
    return drawing(picture(answers.status_response(status), map(answers.attachment, views)))


def _refused(error: Exception) -> web.Response:
    code, message = status_of(error)
    if code is grpc.StatusCode.INTERNAL:
        log.error("a view failed", exc_info=error)
    status = _STATUSES.get(code, HTTPStatus.INTERNAL_SERVER_ERROR)
    return web.Response(status=status, text=f"{message}\n", headers=_HEADERS)
