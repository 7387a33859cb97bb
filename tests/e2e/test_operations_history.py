"""The page for who is on call: its examples of events, of a description and of metrics are what the commands print.
Times are left out, since they are those of the run."""

from __future__ import annotations

import re
from typing import Any

import grpc
import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.models.events import EventKind
from netplumb.reconciler.settings import documents
from tests.damage.victims import victim
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.test_operations import PAGE, ROOT, example
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, refused

EVENTS = "netplumb events web"
DESCRIBE = "netplumb describe web"
METRICS = "curl -s http://127.0.0.1:9478/metrics | grep -E '^netplumb_(attachments|pool)'"


def timeless(text: str) -> str:
    """Less the moments, how long something lasted, and whether that was seen or is a bound: a message of the kernel may
    come late on a machine with other work."""
    text = "".join(f"{line.rstrip()}\n" for line in text.splitlines())  # rich fills a table's cells
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{3})?[+-]\d\d:\d\d", "MOMENT", text)
    return re.sub(r"(at most )?\d+\.\d m?s\b", "SO LONG", text)


@pytest.fixture
async def history(daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host) -> None:
    """A workload whose route was deleted and whose MTU was changed, and another that asked for its address."""
    answer = await client.attach(attach(web, ports=["8080:80"]))
    hit = victim(node, web, answer)
    node.ip(f"-4 route delete {hit.v4}")
    await until(lambda: node.route(hit.v4) is not None, "the route is repaired")
    web.ip("link set eth0 mtu 1400")
    await until(lambda: web.link("eth0")["mtu"] == 1500, "the MTU is repaired")
    with refused(grpc.StatusCode.INVALID_ARGUMENT):
        await client.attach(attach(web, addresses=["10.213.0.1"]))


def run(daemon: Daemon, line: str) -> str:
    done = daemon.command(*line.split()[1:], f"--socket={daemon.socket}")
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_the_example_of_events(history: None, daemon: Daemon) -> None:
    assert timeless(run(daemon, EVENTS)) == timeless(example(EVENTS))


async def test_the_example_of_a_description(history: None, daemon: Daemon) -> None:
    assert timeless(run(daemon, DESCRIBE)) == timeless(example(DESCRIBE))


async def test_the_example_of_metrics(history: None, daemon: Daemon, node: Host) -> None:
    daemon.configure(metrics="127.0.0.1:9478")
    await daemon.restart()
    async with daemon.client() as client:
        await until(lambda: attached(client), "the new daemon has looked at the workload")
    assert node.run(f'sh -c "{METRICS}"') == example(METRICS)


async def attached(client: AsyncClient) -> bool:
    return (await client.get("web")).phase == "Attached"


def rows(heading: str) -> list[str]:
    """The first cells of the table in a section."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def test_every_kind_of_event_is_told() -> None:
    assert rows("What happened: `netplumb events`") == [kind.value for kind in EventKind]


def test_every_alert_is_told() -> None:
    """In the order of the rules."""
    (document,) = documents.read((ROOT / "config" / "alerts.yaml").read_bytes()).documents
    rules: Any = document.data
    assert rows("Metrics and alerts") == [rule["alert"] for rule in rules["groups"][0]["rules"]]
