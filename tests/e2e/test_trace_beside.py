"""What a trace says where the packet in question passes and others do not, and of routes and ports that end the way."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from shlex import quote

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.reconciler.tracing.hops import Outcome
from tests.e2e.conftest import OUTSIDE_V4, OUTSIDE_V6
from tests.e2e.daemons import Daemon
from tests.e2e.doctors import doctor
from tests.e2e.echoes import ask, serving, unanswered
from tests.e2e.hosts import Host
from tests.e2e.streams import open_socket
from tests.e2e.traces import PORT, arrives, ends, live, trace
from tests.e2e.waiting import until
from tests.e2e.wishes import attach

BEYOND = {4: "203.0.113.7", 6: "2001:db8:113::7"}
OUTSIDE = {4: OUTSIDE_V4, 6: OUTSIDE_V6}
NET = {4: "203.0.113.0/24", 6: "2001:db8:113::/64"}


@pytest.fixture
async def attached(client: AsyncClient, web: Host, outside: Host) -> Host:
    await client.attach(attach(web))
    for address in BEYOND.values():
        outside.ip(f"address add {address} dev lo")
    return web


@pytest.mark.parametrize("how", ["hops", "object"])
async def test_a_route_of_which_one_next_hop_is_dead(
    daemon: Daemon, attached: Host, node: Host, outside: Host, how: str
) -> None:
    """Each next hop takes a share of the connections: whether this one arrives is a matter of luck."""
    ways = f"nexthop via {OUTSIDE_V4} dev up0 nexthop via 192.0.2.99 dev up0"
    if how == "object":
        node.run(f"ip nexthop add id 1 via {OUTSIDE_V4} dev up0")
        node.run("ip nexthop add id 2 via 192.0.2.99 dev up0")
        node.run("ip nexthop add id 3 group 1/2")
        ways = "nhid 3"
    node.run(f"ip route add {NET[4]} {ways}")
    with serving(outside, PORT):
        for sent in (False, True):
            found = trace(daemon, "web", BEYOND[4], live=sent)
            assert "192.0.2.99 on up0" in found.why, found
            assert found.outcome is not Outcome.ARRIVES
        node.run(f"ip route replace {NET[4]} via {OUTSIDE_V4}")
        arrives(trace(daemon, "web", BEYOND[4]))


@pytest.mark.parametrize("version", [4, 6])
async def test_a_source_that_the_workload_chooses_and_netplumb_did_not_give(
    daemon: Daemon, attached: Host, node: Host, outside: Host, version: int
) -> None:
    """As where somebody set another address inside, and a route that prefers it."""
    other, hop = ("10.9.9.9", "169.254.77.1") if version == 4 else ("2001:db8:99::9", "fe80::1")
    attached.ip(f"address add {other} dev eth0" + (" nodad" if version == 6 else ""))
    attached.ip(f"-{version} route add {NET[version]} via {hop} dev eth0 src {other}")
    with serving(outside, PORT):
        assert unanswered(attached, BEYOND[version], PORT)
        for sent in (False, True):
            found = trace(daemon, "web", BEYOND[version], live=sent)
            assert found.outcome is Outcome.UNKNOWN, found
            assert f"but unless told otherwise web/eth0 sends from {other}, which is dropped" in found.why
        node.run(f"sh -c {quote(found.heal)}")
        assert ask(attached, BEYOND[version], PORT)
        arrives(trace(daemon, "web", BEYOND[version]))


@pytest.mark.parametrize("version", [4, 6])
async def test_a_next_hop_object_that_ends_the_way(
    daemon: Daemon, attached: Host, node: Host, outside: Host, version: int
) -> None:
    """The command that deletes the route names the object: by its type the kernel does not find an IPv4 one."""
    node.run(f"ip -{version} nexthop add id 7 blackhole")
    node.run(f"ip -{version} route del default")
    node.run(f"ip -{version} route add default nhid 7")
    words = "the route `blackhole default nhid 7"
    heal = ends(trace(daemon, "web", BEYOND[version]), f"node: {words}")
    assert doctor(daemon).one("policy-routing", words)["heal"] == heal
    node.run(heal)
    node.run(f"ip -{version} route add default via {OUTSIDE[version]}")
    with serving(outside, PORT):
        assert ask(attached, BEYOND[version], PORT)


@pytest.mark.parametrize("version", [4, 6])
async def test_a_route_that_throws_to_where_no_other_table_leads(
    daemon: Daemon, attached: Host, node: Host, outside: Host, version: int
) -> None:
    """There is a default route, so that nobody is told to add one."""
    node.run(f"ip -{version} route add throw {NET[version]}")
    with serving(outside, PORT):
        node.run(ends(trace(daemon, "web", BEYOND[version]), f"node: the route `throw {NET[version]}"))
        arrives(live(daemon, "web", BEYOND[version]))


@contextmanager
def connected(host: Host, port: int = 0) -> Iterator[None]:
    """A connection from this port."""
    with open_socket(host, BEYOND[4], socket.SOCK_STREAM) as asking:
        asking.bind(("0.0.0.0", port))
        asking.connect((BEYOND[4], PORT))
        yield


async def test_a_workload_without_a_port_to_send_from(
    daemon: Daemon, attached: Host, node: Host, outside: Host
) -> None:
    attached.set_sysctl("net/ipv4/ip_local_port_range", "40000 40000")
    with serving(outside, PORT), connected(attached, 40000):
        assert unanswered(attached, BEYOND[4], PORT)
        found = trace(daemon, "web", BEYOND[4], live=True)
        heal = ends(found, "it cannot be sent: every tcp port of 10.213.0.2 from 40000 to 40000 is taken")
        node.run(f"sh -c {quote(heal)}")
        arrives(live(daemon, "web", BEYOND[4]))


async def test_a_node_without_a_port_to_translate_to(daemon: Daemon, attached: Host, node: Host, outside: Host) -> None:
    """Here since somebody left it one; else by tens of thousands of connections to one service."""
    chain = "type nat hook postrouting priority 90; oifname up0 ip protocol tcp masquerade to :40000-40000;"
    node.run(f"nft 'table ip x {{ chain p {{ {chain} }}; }}'")
    with serving(outside, PORT), connected(attached):
        await until(lambda: unanswered(attached, BEYOND[4], PORT), "the one port is taken")
        found = trace(daemon, "web", BEYOND[4], live=True)
        assert found.outcome is Outcome.UNKNOWN, found
        assert "the node's connection tracking could not begin" in found.why
        assert f"conntrack -L -d {BEYOND[4]}" in found.heal
