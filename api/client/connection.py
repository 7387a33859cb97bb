"""One connection to the daemon: opened and closed by its client, calls until a deadline, and what their failures mean.

Every call may be repeated, so a daemon that restarts is waited for, and asked again where the connection broke in the
middle of a call, until the deadline.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import grpc

from netplumb.api.client.errors import ClientError, Unreachable, client_error
from netplumb.api.client.remote import Remote
from netplumb.api.errors import ANSWERED
from netplumb.api.text import printable
from netplumb.api.unixsocket import grpc_address, too_long, why_unreachable
from netplumb.api.v1 import netplumb_pb2_grpc as rpc

ANSWER_MAX_BYTES = 256 << 20  # Plan answers in one message, and a node may hold thousands of attachments

CALLS_AT_ONCE = 64  # the daemon takes a hundred of one connection, streams and calls that were given up included

OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_receive_message_length", ANSWER_MAX_BYTES),
    # Otherwise clients in one process would share a connection, and its backoff.
    ("grpc.use_local_subchannel_pool", 1),
)

WITHOUT_END_S = 1e9
"""Who waits for thirty years waits without end; gRPC's own arithmetic ends there."""

_BROKEN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""What gRPC makes of a connection that breaks; of a server that ends without waiting for its calls."""

Request = TypeVar("Request")
Response = TypeVar("Response")


class NotOpen(RuntimeError):
    """A call outside of the client's `with` block."""

    def __init__(self) -> None:
        super().__init__("this client is not open: make its calls in a `with` block (`async with` of an async client)")


class OpenAlready(RuntimeError):
    """A client was opened that is open."""

    def __init__(self) -> None:
        super().__init__("this client is open already: share it as it is, or make another one")


class OtherLoop(RuntimeError):
    """A call in another event loop than the one that the client was opened in."""

    def __init__(self) -> None:
        super().__init__("this client belongs to the event loop that opened it; open another one in this loop")


def of_kind(request: object, *kinds: type) -> None:
    """Raises TypeError where a request is none of these messages: gRPC would write it as it is, and the daemon read
    something else in it."""
    if not isinstance(request, kinds):
        named = " or ".join(f"messages.{kind.__name__}" for kind in kinds)
        raise TypeError(f"this call takes a {named}, not {type(request).__name__}")


def made(kind: type[Request], **fields: object) -> Request:
    """The message of these arguments. Raises TypeError that names the one that has no place in it, as protobuf's own
    does not."""
    try:
        return kind(**fields)
    except TypeError:
        for name, value in fields.items():
            try:
                kind(**{name: value})
            except TypeError:
                call_takes = f"this call takes {', '.join(fields)} as values, and no message"
                raise TypeError(f"{name} cannot be {type(value).__name__}: {call_takes}") from None
        raise


def waited_s(timeout_s: float) -> float | None:
    """For how long to wait; None is without end. Raises ValueError for what is no time to wait."""
    if math.isnan(timeout_s) or timeout_s < 0:
        raise ValueError(f"timeout_s is {timeout_s}: it takes seconds from 0 on, or math.inf to wait without end")
    return None if timeout_s >= WITHOUT_END_S else timeout_s


def reason(where: Path | Remote) -> OSError | None:
    """What a connection fails with, None if a daemon answers."""
    return where.why_unreachable() if isinstance(where, Remote) else why_unreachable(where)


class Connection:
    """Serves the event loop that it was opened in, any number of calls at a time; those beyond what the daemon takes of
    a connection wait for their turn."""

    def __init__(self, where: Path | Remote, timeout_s: float) -> None:
        self._where = where
        self._waited_s = waited_s(timeout_s)
        self._channel: grpc.aio.Channel | None = None
        self._turns = asyncio.Semaphore(CALLS_AT_ONCE)
        self._waiting: dict[object, float] = {}

    @property
    def silent_s(self) -> float:
        """For how long the daemon owes an answer, 0 if it owes none. A stream owes none once there is a connection."""
        return self._loop.time() - min(self._waiting.values()) if self._waiting else 0.0

    @contextmanager
    def _awaited(self) -> Iterator[None]:
        mine = object()
        self._waiting[mine] = self._loop.time()
        try:
            yield
        finally:
            del self._waiting[mine]

    async def open(self) -> None:
        """Raises OpenAlready, or Unreachable where the path can be no socket's, or the client's certificate cannot be
        read. No daemon has to answer yet."""
        if self._channel is not None:
            raise OpenAlready
        self._channel = self._opened()
        self._stub = rpc.WorkloadNetworkingStub(self._channel)
        self._loop = asyncio.get_running_loop()

    def _opened(self) -> grpc.aio.Channel:
        if isinstance(self._where, Path):
            if (error := too_long(path := self._where.absolute())) is not None:
                raise Unreachable(path, error)
            return grpc.aio.insecure_channel(grpc_address(self._where), options=OPTIONS)
        try:
            return grpc.aio.secure_channel(self._where.address, self._where.credentials(), options=OPTIONS)
        except OSError as error:
            raise Unreachable(self._where, error) from None

    async def close(self) -> None:
        if self._channel is not None:
            channel, self._channel = self._channel, None
            await channel.close()

    @property
    def stub(self) -> rpc.WorkloadNetworkingAsyncStub:
        """The calls that there are. Raises NotOpen."""
        if self._channel is None:
            raise NotOpen
        return self._stub

    async def call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        timeout_s: float | None = None,
    ) -> Response:
        """The answer. `timeout_s` goes before the connection's. Raises ClientError."""
        self._check_loop()
        clock = self._loop.time
        wait_s = self._waited_s if timeout_s is None else waited_s(timeout_s)
        deadline = math.inf if wait_s is None else clock() + wait_s
        with self._awaited():
            while True:
                try:
                    async with self._turns:
                        left_s = None if wait_s is None else deadline - clock()
                        return await method(request, timeout=left_s, wait_for_ready=True)
                except grpc.aio.AioRpcError as error:
                    # wait_for_ready holds the next try back until there is a connection, so this does not spin.
                    broke = error.code() in _BROKEN and not _is_answer(error)
                    if not broke or clock() >= deadline:
                        raise self._in_words(error) from None

    async def stream(
        self, method: grpc.aio.UnaryStreamMultiCallable[Request, Response], request: Request
    ) -> AsyncIterator[Response]:
        """What comes, for as long as it comes. The connection's timeout is for the connection alone."""
        if self._channel is None:
            raise NotOpen
        self._check_loop()
        try:
            with self._awaited():
                await asyncio.wait_for(self._channel.channel_ready(), self._waited_s)
        except TimeoutError:
            raise Unreachable(self._where, reason(self._where)) from None
        call = method(request)
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            raise self._in_words(error) from None
        finally:
            call.cancel()

    def _check_loop(self) -> None:
        if asyncio.get_running_loop() is not self._loop:
            raise OtherLoop

    def _in_words(self, error: grpc.aio.AioRpcError) -> ClientError:
        code = error.code()
        if not _is_answer(error):
            cause = reason(self._where)
            if code is grpc.StatusCode.UNAVAILABLE or (code is grpc.StatusCode.DEADLINE_EXCEEDED and cause):
                return Unreachable(self._where, cause)
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                return client_error(code, "the daemon did not answer in time")
        return client_error(code, printable(error.details() or code.name))


def _is_answer(error: grpc.aio.AioRpcError) -> bool:
    """Whether the daemon ended the call, and not gRPC on its own."""
    return ANSWERED in tuple(error.trailing_metadata())
