"""A typed asyncio client for the daemon on this node.

Every call may be repeated, so the client waits for a daemon that restarts, and asks again where the connection broke
in the middle of a call, until its deadline. Requests and answers are the messages of `netplumb.v1`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias, TypeVar

import grpc

from netplumb.api.client.errors import ClientError, Unreachable, client_error
from netplumb.api.defaults import DEFAULT_SOCKET, DEFAULT_TIMEOUT_S, SOCKET_VARIABLE
from netplumb.api.errors import ANSWERED
from netplumb.api.text import printable
from netplumb.api.unixsocket import grpc_address, why_unreachable
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.api.v1 import netplumb_pb2_grpc as rpc

ANSWER_MAX_BYTES = 256 << 20  # Plan answers in one message, and a node may hold thousands of attachments

OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_receive_message_length", ANSWER_MAX_BYTES),
    # Otherwise clients in one process would share a connection, and its backoff.
    ("grpc.use_local_subchannel_pool", 1),
)

_BROKEN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""What gRPC makes of a connection that breaks; of a server that ends without waiting for its calls."""

Request = TypeVar("Request")
Response = TypeVar("Response")

WhatIf: TypeAlias = pb.AttachRequest | pb.DetachRequest | pb.StateFiles | pb.ApplyRequest | None


class AsyncClient:
    """An asynchronous context manager; one connection, any number of calls at a time.

        async with netplumb.AsyncClient() as client:
            netns = messages.NetNSAttachment(netns_path="/run/netns/web", if_name="eth0")
            await client.attach(messages.AttachRequest(workload_id="web", netns=netns))

    `socket_path` is the daemon's socket; without one that of the variable NETPLUMB_SOCKET, or the default. `timeout_s`
    is how many seconds a call may take, waiting for a daemon that restarts included; those with a `timeout_s` of their
    own go by that. Every call raises a ClientError, or the kind of it that the contract gives for the case: Unreachable
    when no daemon answers, DeadlineExceeded when it takes too long.
    """

    def __init__(self, socket_path: Path | str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self.socket_path = Path(socket_path or os.environ.get(SOCKET_VARIABLE) or DEFAULT_SOCKET)
        self._timeout_s = timeout_s

    async def __aenter__(self) -> Self:
        self._channel = grpc.aio.insecure_channel(grpc_address(self.socket_path), options=OPTIONS)
        self._stub = rpc.WorkloadNetworkingStub(self._channel)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def attach(self, request: pb.AttachRequest, timeout_s: float | None = None) -> pb.AttachResponse:
        """Gives a workload an interface, and returns when the kernel holds all of it. The same request again returns
        the same addresses, each as 4 or 16 bytes in `ip` and in words in `attachment`.

        Raises InvalidArgument, FailedPrecondition, AlreadyExists, ResourceExhausted (a pool is empty), Unavailable (no
        pools), DeadlineExceeded (the daemon goes on trying) or Aborted (detached or attached otherwise meanwhile).
        """
        return await self._call(self._stub.Attach, request, timeout_s)

    async def detach(self, request: pb.DetachRequest, timeout_s: float | None = None) -> None:
        """Takes the interface away, and returns when it is gone from the kernel. What is not there is no error.

        Raises FailedPrecondition where a state file declares the attachment, and DeadlineExceeded.
        """
        await self._call(self._stub.Detach, request, timeout_s)

    async def get(self, workload_id: str, if_name: str = "") -> pb.Attachment:
        """One attachment as it was last seen; without `if_name` that of eth0. Raises NotFound."""
        return (await self.get_with_waiting(workload_id, if_name)).attachment

    async def get_with_waiting(self, workload_id: str, if_name: str = "") -> pb.GetResponse:
        """The same, with what state files wish for its key and cannot have now. Raises NotFound."""
        return await self._call(self._stub.Get, pb.GetRequest(workload_id=workload_id, if_name=if_name))

    async def list(self, page_size: int = 0, selector: str = "") -> AsyncIterator[pb.Attachment]:
        """Every attachment in the order of the keys, asked for in pages of `page_size` (0: as the daemon likes); with a
        `selector` those with such labels, as in "app=web,tier in (a, b)". Raises InvalidArgument."""
        request = pb.ListRequest(page_size=page_size, selector=selector)
        while True:
            page = await self._call(self._stub.List, request)
            for attachment in page.attachments:
                yield attachment
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def watch(self, selector: str = "") -> AsyncIterator[pb.WatchResponse]:
        """A snapshot, the mark that it is complete, then changes, of all or of those with such labels; it ends with
        ClientError when the daemon does.

        The timeout is for the connection, not for the stream.
        """
        return self._stream(self._stub.Watch, pb.WatchRequest(selector=selector))

    def events(
        self, about: str = "", since: float = 0.0, most: int = 0, follow: bool = False
    ) -> AsyncIterator[pb.Event]:
        """What happened to a workload, to one interface of it (`web-1/eth0`) or, without either, to all and the node:
        the oldest first, nothing from before `since` (seconds since the epoch), the newest `most` if that is given. To
        `follow` it goes on with what happens, until the daemon ends; that is a ClientError.

        The timeout is for the connection, not for the stream.
        """
        request = pb.EventsRequest(about=about, since=since, most=most, follow=follow)
        return self._stream(self._stub.Events, request)

    async def _stream(
        self, method: grpc.aio.UnaryStreamMultiCallable[Request, Response], request: Request
    ) -> AsyncIterator[Response]:
        try:
            await asyncio.wait_for(self._channel.channel_ready(), self._timeout_s)
        except TimeoutError:
            raise Unreachable(self.socket_path, why_unreachable(self.socket_path)) from None
        call = method(request)
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            raise self._in_words(error) from None
        finally:
            call.cancel()

    async def check(self, workload_id: str, if_name: str = "") -> pb.CheckResponse:
        """Compares an attachment, and what of the node its traffic needs, with the kernel, now: `in_sync`, or what
        differs and why it is not as wished. Raises NotFound."""
        return await self._call(self._stub.Check, pb.CheckRequest(workload_id=workload_id, if_name=if_name))

    async def describe(self, workload_id: str, if_name: str = "", events: int = 10) -> Sequence[pb.Description]:
        """All about each interface of a workload, or about one: the attachment, its objects as the kernel holds them
        now, and its last `events`. Raises NotFound."""
        request = pb.DescribeRequest(workload_id=workload_id, if_name=if_name, events=events)
        return (await self._call(self._stub.Describe, request)).descriptions

    async def check_all(self) -> Sequence[pb.CheckResponse]:
        """The same for all: first the node itself, without an attachment, then each attachment."""
        return (await self._call(self._stub.CheckAll, pb.CheckAllRequest())).reports

    async def plan(self, what_if: WhatIf = None) -> pb.PlanResponse:
        """What the daemon would change, and what that would not mend: for one wish, for state files that are put into
        place, for documents that are applied, or for the whole node as desired now. Nothing is changed.

        Raises what the wish itself would.
        """
        request = pb.PlanRequest()
        if isinstance(what_if, pb.AttachRequest):
            request.attach.CopyFrom(what_if)
        elif isinstance(what_if, pb.StateFiles):
            request.files.CopyFrom(what_if)
        elif isinstance(what_if, pb.ApplyRequest):
            request.apply.CopyFrom(what_if)
        elif what_if is not None:
            request.detach.CopyFrom(what_if)
        return await self._call(self._stub.Plan, request)

    async def apply(self, request: pb.ApplyRequest) -> Sequence[pb.Applied]:
        """Makes documents desired, written as in state files, and returns when that is recorded: what became of each,
        and what was pruned. Raises InvalidArgument, and then none was taken."""
        return (await self._call(self._stub.Apply, request)).applied

    async def delete(self, request: pb.DeleteRequest) -> pb.DeleteResponse:
        """Withdraws what was applied, and returns when it is gone from the kernel. What was not is told as missing."""
        return await self._call(self._stub.Delete, request)

    async def gc(
        self, alive: Iterable[tuple[str, str]], source: str = "", *, dry_run: bool = False
    ) -> Sequence[pb.Attachment]:
        """Detaches what the source (empty: rpc) holds, less those (container_id, if_name) that are alive. Returns what
        was detached, when it is gone from the kernel; a dry run changes nothing and returns what would be."""
        interfaces = [pb.GCRequest.Interface(container_id=container, if_name=name) for container, name in alive]
        request = pb.GCRequest(source=source, alive=pb.GCRequest.Alive(interfaces=interfaces), dry_run=dry_run)
        return (await self._call(self._stub.GC, request)).removed

    async def traffic(self, selector: str = "") -> pb.TrafficResponse:
        """What each workload, or each with such labels, received and sent since its link was made, and when that was
        read."""
        return await self._call(self._stub.Traffic, pb.TrafficRequest(selector=selector))

    async def status(self, timeout_s: float | None = None, *, without_pools: bool = False) -> pb.StatusResponse:
        """The daemon as a whole: pools, counts, conditions, what is not as wished. Raises Unavailable while it has no
        pools, unless it is asked for even so."""
        return await self._call(self._stub.Status, pb.StatusRequest(without_pools=without_pools), timeout_s)

    async def _call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        timeout_s: float | None = None,
    ) -> Response:
        clock = asyncio.get_running_loop().time
        deadline = clock() + (self._timeout_s if timeout_s is None else timeout_s)
        while True:
            try:
                return await method(request, timeout=deadline - clock(), wait_for_ready=True)
            except grpc.aio.AioRpcError as error:
                # wait_for_ready holds the next try back until there is a connection, so this does not spin.
                broke = error.code() in _BROKEN and not _is_answer(error)
                if not broke or clock() >= deadline:
                    raise self._in_words(error) from None

    def _in_words(self, error: grpc.aio.AioRpcError) -> ClientError:
        code = error.code()
        if not _is_answer(error):
            cause = why_unreachable(self.socket_path)
            if code is grpc.StatusCode.UNAVAILABLE or (code is grpc.StatusCode.DEADLINE_EXCEEDED and cause):
                return Unreachable(self.socket_path, cause)
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                return client_error(code, "the daemon did not answer in time")
        return client_error(code, printable(error.details() or code.name))


def _is_answer(error: grpc.aio.AioRpcError) -> bool:
    """Whether the daemon ended the call, and not gRPC on its own."""
    return ANSWERED in tuple(error.trailing_metadata())
