"""What is drawn and counted of a node is what its kernel holds."""

from __future__ import annotations

import json

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e.conftest import NODE_V4, NODE_V6, UPLINK
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.test_operations import example
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, v4

MAP = "netplumb map"


async def test_uplinks_are_told_as_they_are_and_as_they_become(daemon: Daemon, client: AsyncClient, node: Host) -> None:
    (uplink,) = (await client.status()).uplinks
    assert (uplink.name, uplink.mtu) == (UPLINK, 1500)
    assert {NODE_V4, NODE_V6} <= set(uplink.addresses)
    node.ip(f"link set {UPLINK} down")

    async def is_gone() -> bool:
        return not (await client.status()).uplinks

    await until(is_gone, "an uplink without routes is none")


async def test_traffic_is_counted_as_the_workload_sees_it(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host
) -> None:
    """What one sends the other receives."""
    await client.attach(attach(web, labels={"app": "web"}))
    to = v4(await client.attach(attach(db)))
    before = {it.workload_id: it for it in (await client.traffic()).traffic}
    assert web.run(f"ping -q -c 20 -i 0.01 -s 1000 {to}")
    after = {it.workload_id: it for it in (await client.traffic()).traffic}
    assert after["db"].received_bytes - before["db"].received_bytes >= 20 * 1028
    assert after["web"].sent_bytes - before["web"].sent_bytes >= 20 * 1028
    assert [it.workload_id for it in (await client.traffic("app=web")).traffic] == ["web"]


async def test_a_map_for_scripts(daemon: Daemon, client: AsyncClient, web: Host) -> None:
    """All that the picture is made of, in the words of the other commands."""
    await client.attach(attach(web, labels={"app": "web"}))
    told = json.loads(daemon.command("map", "-o", "json", f"--socket={daemon.socket}").stdout)
    assert told["node"]["ready"] is True
    assert told["node"]["uplinks"][0]["name"] == UPLINK
    assert [it["workload_id"] for it in told["attachments"]] == ["web"]
    none = json.loads(daemon.command("map", "-o", "json", "-l", "app=db", f"--socket={daemon.socket}").stdout)
    assert none["attachments"] == []


async def test_what_may_drop_some_traffic_is_on_the_map(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host
) -> None:
    """It is no obstacle, which would be red, and is not left out."""
    await client.attach(attach(web))
    node.run("nft 'table inet t { chain c { type filter hook forward priority 0; ip daddr 10.213.0.99 drop; }; }'")
    await until(lambda: "? ForwardFiltered: " in mapped(daemon), "it is on the map", within_s=20)
    assert "! ForwardFiltered" not in mapped(daemon)


def mapped(daemon: Daemon) -> str:
    return daemon.command("map", f"--socket={daemon.socket}").stdout


async def test_the_example_of_a_map(daemon: Daemon, client: AsyncClient, web: Host, db: Host) -> None:
    await client.attach(attach(web, ports=["8080:80"]))
    await client.attach(attach(db, addresses=["203.0.113.9"], pool="fd13::/64"))
    done = daemon.command("map", f"--socket={daemon.socket}")
    assert done.stdout == example(MAP)
