"""Metrics, alert rules and dashboard, judged by promtool and by a real Prometheus that scrapes the real daemon."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.reconciler.settings import documents
from tests.damage.victims import victim
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.statefiles import declare
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, detach

CONFIG = Path(__file__).parents[2] / "config"
METRICS, PROMETHEUS = "127.0.0.1:9478", "127.0.0.1:9090"
WITHIN_S = 30.0
ALONE = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: alone}
spec: {podSelector: {}}
"""


def promtool(*words: str, given: str = "", where: Path = CONFIG) -> None:
    done = subprocess.run(["promtool", *words], input=given, cwd=where, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def get(node: Host, url: str) -> str:
    with node.enter(), urlopen(f"http://{url}", timeout=10) as answer:
        text: str = answer.read().decode()
        return text


@pytest.fixture
async def scraped(daemon: Daemon) -> Daemon:
    """A daemon that serves metrics."""
    daemon.configure(metrics=METRICS, metrics_per_workload=True)
    await daemon.restart()
    return daemon


@pytest.fixture
async def used(scraped: Daemon, node: Host, web: Host) -> AsyncIterator[AsyncClient]:
    """It has attached, detached and repaired something, and a network policy is in force."""
    declare(scraped, "policy.yaml", ALONE)
    async with scraped.client() as client:
        hit = victim(node, web, await client.attach(attach(web, ports=["8080:80"])))
        await client.attach(attach(web, "other", if_name="eth1"))
        await client.detach(detach("other", if_name="eth1"))
        node.ip(f"-4 route delete {hit.v4}")
        await until(lambda: node.route(hit.v4) is not None, "the route is repaired")
        denied = "netplumb_workload_denied_packets_total{"
        await until(lambda: denied in get(node, f"{METRICS}/metrics"), "the policy counts what it denies")
        yield client


def expressions(board: Any) -> Iterator[str]:
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"].replace("$instance", ".*").replace("$__rate_interval", "5s")


def named(text: str) -> set[str]:
    """The metrics of ours in a text, by their families."""
    names = set(re.findall(r"netplumb_[a-z_]+", text))
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in names}


def families(scrape: str) -> set[str]:
    """With the names of their samples."""
    found = re.findall(r"^# TYPE (netplumb_\w+) ", scrape, flags=re.MULTILINE)
    assert found
    return set(found)


def test_promtool_takes_the_configuration_and_the_rules() -> None:
    promtool("check", "config", "prometheus.yaml")
    promtool("check", "rules", "alerts.yaml")


def test_each_alert_fires_when_it_should(tmp_path: Path) -> None:
    """And every alert is among those that are tested."""
    tests = Path(__file__).with_name("alerts_test.yaml")
    for file in (CONFIG / "alerts.yaml", tests):
        (tmp_path / file.name).write_text(file.read_text())
    promtool("test", "rules", tests.name, where=tmp_path)
    (rules,) = documents.read((CONFIG / "alerts.yaml").read_bytes()).documents
    alerts: Any = rules.data
    for rule in alerts["groups"][0]["rules"]:
        assert re.search(rf"alertname: {rule['alert']}\n", tests.read_text()), rule["alert"]


async def test_promtool_takes_the_metrics(used: AsyncClient, node: Host) -> None:
    """Names, units, types and help are as the conventions want them."""
    promtool("check", "metrics", given=get(node, f"{METRICS}/metrics"))


async def test_every_metric_is_shown_and_none_that_is_not(used: AsyncClient, node: Host) -> None:
    """The dashboard shows all that is scraped; dashboard and alerts name nothing else."""
    scrape = families(get(node, f"{METRICS}/metrics"))
    shown = named(" ".join(expressions(json.loads((CONFIG / "grafana.json").read_text()))))
    assert shown == scrape
    assert named(re.sub(r"#.*", "", (CONFIG / "alerts.yaml").read_text())) <= scrape


@pytest.fixture
def prometheus(node: Host, tmp_path: Path) -> Iterator[Path]:
    """Scrapes often. Yields its log."""
    config = (CONFIG / "prometheus.yaml").read_text()
    config = config.replace("scrape_interval: 15s", "scrape_interval: 1s").replace(
        "alerts.yaml", str(CONFIG / "alerts.yaml")
    )
    (tmp_path / "prometheus.yaml").write_text(config)
    log = tmp_path / "prometheus.log"
    words = (
        f"--config.file={tmp_path}/prometheus.yaml --storage.tsdb.path={tmp_path}/data "
        f"--web.listen-address={PROMETHEUS} --log.level=warn"
    )
    with log.open("wb") as output:
        process = subprocess.Popen(node.command("prometheus", *words.split()), stdout=output, stderr=output)
        try:
            yield log
        finally:
            process.terminate()
            process.wait(20)
            print(log.read_text())


def asked(node: Host, expression: str) -> list[dict[str, Any]]:
    """What Prometheus answers to a query; a query that is wrong fails."""
    answer = json.loads(get(node, f"{PROMETHEUS}/api/v1/query?{urlencode({'query': expression})}"))
    assert answer["status"] == "success", answer
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


async def test_prometheus_scrapes_the_daemon(used: AsyncClient, node: Host, web: Host, prometheus: Path) -> None:
    """Every query of the dashboard has an answer, the alerts are loaded, and what happens is counted."""

    def value(expression: str) -> float:
        try:
            return sum(float(it["value"][1]) for it in asked(node, expression))
        except OSError:  # it has only just begun
            return -1.0

    await until(lambda: value('up{job="netplumb"}') == 1, "it is scraped", within_s=WITHIN_S)
    hit_v4 = (await used.get("web")).addresses[0]
    before = value('netplumb_repairs_total{kind="route"}')
    node.ip(f"-4 route delete {hit_v4}")
    await until(
        lambda: value('netplumb_repairs_total{kind="route"}') == before + 1, "the repair is counted", within_s=WITHIN_S
    )
    assert value('netplumb_attachments{phase="Attached"}') == 1
    assert value("netplumb_attach_duration_seconds_count") == 2
    assert value("netplumb_detach_duration_seconds_count") == 1
    await until(lambda: value("rate(netplumb_kernel_events_total[5s])") >= 0, "there are rates", within_s=WITHIN_S)
    unanswered = [it for it in expressions(json.loads((CONFIG / "grafana.json").read_text())) if not asked(node, it)]
    assert unanswered == []
    loaded = json.loads(get(node, f"{PROMETHEUS}/api/v1/rules"))["data"]["groups"]
    assert [rule["health"] for group in loaded for rule in group["rules"] if rule["health"] == "err"] == []
    assert len(loaded) == 1


async def test_scrapes_side_by_side_are_all_answered(used: AsyncClient, node: Host) -> None:
    """As of two Prometheus servers; nobody of them sees half of one."""
    texts = await asyncio.gather(*(asyncio.to_thread(get, node, f"{METRICS}/metrics") for _ in range(4)))
    assert len({frozenset(families(text)) for text in texts}) == 1
