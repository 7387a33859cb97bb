"""A connection to one of etcd's members at a time, and to the next when that one does not answer.

gRPC would balance between addresses by itself; but then a certificate's name could not be that of the endpoint that
presents it, and which member is silent could not be told. So there is a channel for one endpoint. It is left for the
next when a call failed that another member might have answered, and is made anew then, with the certificates that are
in the files by then. Every call wants a member that has a leader (`hasleader`): one that is cut off from the others
would answer a watch with silence.

A member that has so much to do that one call is late, as where all daemons start at one moment, and answered others
meanwhile, is not left for that: it would have all of them made anew on the next one, which has no less to do. One that
is late again when it is repeated says that the member does not come to such calls at all.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import TypeAlias, TypeVar
from urllib.parse import urlsplit

import grpc
import grpc.aio

from netplumb.models.clustersettings import ClusterSettings
from netplumb.reconciler.cluster.etcd import rpc_pb2 as pb
from netplumb.reconciler.cluster.etcd import rpc_pb2_grpc as rpc
from netplumb.reconciler.cluster.etcd.credentials import content, credentials
from netplumb.reconciler.cluster.etcd.errors import Away, TokenInvalid, TooLarge, meaning

CALL_S = 3.0
MESSAGE_MAX_BYTES = 64 << 20
"""What a page has more of is asked for in smaller ones; a watch's answer comes in parts of a few MiB."""

PING_LEAST_S = 10.0
"""etcd hangs up on who pings more often than every 5 s (--grpc-keepalive-min-time), by its own clock."""

Metadata: TypeAlias = tuple[tuple[str, str], ...]
Q = TypeVar("Q")
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Stubs:
    """The services of one member, behind one channel."""

    endpoint: str
    channel: grpc.aio.Channel
    kv: rpc.KVAsyncStub
    watch: rpc.WatchAsyncStub
    lease: rpc.LeaseAsyncStub
    cluster: rpc.ClusterAsyncStub
    maintenance: rpc.MaintenanceAsyncStub
    auth: rpc.AuthAsyncStub

    @classmethod
    def of(cls, endpoint: str, channel: grpc.aio.Channel) -> Stubs:
        return cls(
            endpoint,
            channel,
            rpc.KVStub(channel),
            rpc.WatchStub(channel),
            rpc.LeaseStub(channel),
            rpc.ClusterStub(channel),
            rpc.MaintenanceStub(channel),
            rpc.AuthStub(channel),
        )


class Connection:
    """To etcd as a whole. Any number of calls may use it side by side; the event loop's thread."""

    def __init__(self, settings: ClusterSettings) -> None:
        self._settings = settings
        first = random.randrange(len(settings.endpoints))  # so that nodes that start alike do not ask the same member
        self._endpoints = cycle((*settings.endpoints[first:], *settings.endpoints[:first]))
        self._stubs: Stubs | None = None
        self._token: str | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._answered_at = 0.0  # on the clock of the event loop, by the member that is asked now
        self._answered: Stubs | None = None  # the last that ever did
        self._late_since: float | None = None

    @property
    def silence_s(self) -> float:
        return self._settings.silence_s

    def stubs(self) -> Stubs:
        """Those of the member that is asked now. Raises Refused where the certificates cannot be used."""
        if self._stubs is None:
            endpoint = next(self._endpoints)
            self._stubs = Stubs.of(endpoint, self._channel(endpoint))
        return self._stubs

    def _channel(self, endpoint: str) -> grpc.aio.Channel:
        settings, parts = self._settings, urlsplit(endpoint)
        ping_ms = int(max(PING_LEAST_S, settings.silence_s / 3) * 1000)
        options = (
            ("grpc.keepalive_time_ms", ping_ms),
            ("grpc.keepalive_timeout_ms", int(settings.silence_s * 1000 / 3)),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.bdp_probe", 0),  # is a ping to etcd like any other, and one too many
            ("grpc.max_receive_message_length", MESSAGE_MAX_BYTES),
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 2000),
            ("grpc.enable_http_proxy", 0),
            ("grpc.use_local_subchannel_pool", 1),  # one made anew is to be so down to the socket
        )
        if parts.scheme == "http":
            return grpc.aio.insecure_channel(parts.netloc, options)
        return grpc.aio.secure_channel(parts.netloc, credentials(settings), options)

    def answered(self, stubs: Stubs) -> None:
        """The member gave a sign of life."""
        self._answered = stubs
        if stubs is self._stubs:
            self._answered_at = asyncio.get_running_loop().time()

    def leave(self, stubs: Stubs) -> None:
        """Goes on to the next member, unless another call did so already."""
        if stubs is not self._stubs:
            return
        self._stubs, self._late_since, self._answered_at = None, None, 0.0
        task = asyncio.ensure_future(stubs.channel.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def forget_token(self) -> None:
        """Asks for another one before the next call."""
        self._token = None

    async def close(self) -> None:
        if (stubs := self._stubs) is not None:
            self._stubs = None
            await stubs.channel.close()
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def ask(
        self,
        choose: Callable[[Stubs], grpc.aio.UnaryUnaryMultiCallable[Q, A]],
        request: Q,
        timeout_s: float = CALL_S,
    ) -> A:
        """One question and its answer. Raises Away, Compacted or Refused. It is asked once more where a token had run
        out, since then nothing was done."""
        try:
            return await self._ask(choose, request, timeout_s)
        except TokenInvalid:
            return await self._ask(choose, request, timeout_s)

    async def _ask(
        self, choose: Callable[[Stubs], grpc.aio.UnaryUnaryMultiCallable[Q, A]], request: Q, timeout_s: float
    ) -> A:
        stubs = self.stubs()
        with self.understood(stubs, timeout_s):
            metadata = await self.metadata(stubs)
            answer = await choose(stubs)(request, timeout=timeout_s, metadata=metadata)
        self.answered(stubs)
        self._late_since = None
        return answer

    async def metadata(self, stubs: Stubs) -> Metadata:
        """What each call carries."""
        user, file = self._settings.user, self._settings.password_file
        if user is None or file is None:
            return (("hasleader", "true"),)
        if self._token is None:
            password = (content(file) or b"").split(b"\n", 1)[0].decode(errors="replace")
            answer = await stubs.auth.Authenticate(pb.AuthenticateRequest(name=user, password=password), timeout=CALL_S)
            self._token = answer.token
        return (("hasleader", "true"), ("token", self._token))

    @contextmanager
    def understood(self, stubs: Stubs, timeout_s: float = CALL_S) -> Iterator[None]:
        """Turns what gRPC raises into our words, and leaves the member where another one may do better."""
        began = asyncio.get_running_loop().time()
        try:
            yield
        except grpc.aio.AioRpcError as error:
            meant = meaning(error, stubs.endpoint, timeout_s, has_answered=stubs is self._answered)
            if isinstance(meant, Away) and not (isinstance(meant, TooLarge) or self._is_only_late(error, stubs, began)):
                self.leave(stubs)
            if isinstance(meant, TokenInvalid):
                self._token = None
            raise meant from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Another call has left this member, which cancels those that were on their way.
            raise Away(f"{stubs.endpoint}: the connection was given up") from None

    def _is_only_late(self, error: grpc.aio.AioRpcError, stubs: Stubs, began: float) -> bool:
        is_late = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and stubs is self._stubs
        is_again = self._late_since is not None and began >= self._late_since
        if not is_late or is_again or self._answered_at <= began:
            return False
        if self._late_since is None:
            self._late_since = asyncio.get_running_loop().time()
        return True
