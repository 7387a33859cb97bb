"""The calls of go-cni for asyncio, as calls of the daemon's client. `synchronous` has the same with the same words."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias, TypeVar

import grpc

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.client.errors import NotFound, Unavailable
from netplumb.api.cniproxy.words import Capabilities, Network, Result, Workload, result
from netplumb.api.defaults import DEFAULT_TIMEOUT_S
from netplumb.api.v1 import netplumb_pb2 as pb

DEFAULT_PREFIX = "eth"

Labels: TypeAlias = Mapping[str, str]
_T = TypeVar("_T")


class NotInitialized(Unavailable):
    """There is no daemon, or it has no pools yet, so that no network can be set up."""


class NotInSync(Exception):
    """An interface is not as it was set up; `differences` says why, and what would be changed, a line each."""

    def __init__(self, if_name: str, differences: Sequence[str]) -> None:
        super().__init__(f"{if_name} is not as desired: {'; '.join(differences)}")
        self.differences = tuple(differences)


@contextmanager
def _in_its_words() -> Iterator[None]:
    try:
        yield
    except Unavailable as error:
        raise NotInitialized(error.code, error.message) from error


@dataclass(frozen=True, slots=True)
class Config:
    """What `get_config` tells: the daemon's socket, and the networks by the interfaces that they are."""

    socket_path: Path
    prefix: str
    networks: Mapping[str, Network]


class AsyncCNI:
    """The calls of go-cni, in an `async with` block: one connection, any number of calls at a time.

    Args:
        networks: what the interfaces of a workload are connected to, in their order; one with the daemon's defaults
            without any.
        socket_path: the daemon's socket; without one that of the variable NETPLUMB_SOCKET, else
            /run/netplumb/workloadnet.sock.
        prefix: of the interfaces' names in the workload, which are numbered from 0 on.
        timeout_s: how many seconds each call may take, waiting for a daemon that restarts included; `math.inf` waits
            without end.

    Raises:
        ValueError: where `timeout_s` is negative or no number.
        RuntimeError: from a call outside of the block, where the block is entered again within it, and from a call in
            another event loop.
        ClientError: from the block, where the path is longer than a socket's may be (107 bytes).

    Example:
        async with AsyncCNI(Network(), Network(pool="storage"), prefix="net") as cni:
            print(*cni.get_config().networks)  # net0 net1
    """

    def __init__(
        self,
        *networks: Network,
        socket_path: Path | str | None = None,
        prefix: str = DEFAULT_PREFIX,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        self._prefix = prefix
        self._client = AsyncClient(socket_path, timeout_s)
        self.load(*networks)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.__aexit__(exc_type, exc, traceback)

    def load(self, *networks: Network) -> None:
        """Replaces the networks. Interfaces that were set up stay as they are.

        Args:
            networks: as the constructor takes them.
        """
        self._networks = {f"{self._prefix}{number}": network for number, network in enumerate(networks or (Network(),))}

    def get_config(self) -> Config:
        """The daemon's socket, and the networks that are loaded, by the interfaces that they are. Asks nobody."""
        return Config(self._client.socket_path, self._prefix, dict(self._networks))

    async def status(self, timeout_s: float = 1.0) -> None:
        """Returns when networks can be set up.

        Args:
            timeout_s: how many seconds the daemon may take to answer.

        Raises:
            NotInitialized: no daemon answers, it has no pools, or the node's own network is not set up yet.
        """
        with _in_its_words():
            answer = await self._client.status(timeout_s)
        if not answer.ready:
            raise NotInitialized(grpc.StatusCode.UNAVAILABLE, "the node's own network is not set up yet")

    async def setup(
        self, container_id: str, path: str, *, labels: Labels | None = None, capabilities: Capabilities | None = None
    ) -> Result:
        """Gives a namespace its interfaces, all at the same time, and returns when the kernel holds them. The same
        again changes nothing.

        Args:
            container_id: the runtime's id of the container.
            path: of its network namespace.
            labels: what the runtime knows of it; K8S_POD_UID names the workload, whose addresses outlive the container.
            capabilities: ports, limits, DNS and the like, by the names of CNI's conventions.

        Returns:
            What the workload was given.

        Raises:
            NotInitialized: no daemon answers, or it has no pools.
            InvalidArgument, FailedPrecondition, AlreadyExists, ResourceExhausted, Aborted, DeadlineExceeded: as
                `netplumb.Client.attach`. What was set up before one of them failed stays; `remove` takes it away.

        Example:
            limits = Bandwidth(ingress_rate=100_000_000, egress_rate=20_000_000)  # bits per second
            result = await cni.setup("3f1e9a", "/run/netns/web", capabilities={"bandwidth": limits})
            print(result.interfaces["eth0"].mac, *(config.ip for config in result.interfaces["eth0"].ip_configs))
        """
        workload = Workload(container_id, path, labels or {}, capabilities or {})
        answers = await _all(self._attach(workload, *each) for each in self._networks.items())
        return result(path, answers)

    async def setup_serially(
        self, container_id: str, path: str, *, labels: Labels | None = None, capabilities: Capabilities | None = None
    ) -> Result:
        """Gives a namespace its interfaces as `setup` does, but one after the other, in the order of the networks.

        Args:
            container_id: the runtime's id of the container.
            path: of its network namespace.
            labels: what the runtime knows of it; K8S_POD_UID names the workload, whose addresses outlive the container.
            capabilities: ports, limits, DNS and the like, by the names of CNI's conventions.

        Returns:
            What the workload was given.

        Raises:
            NotInitialized: no daemon answers, or it has no pools.
            InvalidArgument, FailedPrecondition, AlreadyExists, ResourceExhausted, Aborted, DeadlineExceeded: as
                `netplumb.Client.attach`. Those behind the one that failed were not tried.
        """
        workload = Workload(container_id, path, labels or {}, capabilities or {})
        return result(path, [await self._attach(workload, *each) for each in self._networks.items()])

    async def remove(self, container_id: str, path: str = "", *, labels: Labels | None = None) -> None:
        """Takes the interfaces away, and returns when they are gone from the kernel. What is gone already is no error.

        Args:
            container_id: the runtime's id of the container.
            path: of its network namespace; empty where that is gone.
            labels: as at `setup`, where K8S_POD_UID names the workload.

        Raises:
            NotInitialized: no daemon answers.
            DeadlineExceeded: the kernel has not let go of one yet. The others are gone.

        Example:
            await cni.remove("3f1e9a")
        """
        workload = Workload(container_id, path, labels or {})
        with _in_its_words():
            await _all(self._client.detach(workload.detach(if_name)) for if_name in self._networks)

    async def check(self, container_id: str, path: str = "", *, labels: Labels | None = None) -> None:
        """Reads the kernel, and returns when all interfaces are as they were set up.

        Args:
            container_id: the runtime's id of the container.
            path: of its network namespace; carried for go-cni's sake.
            labels: as at `setup`, where K8S_POD_UID names the workload.

        Raises:
            NotInSync: the first interface that is not as it was set up; `differences` says how.
            NotFound: there is none, or it is another container's.
            NotInitialized: no daemon answers.
        """
        workload_id = Workload(container_id, path, labels or {}).workload_id
        for if_name in self._networks:
            with _in_its_words():
                found = await self._client.check(workload_id, if_name)
            if (holder := found.attachment.container_id) not in ("", container_id):
                raise NotFound(grpc.StatusCode.NOT_FOUND, f"{workload_id}/{if_name} is container {holder}'s")
            if not found.in_sync:
                differences = [f"{change.verb} {change.words}" for change in found.differences]
                raise NotInSync(if_name, [*(f"{it.reason}: {it.message}" for it in found.unmet), *differences])

    async def _attach(self, workload: Workload, if_name: str, network: Network) -> pb.AttachResponse:
        with _in_its_words():
            return await self._client.attach(workload.attach(if_name, network))


async def _all(calls: Iterator[Awaitable[_T]]) -> list[_T]:
    """What all of them answer. Every call is finished before the first error is raised."""
    answers: list[_T] = []
    failures: list[BaseException] = []
    for answer in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(answer, BaseException):
            failures.append(answer)
        else:
            answers.append(answer)
    if failures:
        raise failures[0]
    return answers
