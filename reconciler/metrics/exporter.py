"""Serves the metrics over HTTP, in threads beside the event loop: a scrape asks the loop's thread for a frozen copy of
what it counts, and reads the rest and makes the text by itself.

Where it cannot listen it tries again, and says so in a condition: a port that somebody took keeps no daemon from its
work.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from netplumb.models.errors import NetplumbError, StepError
from netplumb.models.listenaddress import ListenAddress, TcpAddress, UnixAddress
from netplumb.models.networkpolicy import Direction
from netplumb.models.nft import POLICY_DENIED
from netplumb.models.outages import Outage
from netplumb.models.status import Condition
from netplumb.reconciler.kernel.nftables import counters, counts
from netplumb.reconciler.kernel.rtnetlink import linkstats
from netplumb.reconciler.metrics.families import families
from netplumb.reconciler.metrics.reading import Counted, Read
from netplumb.reconciler.metrics.server import Listening, MetricsServer

AGAIN_S = 5.0
ANSWER_WITHIN_S = 5.0

log = structlog.get_logger(__name__)

T = TypeVar("T")


class Exporter:
    """`listen_at` opens a unix socket and tells what takes it away; `count` is called on the event loop's thread for
    each scrape; `stores` are the files whose size is told, by what they hold."""

    def __init__(
        self,
        address: ListenAddress,
        listen_at: Callable[[Path], tuple[socket.socket, Callable[[], None]]],
        count: Callable[[], Counted],
        stores: Mapping[str, Path],
    ) -> None:
        self._address = address
        self._listen_at = listen_at
        self._count = count
        self._stores = stores
        self._outage = Outage("MetricsUnavailable", f"metrics cannot be served at {address}")

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """That nobody can scrape, while that is so."""
        return self._outage.conditions

    async def run(self) -> None:
        """Serves until it is cancelled."""
        registry = CollectorRegistry()
        registry.register(_Scrapes(asyncio.get_running_loop(), self._count, self._stores))
        ProcessCollector(registry=registry)
        server = MetricsServer(await self._listening(), registry)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            server.close()

    async def _listening(self) -> Listening:
        while True:
            try:
                listening = self._listen()
            except (OSError, NetplumbError) as error:
                if self._outage.lasts(str(error)):
                    log.error(self._outage.cause, again_after_s=AGAIN_S)
                await asyncio.sleep(AGAIN_S)
            else:
                self._outage.ends()
                log.info("metrics are served", where=listening.where)
                return listening

    def _listen(self) -> Listening:
        """Raises OSError or NetplumbError."""
        match self._address:
            case UnixAddress(path):
                return Listening(*self._listen_at(path), where=str(self._address))
            case TcpAddress(ip, port):
                family = socket.AF_INET6 if ip.version == 6 else socket.AF_INET
                listening = socket.create_server((str(ip), port), family=family)
                return Listening(listening, lambda: None, where=str(self._address))


class _Scrapes(Collector):
    """Asked by the server's threads."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, count: Callable[[], Counted], stores: Mapping[str, Path]
    ) -> None:
        self._loop = loop
        self._count = count
        self._stores = stores

    def collect(self) -> Iterable[Metric]:
        counted = asyncio.run_coroutine_threadsafe(self._counted(), self._loop).result(ANSWER_WITHIN_S)
        read = Read(
            dropped=_unless_refused(counters.dropped),
            traffic=_unless_refused(lambda: linkstats.traffic_of(counted.links or {})) or {},
            denied=_unless_refused(_denied) or {} if counted.policed and counted.links is not None else {},
            store_bytes=dict(_sizes(self._stores)),
        )
        return families(counted, read)

    async def _counted(self) -> Counted:
        return self._count()


def _denied() -> Mapping[Direction, Mapping[str, int]]:
    return {direction: dict(counts.of_set(it.name)) for direction, it in POLICY_DENIED.items()}


def _unless_refused(read: Callable[[], T]) -> T | None:
    """What cannot be read now is left out, and the rest told."""
    try:
        return read()
    except StepError as error:
        log.warning("a metric was not read", cause=str(error))
        return None


def _sizes(stores: Mapping[str, Path]) -> Iterator[tuple[str, int]]:
    for name, path in stores.items():
        size = 0
        for file in (path, path.with_name(f"{path.name}-wal")):
            with suppress(OSError):
                size += os.stat(file).st_size  # noqa: PTH116 - of many a file the one call
        yield name, size
