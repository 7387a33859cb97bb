"""Workloads with several interfaces, on nodes and in namespaces that check the reverse path."""

from __future__ import annotations

from functools import partial
from itertools import product

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.models.naming import routing_table
from tests.e2e import asks, wishes
from tests.e2e.conftest import NODE_V4, NODE_V6, OUTSIDE_V4, OUTSIDE_V6, UPLINK, MakeHost, StartDaemon
from tests.e2e.daemons import Daemon
from tests.e2e.echoes import KINDS, ask, serving
from tests.e2e.hosts import Host
from tests.e2e.waiting import until

PORT, HOST_PORT = 9700, 8700
TABLE_0, TABLE_1 = "78000", "78001"


def set_rp_filter(host: Host, value: str) -> None:
    for which in ("all", "default"):
        host.set_sysctl(f"net/ipv4/conf/{which}/rp_filter", value)


def our_rules(host: Host) -> set[tuple[str, str]]:
    """Of each the source and the table."""
    listed = host.ip("-4 rule") + host.ip("-6 rule")
    return {(rule["src"], rule["table"]) for rule in listed if rule["protocol"] == "78"}


def rules_for(addresses: tuple[str, ...], table: str) -> set[tuple[str, str]]:
    return {(address, it) for address in addresses for it in ("main", table)}


def routes_of(host: Host, table: str) -> list[str]:
    listed = [route for family in (4, 6) for route in host.ip(f"-{family} route show table all")]
    return sorted(route["dst"] for route in listed if str(route.get("table")) == table)


OWN_WAYS = ["169.254.77.1", "default", "default"]


async def attached(client: AsyncClient, host: Host, *names: str, **more: object) -> tuple[str, ...]:
    """The addresses of all of the workload's interfaces."""
    given: tuple[str, ...] = ()
    for name in names:
        given += wishes.texts(await client.attach(wishes.attach(host, if_name=name, **more)))  # type: ignore[arg-type]
    return given


@pytest.mark.parametrize(("node_checks", "workload_checks"), list(product("012", "01")))
async def test_every_address_answers_where_the_reverse_path_is_checked(
    start_daemon: StartDaemon, node: Host, outside: Host, web: Host, db: Host, node_checks: str, workload_checks: str
) -> None:
    """By TCP and UDP, in both families, loosely or strictly, on the node and in workloads: two interfaces and one, the
    node, another workload, a published port."""
    set_rp_filter(node, node_checks)
    for host in (web, db):
        set_rp_filter(host, workload_checks)
    daemon = await start_daemon()
    async with daemon.client() as client:
        ports = (f"{HOST_PORT}:{PORT}/tcp", f"{HOST_PORT}:{PORT}/udp")
        first = wishes.texts(await client.attach(wishes.attach(web, if_name="eth0")))
        second = wishes.texts(await client.attach(wishes.attach(web, if_name="eth1", ports=ports)))
        await client.attach(wishes.attach(db))
        await until(lambda: our_rules(web) == rules_for(first, TABLE_0) | rules_for(second, TABLE_1), "rules of both")
        await _all_answer(node, outside, web, db, (*first, *second))
        assert (await client.check("web", "eth0")).in_sync
        assert (await client.check("web", "eth1")).in_sync


async def _all_answer(node: Host, outside: Host, web: Host, db: Host, addresses: tuple[str, ...]) -> None:
    with serving(web, PORT, at=addresses), serving(outside, PORT):
        for protocol in KINDS:
            for address in addresses:
                for source in (node, db, web):
                    assert ask(source, address, PORT, protocol), f"{source.name} → {address} {protocol}"
                version_of_outside = OUTSIDE_V6 if ":" in address else OUTSIDE_V4
                assert ask(web, version_of_outside, PORT, protocol, bind=address), f"{address} → outside {protocol}"
            for address in (NODE_V4, NODE_V6):
                assert ask(outside, address, HOST_PORT, protocol), f"outside → {address} {protocol}"
                assert ask(node, address, HOST_PORT, protocol), f"node → {address} {protocol}"
            assert ask(db, OUTSIDE_V4, PORT, protocol)


async def test_one_interface_has_no_rules(client: AsyncClient, web: Host) -> None:
    """Rules, tables and the link group come with the second interface and go with it, and what a person has is left."""
    web.ip("-4 rule add from 192.0.2.77 lookup 500")
    first = await attached(client, web, "eth0")
    assert our_rules(web) == set()
    assert web.link("eth0")["group"] == "default"
    second = await attached(client, web, "eth1")
    both = rules_for(first, TABLE_0) | rules_for(second, TABLE_1)
    await until(lambda: our_rules(web) == both, "the first has its rules too")
    assert routes_of(web, TABLE_0) == routes_of(web, TABLE_1) == OWN_WAYS
    third = await attached(client, web, "eth2")
    await client.detach(wishes.detach("web", if_name="eth1"))
    left = rules_for(first, TABLE_0) | rules_for(third, "78002")
    await until(lambda: our_rules(web) == left, "those of the one that is gone go")
    await client.detach(wishes.detach("web", if_name="eth2"))
    await until(lambda: our_rules(web) == set() and routes_of(web, TABLE_0) == [], "one interface needs none")
    assert [rule["table"] for rule in web.ip("-4 rule") if rule["src"] == "192.0.2.77"] == ["500"]


async def test_nothing_is_left_where_all_go_together(client: AsyncClient, web: Host) -> None:
    """Also where nobody is left to clean up after another."""
    await attached(client, web, "eth0", "eth1")
    await until(lambda: len(our_rules(web)) == 8, "both have rules")
    for name in ("eth0", "eth1"):
        await client.detach(wishes.detach("web", if_name=name))
    await until(lambda: our_rules(web) == set(), "no rule is left")


@pytest.mark.parametrize(
    "damage",
    [
        "-4 rule delete from {v4} lookup 78001",
        "-6 rule delete from {v6} lookup 78001",
        "-4 rule delete from {v4} lookup main",
        "-4 route delete default table 78001",
        "-6 route delete default table 78001",
        "-4 route flush table 78001",
        "link set eth1 group 0",
        "link delete eth1",
    ],
)
async def test_it_is_repaired_by_its_event(daemon: Daemon, client: AsyncClient, web: Host, damage: str) -> None:
    """Rules, their tables and the group of the link are desired as anything else is."""
    first = await attached(client, web, "eth0")
    second = await attached(client, web, "eth1")
    both = rules_for(first, TABLE_0) | rules_for(second, TABLE_1)

    def whole() -> bool:
        groups = {web.link(name)["group"] for name in ("eth0", "eth1") if name in web.links()}
        return our_rules(web) == both and routes_of(web, TABLE_1) == OWN_WAYS and groups == {"28272"}

    await until(whole, "all is there")
    web.ip(damage.format(v4=second[0], v6=second[1]))
    await until(whole, "it is repaired")

    async def in_sync() -> bool:
        return all([(await client.check("web", name)).in_sync for name in ("eth0", "eth1")])

    await until(in_sync, "nothing differs")
    assert daemon.running


def join(web: Host, link: str, elsewhere: Host) -> None:
    """A network that netplumb has nothing to do with."""
    web.ip(f"link add {link} type veth peer name lan0 netns {elsewhere.name}")
    for host, end, number in ((web, link, 2), (elsewhere, "lan0", 1)):
        host.ip(f"address add 172.30.0.{number}/24 dev {end}")
        host.ip(f"address add fd30::{number}/64 dev {end} nodad")
        host.ip(f"link set {end} up")


@pytest.mark.parametrize("checks", "012")
async def test_it_answers_beside_an_interface_of_somebody_else(
    start_daemon: StartDaemon, node: Host, outside: Host, web: Host, db: Host, make_host: MakeHost, checks: str
) -> None:
    """That other one holds the default route, as where Multus adds a network to a pod; what carries our addresses does
    not leave by it, and all of it goes with the interface."""
    set_rp_filter(web, checks)
    join(web, "eth0", make_host("elsewhere"))
    web.ip("-4 route add default via 172.30.0.1")
    web.ip("-6 route add default via fd30::1")
    daemon = await start_daemon()
    async with daemon.client() as client:
        ports = (f"{HOST_PORT}:{PORT}/tcp", f"{HOST_PORT}:{PORT}/udp")
        wish = wishes.attach(web, if_name="net1", ports=ports)
        wish.default_route = False
        given = wishes.texts(await client.attach(wish))
        await client.attach(wishes.attach(db))
        await _all_answer(node, outside, web, db, given)
        assert (await client.check("web", "net1")).in_sync
        web.ip(f"-4 rule delete from {given[0]} lookup {routing_table('net1')}")
        await until(lambda: len(our_rules(web)) == 4, "it is repaired by its event")
        await client.detach(wishes.detach("web", if_name="net1"))
        assert our_rules(web) == set()
        assert web.default_route(4)


@pytest.mark.parametrize("first", [True, False])
async def test_its_default_route_goes_before_that_of_somebody_else(
    client: AsyncClient, outside: Host, web: Host, make_host: MakeHost, first: bool
) -> None:
    """Each time it is asked for, whether the other was there before, or came by a router's advertisement."""
    elsewhere = make_host("elsewhere")
    if not first:
        await attached(client, web, "eth0")
    join(web, "lan1", elsewhere)
    if first:
        web.ip("-4 route add default via 172.30.0.1")
        web.ip("-6 route add default via fd30::1")
        await attached(client, web, "net1")
    else:
        web.ip("-4 route append default via 172.30.0.1")

        def learnt() -> bool:
            asks.advertise_router(elsewhere, "lan0")
            return len(web.ip("-6 route show default")) == 2

        await until(learnt, "both are there")
    with serving(outside, PORT):
        for _ in range(4):
            for protocol in KINDS:
                assert ask(web, OUTSIDE_V4, PORT, protocol) == f"outside {NODE_V4}"
                assert ask(web, OUTSIDE_V6, PORT, protocol) == f"outside {NODE_V6}"


async def test_what_else_a_workload_is_connected_to_is_reached(
    client: AsyncClient, web: Host, make_host: object, node: Host
) -> None:
    """A network of the workload's own, behind it, talks to any of its addresses: only ways over our links are chosen by
    source."""
    addresses = await attached(client, web, "eth0", "eth1")
    inner = make_host("inner")  # type: ignore[operator]
    web.ip("link add lan0 type veth peer name eth0 netns inner")
    for host, link, number in ((web, "lan0", 1), (inner, "eth0", 2)):
        host.ip(f"address add 172.30.0.{number}/24 dev {link}")
        host.ip(f"address add fd30::{number}/64 dev {link} nodad")
        host.ip(f"link set {link} up")
    inner.ip("-4 route add default via 172.30.0.1")
    inner.ip("-6 route add default via fd30::1")
    with serving(web, PORT, at=addresses):
        for address in addresses:
            for protocol in KINDS:
                await until(partial(ask, inner, address, PORT, protocol), f"{address} {protocol}")
    assert node.exists


async def test_answers_leave_by_their_own_link(client: AsyncClient, node: Host, web: Host) -> None:
    """So that each link's limits count what it carries."""
    limits = pb.Bandwidth(egress_rate=4_000_000, egress_burst=400_000)
    first = await attached(client, web, "eth0")
    second = await attached(client, web, "eth1", bandwidth=limits)
    await until(lambda: our_rules(web) == rules_for(first, TABLE_0) | rules_for(second, TABLE_1), "rules of both")

    def sent(link: str) -> int:
        return int(web.ip(f"-statistics link show dev {link}")[0]["stats64"]["tx"]["packets"])

    before = sent("eth0"), sent("eth1")
    for address in second:
        assert node.ping(address, count=5)
    assert sent("eth1") - before[1] >= 10
    assert sent("eth0") - before[0] < 5
    assert UPLINK in node.links()
