"""The service `netplumb.v1.WorkloadNetworking` over whatever keeps the workloads.

It converts, asks, and answers. It decides nothing: what is allowed is for `Workloads` and the models to say, and which
status code an error becomes for `netplumb.api.errors`. No error leaves it as a traceback.
"""

from __future__ import annotations

import asyncio
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import wraps
from typing import Any, NoReturn, TypeAlias, TypeVar, cast

import grpc
import structlog

from netplumb.api import answers, wishes
from netplumb.api.errors import ANSWERED, status_of
from netplumb.api.server.watching import watched
from netplumb.api.server.workloads import Workloads
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.api.v1 import netplumb_pb2_grpc as rpc
from netplumb.models.attachment import AttachmentKey
from netplumb.models.errors import InvalidRequest, Refusal, TooMany

PAGE_SIZE_DEFAULT = 500
PAGE_SIZE_MAX = 5000
PAGE_MAX_BYTES = 3 << 20
"""A page ends here even if it holds fewer: gRPC clients take messages of up to 4 MiB unless told otherwise."""

STREAMS_MAX = 128
"""Open at a time. Each watch costs the loop a message for every change of every attachment."""

SENDING_S = 1.0
"""What a message of a stream that is being sent is given when the server stops."""

ANSWER_AHEAD_S = 0.05
"""How long before the client's deadline it is answered, so that it reads the cause and not only that time is up."""

DEADLINE_ROUNDING = 0.01
"""By this part at most gRPC rounds a timeout up to fit its header, so that the server sees a later deadline."""

Place: TypeAlias = tuple[AttachmentKey, str]
Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Item = TypeVar("Item")
Request = TypeVar("Request")
Response = TypeVar("Response")
Method: TypeAlias = "Callable[[WorkloadNetworking, Request, Context], Awaitable[Response]]"

log = structlog.get_logger(__name__)


async def _refuse(rpc_name: str, error: Exception, context: Context) -> NoReturn:
    """End the call with the status that the error stands for."""
    code, message = status_of(error)
    if code is grpc.StatusCode.INTERNAL:
        log.error("rpc failed", rpc=rpc_name, exc_info=error)
    elif not (isinstance(error, Refusal) and error.is_told):
        log.info("rpc refused", rpc=rpc_name, code=code.name, message=message)
    await context.abort(code, message, (ANSWERED,))


def _answered(method: Method[Request, Response]) -> Method[Request, Response]:
    """Answer every error of a unary method with its status, a request that could not be parsed among them."""

    @wraps(method)
    async def answered(self: WorkloadNetworking, request: Request | InvalidRequest, context: Context) -> Response:
        try:
            if isinstance(request, InvalidRequest):
                raise request
            if context.time_remaining() == 0:
                raise asyncio.CancelledError  # nobody waits for it any more, nor for an answer
            return await method(self, request, context)
        except Exception as error:
            await _refuse(method.__name__, error, context)

    return answered


class WorkloadNetworking(rpc.WorkloadNetworkingServicer):
    """One per server. `end_streams` ends the streams that would otherwise hold up a stop."""

    def __init__(self, workloads: Workloads) -> None:
        self._workloads = workloads
        self._streams: set[asyncio.Task[Any]] = set()
        self._idle: set[asyncio.Task[Any]] = set()
        """Streams that wait for something to tell, and send nothing."""
        self._stopping = False

    @_answered
    async def Attach(self, request: pb.AttachRequest, context: Context) -> pb.AttachResponse:
        view = await self._workloads.attach(wishes.attachment_spec(request), _timeout_s(context))
        return answers.attach_response(view)

    @_answered
    async def Detach(self, request: pb.DetachRequest, context: Context) -> pb.DetachResponse:
        await self._workloads.detach(wishes.detach_spec(request), _timeout_s(context))
        return pb.DetachResponse()

    @_answered
    async def Status(self, request: pb.StatusRequest, context: Context) -> pb.StatusResponse:  # noqa: ARG002
        return answers.status_response(self._workloads.status(without_pools=request.without_pools))

    @_answered
    async def Check(self, request: pb.CheckRequest, context: Context) -> pb.CheckResponse:  # noqa: ARG002
        return answers.check_response(await self._workloads.check(wishes.attachment_key(request)))

    @_answered
    async def CheckAll(self, request: pb.CheckAllRequest, context: Context) -> pb.CheckAllResponse:  # noqa: ARG002
        return answers.check_all_response(*await self._workloads.check_all())

    @_answered
    async def Get(self, request: pb.GetRequest, context: Context) -> pb.GetResponse:  # noqa: ARG002
        attachment, *waiting = map(answers.documented, self._workloads.get(wishes.attachment_key(request)))
        return pb.GetResponse(attachment=attachment, waiting=waiting)

    @_answered
    async def List(self, request: pb.ListRequest, context: Context) -> pb.ListResponse:  # noqa: ARG002
        after = _place_at(request.page_token) if request.page_token else None
        limit = min(request.page_size or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)
        page: list[pb.Attachment] = []
        size, last = 0, after
        for view in self._workloads.list(after, wishes.label_selector(request).selects):
            attachment = answers.documented(view) if request.with_documents else answers.attachment(view)
            size += attachment.ByteSize()
            if len(page) == limit or (page and size > PAGE_MAX_BYTES):
                assert last is not None
                return pb.ListResponse(attachments=page, next_page_token=_page_token(*last))
            page.append(attachment)
            last = view.place
        return pb.ListResponse(attachments=page)

    @_answered
    async def Plan(self, request: pb.PlanRequest, context: Context) -> pb.PlanResponse:  # noqa: ARG002
        return answers.plan_response(await self._workloads.plan(wishes.what_if(request)))

    @_answered
    async def GC(self, request: pb.GCRequest, context: Context) -> pb.GCResponse:
        source, alive = wishes.gc_request(request)
        return answers.gc_response(
            await self._workloads.gc(source, alive, _timeout_s(context), dry_run=request.dry_run)
        )

    @_answered
    async def Apply(self, request: pb.ApplyRequest, context: Context) -> pb.ApplyResponse:  # noqa: ARG002
        application = wishes.application(request)
        return answers.apply_response(await self._workloads.apply(application, dry_run=request.dry_run))

    @_answered
    async def Delete(self, request: pb.DeleteRequest, context: Context) -> pb.DeleteResponse:
        files, keys = wishes.documents(request.files.files), wishes.deleted_keys(request)
        return answers.delete_response(
            await self._workloads.delete(files, keys, _timeout_s(context), dry_run=request.dry_run)
        )

    @_answered
    async def Policies(self, request: pb.PoliciesRequest, context: Context) -> pb.PoliciesResponse:  # noqa: ARG002
        return answers.policies_response(self._workloads.policies())

    @_answered
    async def ExplainPolicy(
        self,
        request: pb.ExplainPolicyRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.ExplainPolicyResponse:
        return answers.explain_policy_response(await self._workloads.explain_policy(wishes.policy_question(request)))

    @_answered
    async def DiffPolicies(
        self,
        request: pb.DiffPoliciesRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.DiffPoliciesResponse:
        files = wishes.documents(request.files.files)
        return answers.diff_policies_response(await self._workloads.diff_policies(files))

    @_answered
    async def Describe(self, request: pb.DescribeRequest, context: Context) -> pb.DescribeResponse:  # noqa: ARG002
        workload_id = wishes.attachment_key(request).workload_id
        found = await self._workloads.describe(workload_id, request.if_name, request.events)
        return answers.describe_response(found)

    @_answered
    async def Traffic(self, request: pb.TrafficRequest, context: Context) -> pb.TrafficResponse:  # noqa: ARG002
        meant = {it.key for it in self._workloads.list(None, wishes.label_selector(request).selects)}
        traffic = await self._workloads.traffic()
        return answers.traffic_response(time.time(), [it for it in traffic if it.key in meant])

    async def Watch(
        self, request: pb.WatchRequest | InvalidRequest, context: Context
    ) -> AsyncIterator[pb.WatchResponse]:
        def watch(asked: pb.WatchRequest) -> AsyncGenerator[pb.WatchResponse, None]:
            selected = wishes.label_selector(asked)
            return _each(answers.watch_response, watched(self._workloads.watch(), selected))

        async with aclosing(self._stream("Watch", request, context, watch)) as responses:
            async for response in responses:
                yield response
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the daemon is stopping", (ANSWERED,))

    async def Events(self, request: pb.EventsRequest | InvalidRequest, context: Context) -> AsyncIterator[pb.Event]:
        def events(asked: pb.EventsRequest) -> AsyncGenerator[pb.Event, None]:
            query = wishes.event_query(asked)
            return _each(answers.event, self._workloads.events(query, follow=asked.follow))

        async with aclosing(self._stream("Events", request, context, events)) as found:
            async for event in found:
                yield event
        if self._stopping:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the daemon is stopping", (ANSWERED,))

    async def _stream(
        self,
        rpc_name: str,
        request: Request | InvalidRequest,
        context: Context,
        answer: Callable[[Request], AsyncGenerator[Response, None]],
    ) -> AsyncGenerator[Response, None]:
        """What is answered, until it ends, the client leaves or the daemon stops. Any error ends the call with its
        status."""
        if isinstance(request, InvalidRequest):
            await _refuse(rpc_name, request, context)
        if len(self._streams) >= STREAMS_MAX:
            await _refuse(rpc_name, TooMany(f"{STREAMS_MAX} streams are open already"), context)
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._streams.add(task)
        try:
            # aclosing unsubscribes at once when the client leaves, not when the garbage collector comes by.
            async with aclosing(answer(request)) as stream:
                while not self._stopping and (response := await self._next(task, stream)) is not None:
                    yield response
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        except Exception as error:
            await _refuse(rpc_name, error, context)
        finally:
            self._streams.discard(task)

    async def _next(self, task: asyncio.Task[Any], stream: AsyncGenerator[Response, None]) -> Response | None:
        self._idle.add(task)
        try:
            return await anext(stream, None)
        finally:
            self._idle.discard(task)

    def end_streams(self) -> None:
        """End every stream with UNAVAILABLE. Called once, when the server stops.

        gRPC sends no status for a call that is cancelled while it sends a message, and its server's stop then waits for
        that call; so those are given a moment to get the message out. Whoever does not read it is not waited for.
        """
        self._stopping = True
        for task in self._idle:
            task.cancel()
        for task in self._streams - self._idle:
            asyncio.get_running_loop().call_later(SENDING_S, task.cancel)


async def _each(convert: Callable[[Item], Response], items: AsyncIterator[Item]) -> AsyncGenerator[Response, None]:
    async with aclosing(cast("AsyncGenerator[Item, None]", items)) as source:
        async for item in source:
            yield convert(item)


def _timeout_s(context: Context) -> float | None:
    """How long the daemon may take, None if the client set no deadline."""
    # grpc's type leaves out the None that its documentation promises.
    remaining_s = cast("float | None", context.time_remaining())
    if remaining_s is None:
        return None
    return remaining_s * (1 - DEADLINE_ROUNDING) - min(ANSWER_AHEAD_S, remaining_s / 10)


def _page_token(key: AttachmentKey, source: str) -> str:
    """Names the last view of a page, not a position, so that pages stay whole while attachments come and go."""
    return urlsafe_b64encode("\0".join((*key, source)).encode(errors="surrogateescape")).decode()


def _place_at(page_token: str) -> Place:
    try:
        workload_id, if_name, source = urlsafe_b64decode(page_token).decode(errors="surrogateescape").split("\0")
    except ValueError:
        raise InvalidRequest("page_token", "is not one that List returned") from None
    return AttachmentKey(workload_id, if_name), source
