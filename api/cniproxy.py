"""What go-cni gives a Go program, for an orchestrator in Python: a workload's interfaces, from a netplumb daemon.

    async with AsyncCNI() as cni:
        ports = [PortMapping(host_port=8080, container_port=80)]
        result = await cni.setup("3f1e9a", "/run/netns/web", capabilities={"portMappings": ports})
        print(result.interfaces["eth0"].ip_configs)

`CNI` is the same for code without an event loop, from any thread. Each network that is loaded is one interface of a
workload, and without any there is one. A call that fails raises `netplumb.ClientError`, or one of the kinds of it; a
check that finds something, `NotInSync`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import grpc

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.client.background import BackgroundLoop
from netplumb.api.client.errors import ClientError, NotFound, Unavailable
from netplumb.api.cniwords import Capabilities, InterfaceConfig, IPConfig, Network, Result, Route, Workload, result
from netplumb.api.defaults import DEFAULT_TIMEOUT_S
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.models.bandwidth import Bandwidth
from netplumb.models.ports import PortMapping
from netplumb.models.routing import Dns

__all__ = [
    "CNI",
    "AsyncCNI",
    "Bandwidth",
    "Capabilities",
    "ClientError",
    "Config",
    "Dns",
    "IPConfig",
    "InterfaceConfig",
    "Network",
    "NotFound",
    "NotInSync",
    "NotInitialized",
    "PortMapping",
    "Result",
    "Route",
]

DEFAULT_PREFIX = "eth"

_Labels = Mapping[str, str]
_T = TypeVar("_T")


class NotInitialized(Unavailable):
    """There is no daemon, or it has no pools yet."""


class NotInSync(Exception):
    """An interface is not as it was set up; `differences` says why, and what would be changed."""

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
    """An asynchronous context manager with one connection. Its calls may run at the same time.

    A daemon that restarts is waited for, until `timeout_s`. The socket is that of NETPLUMB_SOCKET or the default one
    if none is given.
    """

    def __init__(
        self,
        *networks: Network,
        socket_path: Path | None = None,
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
        """Replaces the networks. Interfaces that were set up stay as they are."""
        self._networks = {f"{self._prefix}{number}": network for number, network in enumerate(networks or (Network(),))}

    def get_config(self) -> Config:
        return Config(self._client.socket_path, self._prefix, dict(self._networks))

    async def status(self, timeout_s: float = 1.0) -> None:
        """Raises NotInitialized while no network can be set up."""
        with _in_its_words():
            answer = await self._client.status(timeout_s)
        if not answer.ready:
            raise NotInitialized(grpc.StatusCode.UNAVAILABLE, "the node's own network is not set up yet")

    async def setup(
        self, container_id: str, path: str, *, labels: _Labels | None = None, capabilities: Capabilities | None = None
    ) -> Result:
        """Gives the namespace at `path` its interfaces, all at the same time."""
        workload = Workload(container_id, path, labels or {}, capabilities or {})
        answers = await _all(self._attach(workload, *each) for each in self._networks.items())
        return result(path, answers)

    async def setup_serially(
        self, container_id: str, path: str, *, labels: _Labels | None = None, capabilities: Capabilities | None = None
    ) -> Result:
        """Gives the namespace at `path` its interfaces, one after the other."""
        workload = Workload(container_id, path, labels or {}, capabilities or {})
        return result(path, [await self._attach(workload, *each) for each in self._networks.items()])

    async def remove(self, container_id: str, path: str = "", *, labels: _Labels | None = None) -> None:
        """Takes the interfaces away. The namespace may be gone and the path empty; what is gone is no error."""
        workload = Workload(container_id, path, labels or {})
        with _in_its_words():
            await _all(self._client.detach(workload.detach(if_name)) for if_name in self._networks)

    async def check(self, container_id: str, path: str = "", *, labels: _Labels | None = None) -> None:
        """Reads the kernel; raises NotInSync or NotFound for the first interface that is not as it was set up."""
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


class CNI:
    """A context manager with the calls of `AsyncCNI`, which it makes in a thread with an event loop of its own.

        with CNI() as cni:
            cni.setup("3f1e9a", "/run/netns/web")
            cni.check("3f1e9a")
            cni.remove("3f1e9a")

    Its parameters are the same, and so is what each call raises.
    """

    def __init__(
        self,
        *networks: Network,
        socket_path: Path | None = None,
        prefix: str = DEFAULT_PREFIX,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        self._cni = AsyncCNI(*networks, socket_path=socket_path, prefix=prefix, timeout_s=timeout_s)
        self.load = self._cni.load
        self.get_config = self._cni.get_config

    def __enter__(self) -> Self:
        self._loop = BackgroundLoop("cniproxy")
        self._loop.run(self._cni.__aenter__())
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.close(self._cni.__aexit__(exc_type, exc, traceback))

    def status(self, timeout_s: float = 1.0) -> None:
        self._loop.run(self._cni.status(timeout_s))

    def setup(
        self, container_id: str, path: str, *, labels: _Labels | None = None, capabilities: Capabilities | None = None
    ) -> Result:
        return self._loop.run(self._cni.setup(container_id, path, labels=labels, capabilities=capabilities))

    def setup_serially(
        self, container_id: str, path: str, *, labels: _Labels | None = None, capabilities: Capabilities | None = None
    ) -> Result:
        return self._loop.run(self._cni.setup_serially(container_id, path, labels=labels, capabilities=capabilities))

    def remove(self, container_id: str, path: str = "", *, labels: _Labels | None = None) -> None:
        self._loop.run(self._cni.remove(container_id, path, labels=labels))

    def check(self, container_id: str, path: str = "", *, labels: _Labels | None = None) -> None:
        self._loop.run(self._cni.check(container_id, path, labels=labels))
