"""What go-cni gives a Go program, for an orchestrator in Python: a workload's interfaces, from a netplumb daemon.

    async with AsyncCNI() as cni:
        ports = [PortMapping(host_port=8080, container_port=80)]
        result = await cni.setup("3f1e9a", "/run/netns/web", capabilities={"portMappings": ports})
        print(result.interfaces["eth0"].ip_configs)

`CNI` is the same for code without an event loop, from any thread. Each network that is loaded is one interface of a
workload, and without any there is one. A call that fails raises `ClientError` of `api.client`, or one of the kinds of
it here; a check that finds something, `NotInSync`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from api.client import Client, ClientError
from api.cniwords import Capabilities, InterfaceConfig, IPConfig, Network, Result, Route, Workload, result
from api.defaults import DEFAULT_SOCKET, DEFAULT_TIMEOUT_S
from api.v1 import netplumb_pb2 as pb
from models.bandwidth import Bandwidth
from models.ports import PortMapping
from models.routing import Dns

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
SOCKET_VARIABLE = "NETPLUMB_SOCKET"

_Labels = Mapping[str, str]
_T = TypeVar("_T")


class NotInitialized(ClientError):
    """There is no daemon, or it has no pools yet."""


class NotFound(ClientError):
    """There is no such interface, or it is another container's by now."""


class NotInSync(Exception):
    """The kernel does not hold an interface as it was set up; `differences` says what would be changed."""

    def __init__(self, if_name: str, differences: Sequence[str]) -> None:
        super().__init__(f"{if_name} is not as desired: {'; '.join(differences)}")
        self.differences = tuple(differences)


_KINDS = {grpc.StatusCode.UNAVAILABLE: NotInitialized, grpc.StatusCode.NOT_FOUND: NotFound}


@contextmanager
def _kinds_apart() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if (kind := _KINDS.get(error.code)) is None or isinstance(error, kind):
            raise
        raise kind(error.code, error.message) from error


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
        self._socket_path = socket_path or Path(os.environ.get(SOCKET_VARIABLE) or DEFAULT_SOCKET)
        self._prefix = prefix
        self._client = Client(self._socket_path, timeout_s)
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
        return Config(self._socket_path, self._prefix, dict(self._networks))

    async def status(self, timeout_s: float = 1.0) -> None:
        """Raises NotInitialized while no network can be set up."""
        with _kinds_apart():
            if not (await self._client.status(timeout_s)).ready:
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
        with _kinds_apart():
            await _all(self._client.detach(workload.detach(if_name)) for if_name in self._networks)

    async def check(self, container_id: str, path: str = "", *, labels: _Labels | None = None) -> None:
        """Reads the kernel; raises NotInSync or NotFound for the first interface that is not as it was set up."""
        workload_id = Workload(container_id, path, labels or {}).workload_id
        for if_name in self._networks:
            with _kinds_apart():
                found = await self._client.check(workload_id, if_name)
            if (holder := found.attachment.container_id) not in ("", container_id):
                raise NotFound(grpc.StatusCode.NOT_FOUND, f"{workload_id}/{if_name} is container {holder}'s")
            if not found.in_sync:
                raise NotInSync(if_name, [f"{change.verb} {change.words}" for change in found.differences])

    async def _attach(self, workload: Workload, if_name: str, network: Network) -> pb.AttachResponse:
        with _kinds_apart():
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
    """A context manager with the calls of `AsyncCNI`, which it makes in a thread with an event loop of its own."""

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
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="cniproxy", daemon=True)
        self._thread.start()
        self._run(self._cni.__aenter__())
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._run(self._cni.__aexit__(exc_type, exc, traceback))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def status(self, timeout_s: float = 1.0) -> None:
        self._run(self._cni.status(timeout_s))

    def setup(
        self, container_id: str, path: str, *, labels: _Labels | None = None, capabilities: Capabilities | None = None
    ) -> Result:
        return self._run(self._cni.setup(container_id, path, labels=labels, capabilities=capabilities))

    def setup_serially(
        self, container_id: str, path: str, *, labels: _Labels | None = None, capabilities: Capabilities | None = None
    ) -> Result:
        return self._run(self._cni.setup_serially(container_id, path, labels=labels, capabilities=capabilities))

    def remove(self, container_id: str, path: str = "", *, labels: _Labels | None = None) -> None:
        self._run(self._cni.remove(container_id, path, labels=labels))

    def check(self, container_id: str, path: str = "", *, labels: _Labels | None = None) -> None:
        self._run(self._cni.check(container_id, path, labels=labels))

    def _run(self, call: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()
