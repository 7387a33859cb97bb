"""The node's ways out: workloads' packets are small enough for each of them, and leave with the node's own source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e.conftest import NODE_V4, OUTSIDE_V4, OUTSIDE_V6, UPLINK, MakeHost, StartDaemon
from tests.e2e.daemons import Daemon
from tests.e2e.doctors import doctor
from tests.e2e.echoes import ask, serving
from tests.e2e.hosts import Host
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, texts

SECOND = "up1"
PORT = 4711


@pytest.fixture
def second(node: Host, make_host: MakeHost) -> Host:
    """A host beyond a second uplink of the node."""
    beyond = make_host("beyond")
    beyond.ip("link set lo up")
    node.ip(f"link add {SECOND} type veth peer name eth0 netns beyond")
    for end, link, number in ((node, SECOND, 1), (beyond, "eth0", 2)):
        end.ip(f"link set {link} up")
        end.ip(f"address add 198.51.100.{number}/24 dev {link}")
        end.ip(f"address add 2001:db8:7::{number}/64 dev {link} nodad")
    return beyond


MULTIPATH = (
    "-{version} route replace default nexthop via {first} dev up0 nexthop via {other} dev up1",
    (
        "nexthop add id 1 via {first} dev up0; nexthop add id 2 via {other} dev up1; nexthop add id 3 group 1/2; "
        "-{version} route del default; -{version} route add default nhid 3"
    ),
    "-{version} route del default; -{version} route add default dev up1",
    "-{version} route add {half} dev up1",
    "-{version} rule add from {pool} lookup 77; -{version} route add default via {other} dev up1 table 77",
    "-{version} route replace default via {other} dev up1",
)
FAMILIES = {
    4: {"first": OUTSIDE_V4, "other": "198.51.100.2", "half": "128.0.0.0/1", "pool": "10.213.0.0/24"},
    6: {"first": OUTSIDE_V6, "other": "2001:db8:7::2", "half": "2000::/3", "pool": "fd13::/64"},
}


@pytest.mark.usefixtures("second")
@pytest.mark.parametrize("lines", [*MULTIPATH, "route replace default via inet6 2001:db8:7::2 dev up1"])
async def test_the_smallest_of_the_uplinks_counts(client: AsyncClient, node: Host, web: Host, lines: str) -> None:
    """However the node says by which interfaces it reaches the outside, in each family; heard by its events."""
    await client.attach(attach(web))
    assert web.link("eth0")["mtu"] == 1500
    node.ip(f"link set {SECOND} mtu 1400")
    assert not [change.words for change in (await client.plan()).changes], "it is no way out yet"
    for version in (4, 6) if "{version}" in lines else (4,):
        for line in lines.format(version=version, **FAMILIES[version]).split("; "):
            node.ip(line)
        await until(lambda: web.link("eth0")["mtu"] == 1400, f"the MTU, IPv{version}")
        if version == 4 and "{version}" in lines:
            node.ip(f"link set {SECOND} mtu 1450")
            await until(lambda: web.link("eth0")["mtu"] == 1450, "the MTU of the link")
            _forget(node)
            await until(lambda: web.link("eth0")["mtu"] == 1500, "it is a way out no more")
            node.ip(f"link set {SECOND} mtu 1400")


def _forget(node: Host) -> None:
    """The node's IPv4 routes to the outside are as they were."""
    node.run("ip -4 rule flush", ok=False)
    node.run("ip -4 rule add lookup main pref 32766", ok=False)
    node.run("ip -4 route flush table 77", ok=False)
    node.run("ip -4 route del 128.0.0.0/1", ok=False)
    node.run("ip -4 route flush exact 0.0.0.0/0", ok=False)
    node.run("ip nexthop flush", ok=False)
    node.ip(f"route add default via {OUTSIDE_V4}")


@pytest.mark.usefixtures("second")
async def test_of_several_default_routes_the_one_in_use_counts(client: AsyncClient, node: Host, web: Host) -> None:
    """That of the lowest metric; the next one when it goes."""
    node.ip(f"link set {SECOND} mtu 1400")
    node.ip(f"route replace default via 198.51.100.2 dev {SECOND} metric 50")
    await client.attach(attach(web))
    assert web.link("eth0")["mtu"] == 1500
    node.ip("-6 route del default")
    node.ip(f"route del default via {OUTSIDE_V4}")
    await until(lambda: web.link("eth0")["mtu"] == 1400, "the other one is in use")


async def test_a_routes_own_mtu_counts(client: AsyncClient, node: Host, web: Host) -> None:
    node.ip(f"route replace default via {OUTSIDE_V4} mtu 1420")
    await client.attach(attach(web))
    await until(lambda: web.link("eth0")["mtu"] == 1420, "the route's MTU")


async def test_an_uplink_that_ipv6_is_too_large_for_takes_none_from_workloads(
    daemon: Daemon, client: AsyncClient, node: Host, outside: Host, web: Host, db: Host
) -> None:
    """Their MTU is the least that IPv6 works with; what is larger than the uplink takes is cut by the node, or refused
    with an ICMP error as on any router. The doctor tells."""
    await client.attach(attach(web))
    to = texts(await client.attach(attach(db)))
    node.ip(f"link set {UPLINK} mtu 600")
    outside.ip("link set eth0 mtu 600")
    await until(lambda: web.link("eth0")["mtu"] == 1280, "the MTU")
    assert web.ping(to[1])
    assert " 0% packet loss" in web.run(f"ping -n -c 1 -W 2 -s 1200 -M dont {OUTSIDE_V4}")
    with serving(outside, PORT):
        assert ask(web, OUTSIDE_V4, PORT)
    assert (await client.check("web")).in_sync
    doctor(daemon).one("mtu", "the uplink takes packets of 600 bytes", "interfaces have 1280")


async def test_without_an_uplink_the_mtu_stays_what_it_was(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host
) -> None:
    """For what is attached and what comes, across a restart too."""
    node.ip(f"link set {UPLINK} mtu 1400")
    await client.attach(attach(web))
    await until(lambda: web.link("eth0")["mtu"] == 1400, "the uplink's MTU")
    index = web.link("eth0")["ifindex"]
    for family in ("-4", "-6"):
        node.ip(f"{family} route del default")
    await daemon.restart()
    await client.attach(attach(db))
    assert [host.link("eth0")["mtu"] for host in (web, db)] == [1400, 1400]
    assert web.link("eth0")["ifindex"] == index
    node.ip(f"link set {UPLINK} mtu 1500")
    node.ip(f"route add default via {OUTSIDE_V4}")
    await until(lambda: db.link("eth0")["mtu"] == 1500, "there is one again")


@contextmanager
def far_away(host: Host, *addresses: str) -> Iterator[None]:
    """Addresses that the host has beside those of its network."""
    for address in addresses:
        host.ip(f"address add {address} dev lo" + (" nodad" if ":" in address else ""))
    with serving(host, PORT):
        yield


FAR = {4: ("203.0.113.7/32", "203.0.113.7"), 6: ("2001:db8:99::7/128", "2001:db8:99::7")}
MINE = {4: ("192.0.2.99", "192.0.2.98"), 6: ("2001:db8::99", "2001:db8::98")}
NETWORKS = {4: ("192.0.2", OUTSIDE_V4, 24), 6: ("2001:db8:", OUTSIDE_V6, 64)}


async def _sees(outside: Host, source: Host, target: str, expected: str, via: str = "") -> None:
    """The outside, which answers from where it was asked, is asked by this address."""
    length = 128 if ":" in expected else 32
    outside.ip(f"route replace {expected}/{length} {via and f'via {via}'} dev eth0 src {target}")
    for protocol in ("tcp", "udp"):

        async def seen(protocol: str = protocol) -> bool:
            return ask(source, target, PORT, protocol) == f"outside {expected}"

        await until(seen, f"{protocol} to {target} comes from {expected}")


@pytest.mark.parametrize("version", [4, 6])
async def test_what_leaves_has_the_source_that_the_route_prefers(
    start_daemon: StartDaemon, node: Host, outside: Host, web: Host, version: int
) -> None:
    """As the node's own packets have; to a neighbour, by a route without one, and by one with another, as those have
    them; and it follows the routes."""
    far, mine, other = FAR[version], *MINE[version]
    gateway, length = NETWORKS[version][1], NETWORKS[version][2]
    family = f"-{version}"
    more = ("203.0.113.8", "203.0.113.9") if version == 4 else ("2001:db8:99::8", "2001:db8:99::9")
    host_length = 32 if version == 4 else 128
    for address in (mine, other):
        node.ip(f"address add {address}/{length} dev {UPLINK}" + (" nodad" if version == 6 else ""))
    node.ip(f"{family} route replace default via {gateway} dev {UPLINK} src {mine}")
    node.ip(f"{family} route add {more[0]}/{host_length} via {gateway} dev {UPLINK} src {other}")
    node.ip(f"{family} route add {more[1]}/{host_length} via {gateway} dev {UPLINK}")
    daemon = await start_daemon()
    with far_away(outside, far[0], *(f"{address}/{host_length}" for address in more)):
        async with daemon.client() as client:
            await client.attach(attach(web))
            for target in (far[1], *more, gateway):
                said = ask(node, target, PORT)
                assert said is not None
                await _sees(outside, web, target, said.removeprefix("outside "))
            assert ask(web, far[1], PORT) == f"outside {mine}"
            assert ask(web, more[0], PORT) == f"outside {other}"
            node.ip(f"{family} route replace default via {gateway} dev {UPLINK} src {other}")
            await _sees(outside, web, far[1], other)
            node.ip(f"{family} route replace default via {gateway} dev {UPLINK}")
            await _sees(outside, web, far[1], str(ask(node, far[1], PORT)).removeprefix("outside "))
            assert not [change.words for change in (await client.plan()).changes]


@pytest.mark.usefixtures("second")
@pytest.mark.open_table
async def test_each_of_several_ways_has_its_source(client: AsyncClient, node: Host, outside: Host, web: Host) -> None:
    """A route over two uplinks with one preferred source is left with that by both; a damaged rule is repaired."""
    node.ip("address add 203.0.113.1/32 dev lo")
    await client.attach(attach(web))
    node.ip(
        f"route replace default src 203.0.113.1 nexthop via {OUTSIDE_V4} dev {UPLINK} "
        f"nexthop via 198.51.100.2 dev {SECOND}"
    )
    for address in ("203.0.113.7", "203.0.113.8", "203.0.113.9", "203.0.113.10"):
        outside.ip(f"address add {address}/32 dev lo")
    node.ip(f"route add 203.0.113.8/29 via {OUTSIDE_V4} dev {UPLINK} src 203.0.113.1")
    with serving(outside, PORT):
        await _sees(outside, web, "203.0.113.9", "203.0.113.1", NODE_V4)
        node.run("nft flush chain inet netplumb postrouting")
        await _sees(outside, web, "203.0.113.9", "203.0.113.1", NODE_V4)
    listed = node.run("nft list chain inet netplumb postrouting")
    for link in (UPLINK, SECOND):
        assert f'oifname "{link}" meta nfproto ipv4' in listed
