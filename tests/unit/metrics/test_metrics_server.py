"""HTTP for metrics: one path, bounded in number and in time, on TCP and on a unix socket."""

from __future__ import annotations

import asyncio
import http.client
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from ipaddress import ip_address
from math import inf
from pathlib import Path
from threading import Event, Semaphore

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from structlog.testing import capture_logs

from netplumb.api.unixsocket import listening
from netplumb.models.listenaddress import TcpAddress, UnixAddress
from netplumb.reconciler.metrics import exporter, server
from netplumb.reconciler.metrics.exporter import Exporter
from netplumb.reconciler.metrics.server import Listening, MetricsServer
from tests.unit.recorder import until


class Numbers(Collector):
    """One metric; what it is asked for may fail."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def collect(self) -> list[Metric]:
        if self.error is not None:
            raise self.error
        return [GaugeMetricFamily("answer", "What was asked for.", value=42)]


@contextmanager
def served(numbers: Numbers) -> Iterator[int]:
    """On a port of its own, which it tells."""
    registry = CollectorRegistry()
    registry.register(numbers)
    made = socket.create_server(("127.0.0.1", 0))
    running = MetricsServer(Listening(made, lambda: None, "here"), registry)
    try:
        yield made.getsockname()[1]
    finally:
        running.close()


def get(port: int, path: str = "/metrics") -> tuple[int, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_metrics_are_at_one_path() -> None:
    with served(Numbers()) as port:
        assert get(port) == (200, "# HELP answer What was asked for.\n# TYPE answer gauge\nanswer 42.0\n")
        assert get(port, "/metrics?x=1")[0] == 200
        status, text = get(port, "/")
        assert status == 404
        assert "/metrics" in text


def test_a_scrape_that_fails_is_an_error_for_who_scrapes() -> None:
    """Not half an answer, and the next one is served."""
    numbers = Numbers()
    with served(numbers) as port, capture_logs() as logs:
        numbers.error = TimeoutError("the loop does not answer")
        assert get(port)[0] == 503
        numbers.error = None
        assert get(port)[0] == 200
    assert [log["cause"] for log in logs] == ["TimeoutError: the loop does not answer"]


def test_who_stalls_is_cut_off_and_keeps_others_out_for_so_long_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one who sends a byte now and then."""
    monkeypatch.setattr(server, "WITHIN_S", 0.5)
    with served(Numbers()) as port:
        stalled = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(server.SERVED_MOST + 2)]
        ends = time.monotonic() + 10
        status = 0
        while status != 200 and time.monotonic() < ends:
            with suppress(OSError, http.client.HTTPException):
                status, _ = get(port)
            for each in stalled:
                with suppress(OSError):
                    each.send(b"G")
        assert status == 200
        for each in stalled:
            each.close()


@pytest.mark.parametrize("said", [b"", b"GET /metrics HT"])
def test_who_is_silent_keeps_nobody_out(said: bytes) -> None:
    """However many there are, and however often they come again."""
    with served(Numbers()) as port:
        stalled = list[socket.socket]()
        for _ in range(3):
            for _ in range(server.SERVED_MOST + 2):
                stalled.append(socket.create_connection(("127.0.0.1", port), timeout=10))
                stalled[-1].sendall(said)
            assert get(port)[0] == 200
        for each in stalled:
            each.close()


def test_who_takes_no_answer_keeps_others_out_for_so_long_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has asked is served first, for a while."""
    monkeypatch.setattr(server, "GIVES_WAY_S", inf)
    begun, ends = Semaphore(0), Event()

    class Slow(Numbers):
        def collect(self) -> list[Metric]:
            if not ends.is_set():
                begun.release()
                ends.wait(10)
            return super().collect()

    with served(Slow()) as port:
        asked = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(server.SERVED_MOST)]
        for each in asked:
            each.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert begun.acquire(timeout=10)
        with pytest.raises((OSError, http.client.HTTPException)):
            get(port)
        monkeypatch.setattr(server, "GIVES_WAY_S", 0.0)
        ends.set()
        assert get(port)[0] == 200
        for each in asked:
            each.close()


async def test_a_unix_socket_has_the_mode_of_the_daemons(tmp_path: Path) -> None:
    """And is gone when the exporter ends."""
    path = tmp_path / "metrics.sock"

    def listen_at(place: Path) -> tuple[socket.socket, object]:
        made, published = listening(place, 0o640, None)
        return made, published.withdraw

    made = Exporter(UnixAddress(path), listen_at, lambda: pytest.fail("nobody asks"), {})  # type: ignore[arg-type]
    task = asyncio.create_task(made.run())
    await until(path.exists)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert made.conditions == ()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert not path.exists()


async def test_a_port_that_is_taken_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "AGAIN_S", 0.01)
    taken = socket.create_server(("127.0.0.1", 0))
    address = TcpAddress(ip_address("127.0.0.1"), taken.getsockname()[1])
    made = Exporter(address, lambda _: pytest.fail("no unix socket"), lambda: pytest.fail("nobody asks"), {})
    with capture_logs() as logs:
        task = asyncio.create_task(made.run())
        await until(lambda: bool(made.conditions))
        (condition,) = made.conditions
        assert condition.type == "MetricsUnavailable"
        assert f"metrics cannot be served at {address}" in condition.message
        taken.close()
        await until(lambda: not made.conditions)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert len([log for log in logs if log["log_level"] == "error"]) == 1
