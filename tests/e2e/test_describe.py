"""All about one workload, read from the kernel when it is asked."""

from __future__ import annotations

import grpc

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.v1 import netplumb_pb2 as pb
from tests.damage.victims import victim
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.test_fighting import NAMED_WITHIN_S, fighting
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, refused


def deviations(it: pb.Description) -> list[tuple[str, str]]:
    return [(thing.kind, thing.deviation) for thing in it.objects if thing.deviation]


async def test_a_workload_is_described_with_its_objects_and_events(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host
) -> None:
    """Both sides, limits and ports among it: everything that `plan` would make, and all of it is there."""
    request = attach(web, ports=["8080:80"], bandwidth=pb.Bandwidth(ingress_rate=8_000_000, egress_rate=8_000_000))
    planned = [change.words for change in (await client.plan(request)).changes if change.workload_id == "web"]
    hit = victim(node, web, await client.attach(request))
    (it,) = await client.describe("web")
    assert it.in_sync
    assert deviations(it) == []
    assert {thing.words for thing in it.objects} == set(planned)
    assert {thing.where for thing in it.objects} == {"node", "workload"}
    assert {"link", "address", "route", "neighbour", "qdisc", "nft_element"} <= {thing.kind for thing in it.objects}
    assert [event.kind for event in it.events] == ["Attached"]
    said = daemon.command("describe", "web/eth0", f"--socket={daemon.socket}")
    assert said.returncode == 0, said.stderr
    for word in (hit.v4, "8080 -> 80/tcp", "receives 8 Mbit/s", "on the node:", "in the workload:", "Attached"):
        assert word in said.stdout


async def test_what_is_not_as_desired_is_marked(client: AsyncClient, node: Host, web: Host) -> None:
    """Such as a route that another program deletes whenever it is there."""
    hit = victim(node, web, await client.attach(attach(web)))
    with fighting(node, "route", hit.link, hit.v4):

        async def marked() -> bool:
            (it,) = await client.describe("web")
            return not it.in_sync and deviations(it) == [("route", "missing")]

        await until(marked, "the route is described as missing", within_s=NAMED_WITHIN_S)


async def test_each_interface_is_described(client: AsyncClient, web: Host) -> None:
    await client.attach(attach(web))
    await client.attach(attach(web, if_name="eth1"))
    assert [it.attachment.if_name for it in await client.describe("web")] == ["eth0", "eth1"]
    assert [it.attachment.if_name for it in await client.describe("web", "eth1")] == ["eth1"]
    with refused(grpc.StatusCode.NOT_FOUND, "no attachment web/eth2"):
        await client.describe("web", "eth2")


async def test_what_of_the_node_may_concern_it_is_described_too(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host
) -> None:
    """Such as a rule that may drop some of what it sends, and no view calls it not as wished for that."""
    await client.attach(attach(web))
    node.run(
        "nft 'table inet site { chain f { type filter hook forward priority 5;"
        " iifname np* ip daddr 192.0.2.99 meta mark 7 drop; }; }'"
    )

    async def told() -> bool:
        return any(it.type == "ForwardFiltered" and it.status for it in (await client.status()).conditions)

    await until(told, "the daemon tells of it")
    said = daemon.command("describe", "web", f"--socket={daemon.socket}").stdout
    assert "of the node, what may concern it:" in said
    assert "ForwardFiltered: chain inet site f" in said


async def test_status_tells_the_uplinks(daemon: Daemon, node: Host) -> None:
    """With addresses and MTU; where there is none, what was looked for."""
    assert "up0 192.0.2.1 2001:db8::1, MTU 1500" in daemon.command("status", f"--socket={daemon.socket}").stdout
    node.run("ip route del default")
    node.run("ip -6 route del default")

    def none() -> bool:
        return "none: no default route" in daemon.command("status", f"--socket={daemon.socket}").stdout

    await until(none, "that there is none")
