"""Metrics of the real daemon: what happened is counted, and where nobody asks for it nothing is imported."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
from contextlib import closing
from urllib.request import urlopen

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from netplumb.api.client.asynchronous import AsyncClient
from tests.damage.victims import victim
from tests.e2e.conftest import OUTSIDE_V4
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, detach, refused

ADDRESS = "127.0.0.1:9478"
NOBODYS_V4 = "203.0.113.99"
PINGS = 3


class Scrape:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self._samples = [it for family in text_string_to_metric_families(text) for it in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels; there is one at least."""
        found = [it.value for it in self._samples if it.name == name and labels.items() <= it.labels.items()]
        assert found, f"there is no sample of {name} with {labels}"
        return sum(found)

    def has(self, name: str) -> bool:
        return any(it.name == name for it in self._samples)


def scrape(node: Host) -> Scrape:
    with node.enter(), urlopen(f"http://{ADDRESS}/metrics", timeout=10) as answer:
        return Scrape(answer.read().decode())


@pytest.fixture
async def daemon(daemon: Daemon) -> Daemon:
    daemon.configure(metrics=ADDRESS, metrics_per_workload=True)
    await daemon.restart()
    return daemon


async def test_what_happens_is_counted(daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host) -> None:
    """Attaches, detaches, repairs, refusals, addresses, ports, transactions."""
    hit = victim(node, web, await client.attach(attach(web, ports=["8080-8081:80", "53:53/udp"])))
    await client.attach(attach(db))
    await client.detach(detach("db"))
    with refused(grpc.StatusCode.ALREADY_EXISTS):
        await client.attach(attach(db, addresses=[hit.v4]))
    before = scrape(node)
    node.ip(f"-4 route delete {hit.v4}")
    await until(lambda: scrape(node).has("netplumb_repairs_total"), "the repair is counted")
    now = scrape(node)
    expected = {
        "netplumb_attach_duration_seconds_count": 2,
        "netplumb_detach_duration_seconds_count": 1,
        "netplumb_refusals_total": 1,
        "netplumb_repairs_total": 1,
        "netplumb_ready": 1,
    }
    assert {name: now(name) for name in expected} == expected
    assert now("netplumb_attachments", phase="Attached") == 1
    assert now("netplumb_attachments", phase="Detaching") == 0
    assert now("netplumb_pool_addresses_held", pool="10.213.0.0/24") == 1
    assert now("netplumb_pool_addresses_free", pool="10.213.0.0/24") == 252
    assert now("netplumb_port_mappings", protocol="udp") == 1
    assert now("netplumb_repair_duration_seconds_count", kind="route") == 1
    assert now("netplumb_repair_duration_seconds_sum", kind="route") < 2
    assert now("netplumb_kernel_events_total") > before("netplumb_kernel_events_total")
    assert now("netplumb_pass_duration_seconds_count", scope="attachment") >= 3
    transactions = before("netplumb_nftables_transactions_total")
    await client.detach(detach("web"))  # takes its ports out of the table
    assert scrape(node)("netplumb_nftables_transactions_total") == transactions + 1


async def test_resyncs_are_timed(daemon: Daemon, node: Host, web: Host) -> None:
    async with daemon.client() as client:
        await client.attach(attach(web))
        before = scrape(node)("netplumb_resync_duration_seconds_count")
        daemon.reload()
        await until(
            lambda: scrape(node)("netplumb_resync_duration_seconds_count") > before, "the resync of a reload is timed"
        )


async def test_dropped_packets_are_counted_by_rule(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host
) -> None:
    """Spoofed ones, and those that isolation keeps away."""
    hit = victim(node, db, await client.attach(attach(db)))
    await client.attach(attach(web, isolate_workloads=True))
    spoofed = {"chain": "from_workload", "rule": "spoofed sources"}
    denied = {"chain": "between_workloads", "rule": "isolate_workloads: true"}
    before = scrape(node)

    def more(rule: dict[str, str]) -> float:
        return scrape(node)("netplumb_dropped_packets_total", **rule) - before("netplumb_dropped_packets_total", **rule)

    web.ip("address add 198.51.100.7/32 dev eth0")
    web.ping(OUTSIDE_V4, source="198.51.100.7", count=PINGS)
    assert more(spoofed) >= PINGS  # a stack sends some more by itself
    assert more(denied) == 0
    web.ping(hit.v4, count=PINGS)
    assert more(denied) == PINGS


async def test_traffic_is_told_by_workload(daemon: Daemon, client: AsyncClient, node: Host, web: Host) -> None:
    """Seen from the workload, where it was asked for; SIGHUP says otherwise."""
    hit = victim(node, web, await client.attach(attach(web)))
    mine = {"workload": "web", "interface": "eth0"}
    before = scrape(node)
    assert node.ping(hit.v4, count=PINGS)
    now = scrape(node)
    for way in ("receive", "transmit"):
        name = f"netplumb_workload_{way}"
        assert now(f"{name}_packets_total", **mine) - before(f"{name}_packets_total", **mine) >= PINGS
        assert now(f"{name}_bytes_total", **mine) - before(f"{name}_bytes_total", **mine) >= PINGS * 84
    web.run("ping -c 1 -W 1 -s 8000 " + NOBODYS_V4, ok=False)  # what comes back is small, whatever else is on the way
    last = scrape(node)
    sent, got = (
        last(f"netplumb_workload_{way}_bytes_total", **mine) - now(f"netplumb_workload_{way}_bytes_total", **mine)
        for way in ("transmit", "receive")
    )
    assert sent >= 8000 > got
    daemon.configure(metrics=ADDRESS)
    daemon.reload()
    await until(lambda: not scrape(node).has("netplumb_workload_receive_bytes_total"), "it is told no more")


async def test_a_port_that_another_holds_keeps_nothing_from_its_work(daemon: Daemon, node: Host, web: Host) -> None:
    """A condition names it, and metrics are served once it is free."""
    daemon.terminate()
    with node.enter():
        other = socket.create_server(("127.0.0.1", 9478))
    with closing(other):
        await daemon.start()
        async with daemon.client() as client:
            await client.attach(attach(web))
            told = {condition.type: condition for condition in (await client.status()).conditions}
            assert f"metrics cannot be served at {ADDRESS}" in told["MetricsUnavailable"].message

    def served() -> bool:
        try:
            return scrape(node)("netplumb_attachments", phase="Attached") == 1
        except OSError:
            return False

    await until(served, "metrics are served", within_s=15)


async def test_a_unix_socket_serves_too(daemon: Daemon, node: Host) -> None:
    path = daemon.directory / "m.sock"
    daemon.configure(metrics=f"unix:{path}")
    await daemon.restart()
    with closing(http.client.HTTPConnection("netplumb")) as connection, socket.socket(socket.AF_UNIX) as made:
        made.connect(str(path))
        connection.sock = made
        connection.request("GET", "/metrics")
        assert Scrape(connection.getresponse().read().decode())("netplumb_ready") == 1
    daemon.terminate()
    assert not path.exists()


def test_without_metrics_nothing_of_them_is_imported() -> None:
    program = (
        "import sys, netplumb.reconciler.daemon, netplumb.reconciler.main;"
        "print([name for name in sys.modules if name.startswith(('prometheus', 'netplumb.reconciler.metrics'))])"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "[]\n"
