"""Flows that began while something of ours was away, by real senders: they are led right when it is back, and flows
that are right are left alone."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from ipaddress import ip_address

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.reconciler.watch.nodenetwork import GATHER_S, PAUSE_LEAST_S
from tests.e2e import wishes
from tests.e2e.conftest import NODE_V4, NODE_V6, OUTSIDE_V4, OUTSIDE_V6, UPLINK, StartDaemon
from tests.e2e.connections import connected, passes
from tests.e2e.daemons import Daemon
from tests.e2e.echoes import ask, serving
from tests.e2e.hosts import Host
from tests.e2e.senders import Sender, flows_from
from tests.e2e.waiting import until

PORT, INNER, BEYOND = 8080, 80, 7000
VERSIONS = (4, 6)
AWAY = (
    pytest.param(False, id="daemon down"),
    pytest.param(True, id="daemon up", marks=pytest.mark.open_table),
)
FIREWALL = (
    "table inet firewall { chain forward { type filter hook forward priority 0; ct state established accept; }; }"
)


def by(version: int, v4: str, v6: str) -> str:
    return v4 if version == 4 else v6


def own(answer: pb.AttachResponse, version: int) -> str:
    return wishes.v4(answer) if version == 4 else wishes.v6(answer)


@asynccontextmanager
async def away(daemon: Daemon, *, up: bool = True) -> AsyncIterator[None]:
    """What is damaged meanwhile is repaired only afterwards: by the daemon that stood still, or by the next one."""
    if not up:
        daemon.kill9()
        yield
        await daemon.start()
        return
    daemon.pause()
    try:
        yield
    finally:
        daemon.resume()


def reload_firewall(node: Host) -> None:
    """As firewalls do it, whose rules ask for the state of connections: without any that do, the kernel tracks none."""
    node.run("nft flush ruleset")
    node.run(f"nft '{FIREWALL}'")


async def begun(stack: ExitStack, node: Host, source: Host, to: str, port: int) -> Sender:
    """A sender whose flow the node has seen."""
    sender = stack.enter_context(Sender(source, to, port))
    await until(lambda: flows_from(node, sender.port), "the node has seen the flow")
    return sender


def forgotten(daemon: Daemon) -> int:
    """How many flows the daemon says to have forgotten."""
    lines = (json.loads(line) for line in daemon.logged().splitlines() if line.startswith("{"))
    return sum(line["flows"] for line in lines if line["event"].startswith("flows were forgotten"))


@pytest.fixture
async def web_answer(client: AsyncClient, web: Host) -> pb.AttachResponse:
    return await client.attach(wishes.attach(web, ports=(f"{PORT}:{INNER}/udp", f"{PORT}:{INNER}/tcp")))


@pytest.mark.parametrize("up", AWAY)
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_sender_that_began_without_masquerade(
    web_answer: pb.AttachResponse, daemon: Daemon, node: Host, outside: Host, web: Host, version: int, up: bool
) -> None:
    """It leaves with the node's address as soon as the rules are back, though it never paused."""
    with serving(outside, BEYOND), ExitStack() as stack:
        async with away(daemon, up=up):
            reload_firewall(node)
            sender = await begun(stack, node, web, by(version, OUTSIDE_V4, OUTSIDE_V6), BEYOND)
            assert not flows_from(node, sender.port)[0].is_masked
        await until(lambda: sender.answer == f"outside {by(version, NODE_V4, NODE_V6)}", "it is masqueraded")


@pytest.mark.parametrize("up", AWAY)
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_sender_to_a_port_that_led_nowhere(
    web_answer: pb.AttachResponse, daemon: Daemon, node: Host, outside: Host, version: int, up: bool, web: Host
) -> None:
    """It is led to the workload as soon as the port is back."""
    with serving(web, INNER), ExitStack() as stack:
        async with away(daemon, up=up):
            reload_firewall(node)
            sender = await begun(stack, node, outside, by(version, NODE_V4, NODE_V6), PORT)
            assert not flows_from(node, sender.port)[0].is_redirected
        await until(lambda: sender.answer.startswith("web "), "it is led to the workload")


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_port_at_an_address_that_went_and_came_back(
    client: AsyncClient, node: Host, outside: Host, web: Host, version: int
) -> None:
    """A sender that began while the node did not have the address is led to the workload when it has."""
    address = by(version, "198.51.100.77", "2001:db8:77::77")
    node.ip(f"address add {address} dev {UPLINK}" + (" nodad" if version == 6 else ""))
    outside.ip(f"route add {address} via {by(version, NODE_V4, NODE_V6)}")
    host_ip = f"[{address}]" if version == 6 else address
    await client.attach(wishes.attach(web, ports=(f"{host_ip}:{PORT}:{INNER}/udp",)))
    with serving(web, INNER), ExitStack() as stack:
        assert ask(outside, address, PORT, "udp")
        node.ip(f"address delete {address}/{by(version, '32', '128')} dev {UPLINK}")
        sender = await begun(stack, node, outside, address, PORT)
        assert not flows_from(node, sender.port)[0].is_redirected
        node.ip(f"address add {address} dev {UPLINK}" + (" nodad" if version == 6 else ""))
        await until(lambda: sender.answer.startswith("web "), "it is led to the workload")


async def test_a_port_at_the_nodes_address_in_the_pool(
    web_answer: pb.AttachResponse, client: AsyncClient, daemon: Daemon, node: Host, web: Host, db: Host
) -> None:
    """What a workload sent there went to the outside, under the node's name, and is led to the other workload again. So
    it is with IPv6; without the IPv4 address there is no way back to any workload, and nothing of theirs passes."""
    other = await client.attach(wishes.attach(db))
    with serving(web, INNER), ExitStack() as stack:
        async with away(daemon):
            node.ip("address delete fd13::1/128 dev lo")
            sender = await begun(stack, node, db, "fd13::1", PORT)
            assert flows_from(node, sender.port)[0].is_masked
        await until(lambda: sender.answer == f"web {wishes.v6(other)}", "it is led to the workload")


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_workload_that_was_not_known_for_one(
    web_answer: pb.AttachResponse, daemon: Daemon, node: Host, outside: Host, web: Host, version: int
) -> None:
    """The rules know workloads by the link group: without it a sender leaves as itself, and with it as the node."""
    link = web_answer.attachment.node_if_name
    with serving(outside, BEYOND), ExitStack() as stack:
        async with away(daemon):
            node.ip(f"link set {link} group 0")
            sender = await begun(stack, node, web, by(version, OUTSIDE_V4, OUTSIDE_V6), BEYOND)
            assert not flows_from(node, sender.port)[0].is_masked
        await until(lambda: sender.answer == f"outside {by(version, NODE_V4, NODE_V6)}", "it is masqueraded")


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_port_of_a_workload_whose_address_was_away(
    web_answer: pb.AttachResponse, daemon: Daemon, node: Host, outside: Host, web: Host, version: int
) -> None:
    """A sender to the port that began meanwhile is answered when the address is back."""
    address = own(web_answer, version)
    with serving(web, INNER), ExitStack() as stack:
        async with away(daemon):
            web.ip(f"address delete {address}/{by(version, '32', '128')} dev eth0")
            sender = await begun(stack, node, outside, by(version, NODE_V4, NODE_V6), PORT)
        await until(lambda: sender.answer.startswith("web "), "it is answered")


def play(near: socket.socket, far: socket.socket) -> None:
    """Sends to and fro without a pause for as long as it passes."""
    while passes(near, far) and passes(far, near):
        pass


@pytest.mark.parametrize("up", AWAY)
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_connection_that_isolation_forbids(
    client: AsyncClient, daemon: Daemon, node: Host, web: Host, db: Host, version: int, up: bool
) -> None:
    """One that was made while the guards were away ends when they are back, in both directions, and so does one to the
    node."""
    isolated = await client.attach(wishes.attach(web, isolate_workloads=True, isolate_node=True))
    other = await client.attach(wishes.attach(db))
    with ExitStack() as stack:
        async with away(daemon, up=up):
            reload_firewall(node)
            ends = stack.enter_context(connected(db, web, own(isolated, version), 9000))
            back = stack.enter_context(connected(web, db, own(other, version), 9001))
            to_node = stack.enter_context(connected(web, node, by(version, "10.213.0.1", "fd13::1"), 9002))
        await until(lambda: "isolate_workloads" in node.ruleset(), "the guards are back")
        await until(lambda: not flows_from(node, ends[0].getsockname()[1]), "its flow is forgotten")
        assert not passes(*ends)
        assert not passes(*reversed(ends))
        assert not passes(*back)
        assert not passes(*reversed(back))
        assert not passes(*to_node)


@pytest.mark.open_table
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_busy_connection_to_the_node_ends_too(
    client: AsyncClient, daemon: Daemon, node: Host, web: Host, version: int
) -> None:
    """However fast the two answer one another, the workload's part is judged by who began."""
    await client.attach(wishes.attach(web, isolate_node=True))
    with ExitStack() as stack:
        async with away(daemon):
            reload_firewall(node)
            near, far = stack.enter_context(connected(web, node, by(version, "10.213.0.1", "fd13::1"), 9002))
            thread = threading.Thread(target=play, args=(near, far), daemon=True)
            thread.start()
        await until(lambda: not thread.is_alive(), "nothing passes any more")


async def test_isolation_ends_what_was_allowed_before(
    client: AsyncClient, node: Host, outside: Host, web: Host, db: Host
) -> None:
    """A wish for isolation holds for connections that are there, and for no others than it names."""
    isolated = await client.attach(wishes.attach(web, ports=(f"{PORT}:9003",)))
    await client.attach(wishes.attach(db))
    with (
        connected(db, web, wishes.v4(isolated), 9000) as between,
        connected(node, web, wishes.v6(isolated), 9001) as from_node,
        connected(web, outside, OUTSIDE_V4, 9002) as to_outside,
    ):
        await client.attach(wishes.attach(web, ports=(f"{PORT}:9003",), isolate_workloads=True, isolate_node=True))
        assert not passes(*between)
        for sender, receiver in (from_node, to_outside):
            assert passes(sender, receiver)
            assert passes(receiver, sender)


def give(node: Host, address: str, link: str = UPLINK) -> None:
    node.ip(f"address add {address} dev {link}" + (" nodad" if ":" in address else ""))


async def test_a_sender_that_began_before_the_node_had_an_address(
    web_answer: pb.AttachResponse, node: Host, outside: Host, web: Host
) -> None:
    """Masquerading took the node's address in the pool, since there was no other. It leaves with the node's own as soon
    as there is one, though that has to prove first that nobody else has it."""
    node.ip(f"address delete {NODE_V6}/64 dev {UPLINK}")
    node.ip(f"-6 route replace default via {OUTSIDE_V6} dev {UPLINK} onlink")
    with serving(outside, BEYOND), ExitStack() as stack:
        sender = await begun(stack, node, web, OUTSIDE_V6, BEYOND)
        assert flows_from(node, sender.port)[0].answered[0] == ip_address("fd13::1").packed
        node.ip(f"address add {NODE_V6}/64 dev {UPLINK}")
        await until(lambda: sender.answer == f"outside {NODE_V6}", "it is masqueraded with it", within_s=15)


def take_uplinks_address(node: Host, version: int) -> None:
    """The ways out are left."""
    target = by(version, OUTSIDE_V4, OUTSIDE_V6)
    node.ip(f"address delete {by(version, f'{NODE_V4}/24', f'{NODE_V6}/64')} dev {UPLINK}")
    node.ip(f"-{version} route replace {target} dev {UPLINK}")
    node.ip(f"-{version} route replace default via {target} dev {UPLINK} onlink")


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_sender_that_left_with_another_interfaces_address(
    node: Host, outside: Host, web: Host, start_daemon: StartDaemon, version: int
) -> None:
    """Masquerading took it, since the uplink had none of that family yet; with its first what leaves is given that."""
    target = by(version, OUTSIDE_V4, OUTSIDE_V6)
    node.ip("link add inner0 type veth peer name inner1")
    node.ip("link set inner0 up")
    node.ip(by(version, "address add 172.31.0.1/24 dev inner0", "address add 3fff:31::1/64 dev inner0 nodad"))
    take_uplinks_address(node, version)
    async with (await start_daemon()).client() as client:
        await client.attach(wishes.attach(web))
    with serving(outside, BEYOND), ExitStack() as stack:
        sender = await begun(stack, node, web, target, BEYOND)
        left_with = flows_from(node, sender.port)[0].answered[0]
        assert left_with == ip_address(by(version, "172.31.0.1", "3fff:31::1")).packed
        give(node, by(version, f"{NODE_V4}/24", f"{NODE_V6}/64"))
        await until(
            lambda: sender.answer == f"outside {by(version, NODE_V4, NODE_V6)}",
            "it leaves with the uplink's",
            within_s=15,
        )


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_sender_whose_source_the_node_has_no_more(
    node: Host, outside: Host, web: Host, start_daemon: StartDaemon, version: int
) -> None:
    """The node's address is on the loopback, and another takes its place: the kernel itself forgets only what left by
    the interface that lost the address."""
    before, after = by(version, "203.0.113.5/32", "3fff:5::1/128"), by(version, "203.0.113.6/32", "3fff:5::2/128")
    take_uplinks_address(node, version)
    node.ip(f"address add {before} dev lo")
    for host, link, near in ((node, UPLINK, "fe80::a"), (outside, "eth0", "fe80::b")):
        host.ip(f"address add {near}/64 dev {link} nodad")
    for address in (before, after):
        outside.ip(f"-{version} route add {address} dev eth0 {by(version, '', 'via fe80::a')}")
    async with (await start_daemon()).client() as client:
        await client.attach(wishes.attach(web))
    with serving(outside, BEYOND), ExitStack() as stack:
        sender = await begun(stack, node, web, by(version, OUTSIDE_V4, OUTSIDE_V6), BEYOND)
        await until(lambda: sender.answer == f"outside {before.partition('/')[0]}", "it leaves with the first")
        node.ip(f"address add {after} dev lo")
        node.ip(f"address delete {before} dev lo")
        await until(lambda: sender.answer == f"outside {after.partition('/')[0]}", "it leaves with the second")


OTHER_WAYS = {
    "in its place": ("route replace default via {second} dev up1",),
    "after a while without any": ("route delete default", "", "route add default via {second} dev up1"),
    "by its metric": (
        "route add default via {second} dev up1 metric 2000",
        "",
        "route append default via {first} dev up0 src {said} metric 3000",
        "route delete default via {first} dev up0 metric {metric}",
    ),
}


@pytest.mark.parametrize("way", OTHER_WAYS)
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_sender_that_left_with_what_a_route_said_of_another_uplink(
    node: Host, outside: Host, web: Host, start_daemon: StartDaemon, version: int, way: str
) -> None:
    """The kernel ends what it masqueraded itself when that leaves by another interface, and nothing that was given a
    source by name: however the other way came about."""
    beyond = by(version, "203.0.113.50", "3fff:50::1")
    said, other = by(version, "192.0.2.77", "2001:db8::77"), by(version, "198.51.100.1", "2001:db8:9::1")
    gateways = by(version, OUTSIDE_V4, OUTSIDE_V6), by(version, "198.51.100.2", "2001:db8:9::2")
    networks = by(version, "192.0.2.0/24", "2001:db8::/64"), by(version, "198.51.100.0/24", "2001:db8:9::/64")
    length = by(version, "24", "64")
    node.ip("link add up1 type veth peer name eth1 netns outside")
    outside.ip(f"address add {beyond}/{by(version, '32', '128')} dev lo")
    for host, link, address in ((node, UPLINK, said), (node, "up1", other), (outside, "eth1", gateways[1])):
        host.ip(f"link set {link} up")
        host.ip(f"address add {address}/{length} dev {link}" + (" nodad" if version == 6 else ""))
    for link, network in zip(("eth0", "eth1"), networks, strict=True):
        outside.ip(f"-{version} route delete {network} dev {link}")
        outside.ip(f"-{version} route add {network} dev {link} src {beyond}")
    node.ip(f"-{version} route delete default")
    node.ip(f"-{version} route add default via {gateways[0]} dev {UPLINK} src {said}")
    async with (await start_daemon()).client() as client:
        await client.attach(wishes.attach(web))
    with serving(outside, BEYOND), ExitStack() as stack:
        sender = await begun(stack, node, web, beyond, BEYOND)
        await until(lambda: sender.answer == f"outside {said}", "it leaves with what the route says")
        named = {"first": gateways[0], "second": gateways[1], "said": said, "metric": by(version, "0", "1024")}
        for line in OTHER_WAYS[way]:
            if line:
                node.ip(f"-{version} {line.format(**named)}")
            else:
                await asyncio.sleep(2 * (PAUSE_LEAST_S + GATHER_S))  # a look or two are made meanwhile
        await until(lambda: sender.answer == f"outside {other}", "it leaves with the other's", within_s=15)


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_another_route_still_leads_by_the_first_way_lives_on(
    daemon: Daemon, node: Host, outside: Host, web: Host, version: int, client: AsyncClient
) -> None:
    """Only the default route leads elsewhere; a connection that goes by the first uplink as ever keeps its source."""
    await client.attach(wishes.attach(web))
    said, length = by(version, "192.0.2.77", "2001:db8::77"), by(version, "24", "64")
    target = by(version, OUTSIDE_V4, OUTSIDE_V6)
    node.ip("link add up1 type veth peer name eth1 netns outside")
    for host, link in ((node, "up1"), (outside, "eth1")):
        host.ip(f"link set {link} up")
    give(node, f"{said}/{length}")
    give(node, by(version, "198.51.100.1/24", "2001:db8:9::1/64"), "up1")
    node.ip(f"-{version} route replace default via {target} dev {UPLINK} src {said}")
    node.ip(f"-{version} route add {target} dev {UPLINK} src {said} metric 1")
    await until(lambda: said in node.ruleset(), "the route's source is known")
    with connected(web, outside, target, 9001) as (near, far):
        node.ip(f"-{version} route replace default via {by(version, '198.51.100.2', '2001:db8:9::2')} dev up1")
        await asyncio.sleep(2 * (PAUSE_LEAST_S + GATHER_S))
        assert passes(near, far)
        assert passes(far, near)
    assert forgotten(daemon) == 0


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_port_at_an_address_that_was_away_for_no_look(
    web_answer: pb.AttachResponse, daemon: Daemon, node: Host, outside: Host, web: Host, version: int
) -> None:
    """An address that goes and comes back between two looks was away all the same: who sent meanwhile is led right."""
    address = by(version, "203.0.113.7/32", "3fff:7::7/128")
    to = address.partition("/")[0]
    node.ip(f"address add {address} dev lo")
    outside.ip(f"-{version} route add {to} via {by(version, NODE_V4, NODE_V6)} dev eth0")
    with serving(web, INNER, protocols=("udp",)), ExitStack() as stack:
        await until(lambda: ask(outside, to, PORT, "udp") is not None, "the port is mapped there too")
        async with away(daemon):
            node.ip(f"address delete {address} dev lo")
            sender = await begun(stack, node, outside, to, PORT)
            assert not flows_from(node, sender.port)[0].is_redirected
            node.ip(f"address add {address} dev lo")
        await until(lambda: sender.answer.startswith("web "), "it is led right")


async def test_a_connection_outlives_a_further_address(
    web_answer: pb.AttachResponse, daemon: Daemon, node: Host, outside: Host, web: Host
) -> None:
    """What leaves with an address that the node keeps is right, whatever else the node is given."""
    with connected(web, outside, OUTSIDE_V4, 9001) as four, connected(web, outside, OUTSIDE_V6, 9002) as six:
        for address in ("192.0.2.99/24", "2001:db8::99/64", "198.51.100.9/24"):
            give(node, address)
        for near, far in (four, six):
            assert passes(near, far)
            assert passes(far, near)
    assert forgotten(daemon) == 0


def reload(node: Host, _: str) -> None:
    reload_firewall(node)


def make_dormant(node: Host, _: str) -> None:
    node.run("nft 'add table inet netplumb { flags dormant; }'")


def change_group(node: Host, link: str) -> None:
    node.ip(f"link set {link} group 0")


def put_under_a_bridge(node: Host, link: str) -> None:
    for line in ("add br0 type bridge", "set br0 up", f"set {link} master br0"):
        node.ip(f"link {line}")


REPAIRS = (
    pytest.param(reload, id="firewall reloaded", marks=pytest.mark.open_table),
    pytest.param(make_dormant, id="table made dormant", marks=pytest.mark.open_table),
    pytest.param(change_group, id="link group changed"),
    pytest.param(put_under_a_bridge, id="link put under a bridge"),
)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("damage", REPAIRS)
async def test_no_repair_breaks_what_is_right(
    web_answer: pb.AttachResponse,
    daemon: Daemon,
    node: Host,
    outside: Host,
    web: Host,
    version: int,
    damage: Callable[[Host, str], object],
) -> None:
    """Beside one flow that the damage made wrong, and that alone is forgotten, connections live on: from outside by a
    port, and from the workload to outside."""
    with ExitStack() as stack:
        stack.enter_context(serving(outside, BEYOND, protocols=("udp",)))
        inwards = stack.enter_context(connected(outside, web, by(version, NODE_V4, NODE_V6), PORT, INNER))
        outwards = stack.enter_context(connected(web, outside, by(version, OUTSIDE_V4, OUTSIDE_V6), 9001))
        node.run(f"nft '{FIREWALL}'")
        async with away(daemon):
            damage(node, web_answer.attachment.node_if_name)
            sender = await begun(stack, node, web, by(version, OUTSIDE_V4, OUTSIDE_V6), BEYOND)
        await until(lambda: sender.answer == f"outside {by(version, NODE_V4, NODE_V6)}", "it is masqueraded")
        for near, far in (inwards, outwards):
            assert passes(near, far)
            assert passes(far, near)
    await until(lambda: forgotten(daemon) == 1, "one flow is forgotten")
