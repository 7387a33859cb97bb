"""The client for code without an event loop: the calls of `AsyncClient`, made in a thread that has one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from netplumb.api.client.asynchronous import AsyncClient, WhatIf
from netplumb.api.client.background import BackgroundLoop
from netplumb.api.defaults import DEFAULT_TIMEOUT_S
from netplumb.api.v1 import netplumb_pb2 as pb


class Client:
    """A context manager with one connection; it may be used from any thread, by several at a time,
    and after a fork by the process that opened it alone.

        with netplumb.Client() as client:
            for attachment in client.list():
                print(attachment.workload_id, *attachment.addresses)
            client.detach(messages.DetachRequest(workload_id="web"))

    The parameters are those of `AsyncClient`, and so is what each call raises.
    """

    def __init__(self, socket_path: Path | str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self._client = AsyncClient(socket_path, timeout_s)

    def __enter__(self) -> Self:
        self._loop = BackgroundLoop("netplumb-client")
        self._loop.run(self._client.__aenter__())
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.close(self._client.__aexit__(exc_type, exc, traceback))

    def attach(self, request: pb.AttachRequest, timeout_s: float | None = None) -> pb.AttachResponse:
        """See `AsyncClient.attach`."""
        return self._loop.run(self._client.attach(request, timeout_s))

    def detach(self, request: pb.DetachRequest, timeout_s: float | None = None) -> None:
        """See `AsyncClient.detach`."""
        self._loop.run(self._client.detach(request, timeout_s))

    def get(self, workload_id: str, if_name: str = "") -> pb.Attachment:
        """See `AsyncClient.get`."""
        return self._loop.run(self._client.get(workload_id, if_name))

    def get_with_waiting(self, workload_id: str, if_name: str = "") -> pb.GetResponse:
        """See `AsyncClient.get_with_waiting`."""
        return self._loop.run(self._client.get_with_waiting(workload_id, if_name))

    def list(self, page_size: int = 0, selector: str = "") -> Iterator[pb.Attachment]:
        """See `AsyncClient.list`."""
        return self._loop.iterate(self._client.list(page_size, selector))

    def watch(self, selector: str = "") -> Iterator[pb.WatchResponse]:
        """See `AsyncClient.watch`."""
        return self._loop.iterate(self._client.watch(selector))

    def events(self, about: str = "", since: float = 0.0, most: int = 0, follow: bool = False) -> Iterator[pb.Event]:
        """See `AsyncClient.events`."""
        return self._loop.iterate(self._client.events(about, since, most, follow))

    def check(self, workload_id: str, if_name: str = "") -> pb.CheckResponse:
        """See `AsyncClient.check`."""
        return self._loop.run(self._client.check(workload_id, if_name))

    def describe(self, workload_id: str, if_name: str = "", events: int = 10) -> Sequence[pb.Description]:
        """See `AsyncClient.describe`."""
        return self._loop.run(self._client.describe(workload_id, if_name, events))

    def check_all(self) -> Sequence[pb.CheckResponse]:
        """See `AsyncClient.check_all`."""
        return self._loop.run(self._client.check_all())

    def plan(self, what_if: WhatIf = None) -> pb.PlanResponse:
        """See `AsyncClient.plan`."""
        return self._loop.run(self._client.plan(what_if))

    def apply(self, request: pb.ApplyRequest) -> Sequence[pb.Applied]:
        """See `AsyncClient.apply`."""
        return self._loop.run(self._client.apply(request))

    def delete(self, request: pb.DeleteRequest) -> pb.DeleteResponse:
        """See `AsyncClient.delete`."""
        return self._loop.run(self._client.delete(request))

    def gc(
        self, alive: Iterable[tuple[str, str]], source: str = "", *, dry_run: bool = False
    ) -> Sequence[pb.Attachment]:
        """See `AsyncClient.gc`."""
        return self._loop.run(self._client.gc(alive, source, dry_run=dry_run))

    def status(self, timeout_s: float | None = None, *, without_pools: bool = False) -> pb.StatusResponse:
        """See `AsyncClient.status`."""
        return self._loop.run(self._client.status(timeout_s, without_pools=without_pools))

    def traffic(self, selector: str = "") -> pb.TrafficResponse:
        """See `AsyncClient.traffic`."""
        return self._loop.run(self._client.traffic(selector))
