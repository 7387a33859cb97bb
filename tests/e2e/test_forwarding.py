"""Forwarding as people switch it: by interface, or by the default for those to come; and an uplink that comes late."""

from __future__ import annotations

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.models.attachment import AttachmentKey
from netplumb.models.naming import node_if_name
from tests.e2e import asks
from tests.e2e.conftest import NODE_V4, NODE_V6, OUTSIDE_V4, OUTSIDE_V6, UPLINK, StartDaemon
from tests.e2e.daemons import Daemon
from tests.e2e.echoes import KINDS, ask, serving
from tests.e2e.hosts import Host
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, texts, v6

PORT, HOST_PORT = 9300, 8300
FORWARDING = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")
TRIES = 3
LINK = node_if_name(AttachmentKey("web", "eth0"))
SWITCHES = (f"net/ipv4/conf/{LINK}/forwarding", f"net/ipv6/conf/{LINK}/forwarding")


def assert_reaches(source: Host, address: str, port: int = PORT, *, seen: str = "") -> None:
    """TCP and UDP are answered, and the server saw the source that it should."""
    for protocol in KINDS:
        said = ask(source, address, port, protocol)
        assert said is not None, f"{source.name} → {address} {protocol}"
        assert not seen or said.endswith(f" {seen}"), said


async def test_the_default_for_links_to_come_is_off(
    start_daemon: StartDaemon, node: Host, outside: Host, web: Host, db: Host
) -> None:
    """systemd-networkd and hardening guides switch forwarding off for interfaces to come: ours forward all the same, in
    both families, and answer for the first hop."""
    for name in FORWARDING:
        node.set_sysctl(name, "1")
    for family in ("ipv4", "ipv6"):
        node.set_sysctl(f"net/{family}/conf/default/forwarding", "0")
    daemon = await start_daemon()
    async with daemon.client() as client:
        given = {
            host.name: texts(await client.attach(attach(host, ports=(f"{HOST_PORT}:{PORT}/{protocol}",))))
            for host, protocol in ((web, "tcp"), (db, "udp"))
        }
        assert [node.sysctl(name) for name in SWITCHES] == ["1", "1"]
        assert node.sysctl("net/ipv4/conf/default/forwarding") == "0"
        with serving(outside, PORT), serving(web, PORT), serving(db, PORT):
            for address, seen in ((OUTSIDE_V4, NODE_V4), (OUTSIDE_V6, NODE_V6)):
                assert_reaches(web, address, seen=seen)
            for address in given["db"]:
                assert_reaches(web, address)
            for address in (NODE_V4, NODE_V6):
                assert (ask(outside, address, HOST_PORT, "tcp") or "").startswith("web ")
                assert (ask(outside, address, HOST_PORT, "udp") or "").startswith("db ")
        assert asks.arp(web, "eth0", given["web"][0], "169.254.77.1") == "02:9c:52:fe:6d:0a"
        assert asks.neighbour_discovery(web, "eth0", given["web"][1], "fe80::1") == "02:9c:52:fe:6d:0a"
        assert (await client.status()).counters.repairs == {}


@pytest.mark.parametrize("switch", SWITCHES, ids=["IPv4", "IPv6"])
async def test_forwarding_that_is_switched_off_for_a_link_comes_back(
    client: AsyncClient, node: Host, outside: Host, web: Host, switch: str
) -> None:
    """Traffic goes on after somebody switched it off for our link alone."""
    answer = await client.attach(attach(web))
    node.set_sysctl(switch, "0")
    await until(lambda: node.sysctl(switch) == "1", "it is switched on again")
    with serving(outside, PORT):
        for address in (OUTSIDE_V4, OUTSIDE_V6):
            assert_reaches(web, address)
    assert asks.neighbour_discovery(web, "eth0", v6(answer), "fe80::1") == "02:9c:52:fe:6d:0a"
    assert (await client.check("web")).in_sync


async def test_forwarding_that_goes_off_everywhere_is_one_repair(client: AsyncClient, node: Host, web: Host) -> None:
    """The node's switch takes those of all links with it, and brings them back: no attachment is repaired for that, but
    where the daemon read what the kernel told of it before it had told all, as it may once."""

    async def on_again() -> bool:
        return [node.sysctl(it) for it in (*FORWARDING, *SWITCHES)] == ["1"] * 4

    await client.attach(attach(web))
    for _ in range(TRIES):
        for name in FORWARDING:
            node.set_sysctl(name, "0")
            await until(on_again, "all are on again")
    repairs = (await client.status()).counters.repairs
    assert repairs["sysctl"] == len(FORWARDING) * TRIES, repairs
    assert repairs.get("link", 0) < TRIES, repairs


async def test_an_uplink_that_does_not_forward_is_told(
    client: AsyncClient, node: Host, outside: Host, web: Host
) -> None:
    """It is not ours to switch: the node's condition names it and the command, and goes when it is on."""
    await client.attach(attach(web))

    async def told() -> str:
        return next((it.message for it in (await client.status()).conditions if it.type == "ForwardingOff"), "")

    assert await told() == ""
    node.set_sysctl(f"net/ipv4/conf/{UPLINK}/forwarding", "0")
    await until(told, "the condition tells of it")
    assert f"net.ipv4.conf.{UPLINK}.forwarding=1" in await told()
    assert node.sysctl(f"net/ipv4/conf/{UPLINK}/forwarding") == "0"
    node.set_sysctl(f"net/ipv4/conf/{UPLINK}/forwarding", "1")

    async def not_told() -> bool:
        return not await told()

    await until(not_told, "the condition goes")
    with serving(outside, PORT):
        assert_reaches(web, OUTSIDE_V4)


async def test_an_uplink_that_comes_late_learns_its_default_route(
    daemon: Daemon, client: AsyncClient, node: Host, outside: Host, web: Host
) -> None:
    """An interface that is plugged in later listens to router advertisements though the node forwards, at once and not
    with the next resync."""
    await client.attach(attach(web))
    node.ip("-6 route delete default")
    node.ip("link add late0 type veth peer name eth1 netns outside")
    await until(lambda: node.sysctl("net/ipv6/conf/late0/accept_ra") == "2", "it is to listen")
    node.ip("link set late0 up")
    outside.set_sysctl("net/ipv6/conf/eth1/accept_dad", "0")
    outside.ip("link set eth1 up")

    def learnt() -> bool:
        asks.advertise_router(outside, "eth1")
        default = node.default_route(6)
        return default is not None and default["dev"] == "late0"

    await until(learnt, "the default route is learnt")


async def test_arp_that_the_node_ignores(client: AsyncClient, node: Host, outside: Host, web: Host, db: Host) -> None:
    """Behind LVS nodes answer ARP for addresses of the link that asks alone, and the first hop is none. Workloads have
    its MAC from us, and reach all, with a cache that was flushed too; who has a network stack of its own finds no first
    hop of IPv4, which is a limit, and told by the doctor; one of IPv6 it finds."""
    for switch, value in (("arp_ignore", "1"), ("arp_announce", "2")):
        node.set_sysctl(f"net/ipv4/conf/all/{switch}", value)
    given = texts(await client.attach(attach(web, ports=(f"{HOST_PORT}:{PORT}/tcp", f"{HOST_PORT}:{PORT}/udp"))))
    other = texts(await client.attach(attach(db)))
    web.run("ip neighbour flush dev eth0")
    with serving(outside, PORT), serving(web, PORT), serving(db, PORT):
        for address in (OUTSIDE_V4, OUTSIDE_V6, *other):
            assert_reaches(web, address)
        for address in (NODE_V4, NODE_V6):
            assert_reaches(outside, address, HOST_PORT)
        for address in given:
            assert_reaches(node, address)
    with pytest.raises((TimeoutError, AssertionError)):
        asks.arp(web, "eth0", given[0], "169.254.77.1")
    assert asks.neighbour_discovery(web, "eth0", given[1], "fe80::1") == "02:9c:52:fe:6d:0a"
