"""What a plugin behind netplumb sets on an interface stays: here set by hand, by real plugins in tests/runtimes."""

from __future__ import annotations

import asyncio

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.models.attachment import AttachmentKey
from netplumb.models.naming import node_if_name
from tests.e2e import wishes
from tests.e2e.conftest import StartDaemon
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.runtimes import Container, Json, Runtime, installed, reaches
from tests.e2e.waiting import until

LINK = node_if_name(AttachmentKey("c1", "eth0"))
RESYNC_S = 0.5


@pytest.fixture
async def short_resync(start_daemon: StartDaemon) -> Daemon:
    return await start_daemon(flags=f"--resync-s {RESYNC_S}")


@pytest.fixture
def container(short_resync: Daemon, node: Host, web: Host) -> Container:
    return Runtime(node, installed(short_resync)).container("c1", web)


@pytest.fixture
def result(container: Container) -> Json:
    return container.add().result()


async def after_a_resync() -> None:
    await asyncio.sleep(3 * RESYNC_S)


async def test_a_mac_stays(container: Container, result: Json, short_resync: Daemon, node: Host, web: Host) -> None:
    """The node reaches the interface under it, both families, also after a restart; CHECK agrees."""
    web.ip("link set eth0 down")  # as `tuning` does
    web.ip("link set eth0 address 02:00:5e:10:00:01")
    web.ip("link set eth0 up")
    await reaches(node, result)
    await after_a_resync()
    assert web.link("eth0")["address"] == "02:00:5e:10:00:01"
    container.check(result).succeeded()
    short_resync.kill9()
    await short_resync.start()
    await after_a_resync()
    assert web.link("eth0")["address"] == "02:00:5e:10:00:01"
    await reaches(node, result)


@pytest.mark.parametrize("mtu", [1400, 1280, 9000, 1000])
async def test_an_mtu_stays(
    container: Container, result: Json, short_resync: Daemon, node: Host, web: Host, mtu: int
) -> None:
    """The node's end goes by it, so that nothing is lost between the two; CHECK agrees."""
    web.ip(f"link set eth0 mtu {mtu}")
    await until(lambda: node.link(LINK)["mtu"] == mtu, "the node's end follows")
    await after_a_resync()
    assert web.link("eth0")["mtu"] == mtu
    container.check(result).succeeded()
    short_resync.kill9()
    await short_resync.start()
    await after_a_resync()
    assert (web.link("eth0")["mtu"], node.link(LINK)["mtu"]) == (mtu, mtu)
    assert node.ping(str(result["ips"][0]["address"]).partition("/")[0])


async def test_the_node_s_own_mtu_is_still_followed(
    container: Container, result: Json, short_resync: Daemon, node: Host, web: Host
) -> None:
    """As long as nobody set one inside; and damage to the node's end is repaired."""
    node.ip(f"link set {LINK} mtu 1300")
    await until(lambda: node.link(LINK)["mtu"] == 1500, "the node's end is repaired")
    node.ip("link set up0 mtu 1450")
    await until(lambda: web.link("eth0")["mtu"] == node.link(LINK)["mtu"] == 1450, "both ends follow the uplink")
    web.ip("link set eth0 mtu 1350")
    await until(lambda: node.link(LINK)["mtu"] == 1350, "the node's end follows the workload's")
    node.ip("link set up0 mtu 1440")
    await after_a_resync()
    assert web.link("eth0")["mtu"] == node.link(LINK)["mtu"] == 1350
    container.check(result).succeeded()


async def test_what_a_client_of_grpc_asked_for_is_defended(client: AsyncClient, web: Host) -> None:
    """There is no chain behind it."""
    mac = (await client.attach(wishes.attach(web))).attachment.mac
    web.ip("link set eth0 mtu 1400 address 02:00:5e:10:00:01")
    await until(lambda: (web.link("eth0")["mtu"], web.link("eth0")["address"]) == (1500, mac), "both are put back")


async def test_switches_of_others_are_left_alone(container: Container, result: Json, node: Host, web: Host) -> None:
    """route_localnet, which `portmap` needs, promiscuity and allmulti; and it can be switched off again."""
    assert result
    node.set_sysctl(f"net/ipv4/conf/{LINK}/route_localnet", "1")
    web.ip("link set eth0 promisc on allmulticast on")
    await after_a_resync()
    assert node.sysctl(f"net/ipv4/conf/{LINK}/route_localnet") == "1"
    assert {"PROMISC", "ALLMULTI"} <= set(web.link("eth0")["flags"])
    container.check(result).succeeded()
    node.set_sysctl(f"net/ipv4/conf/{LINK}/route_localnet", "0")
    await after_a_resync()
    assert node.sysctl(f"net/ipv4/conf/{LINK}/route_localnet") == "0"


async def test_a_family_that_is_switched_off_inside_is_no_fault(
    container: Container, result: Json, node: Host, web: Host
) -> None:
    """The condition tells of it, and CHECK agrees. The node's own side is netplumb's, and is switched on again."""
    web.set_sysctl("net/ipv6/conf/eth0/disable_ipv6", "1")
    await after_a_resync()
    container.check(result).succeeded()
    assert web.sysctl("net/ipv6/conf/eth0/disable_ipv6") == "1"
    web.set_sysctl("net/ipv6/conf/eth0/disable_ipv6", "0")
    await reaches(node, result)
    node.set_sysctl(f"net/ipv6/conf/{LINK}/disable_ipv6", "1")
    await after_a_resync()
    await reaches(node, result)
    container.check(result).succeeded()


async def test_limits_of_others_are_left_alone(container: Container, result: Json, node: Host) -> None:
    """As `bandwidth` sets them: a token bucket, and a filter at the ingress that redirects to an ifb."""
    assert result
    for line in (
        "ip link add bwp0 type ifb",
        "ip link set bwp0 up",
        f"tc qdisc add dev {LINK} root handle 1: tbf rate 10mbit burst 10kb latency 25ms",
        f"tc qdisc add dev {LINK} ingress",
        f"tc filter add dev {LINK} ingress prio 1 u32 match u32 0 0 action mirred egress redirect dev bwp0",
    ):
        node.run(line)
    before = node.run(f"tc qdisc show dev {LINK}"), node.run(f"tc filter show dev {LINK} ingress")
    await after_a_resync()
    assert (node.run(f"tc qdisc show dev {LINK}"), node.run(f"tc filter show dev {LINK} ingress")) == before
    container.check(result).succeeded()
