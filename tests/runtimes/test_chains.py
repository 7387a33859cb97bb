"""The CNI project's own plugins behind netplumb in one chain: what they set stays, and every CHECK agrees."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.e2e.conftest import NODE_V4, StartDaemon
from tests.e2e.daemons import Daemon
from tests.e2e.echoes import ask, serving
from tests.e2e.hosts import Host
from tests.e2e.runtimes import Json, Runtime, installed, reaches
from tests.runtimes.chains import Chain, with_debians

RESYNC_S = 0.5
NETPLUMB: Json = {"type": "netplumb-cni"}


@pytest.fixture
async def chained(start_daemon: StartDaemon, node: Host, web: Host) -> Callable[..., Chain]:
    """Makes a chain of netplumb and others, on a node that is compared with what is desired twice a second."""
    daemon: Daemon = await start_daemon(flags=f"--resync-s {RESYNC_S}")
    runtime = Runtime(node, installed(daemon))

    def made(*others: Json, first: Json = NETPLUMB) -> Chain:
        return Chain(with_debians(runtime, *(str(it["type"]) for it in others)), web, [first, *others])

    return made


async def after_a_resync() -> None:
    await asyncio.sleep(3 * RESYNC_S)


@pytest.mark.parametrize(
    ("tuning", "shows"),
    [
        ({"mtu": 1400}, "mtu 1400"),
        ({"mac": "02:00:5e:10:00:01"}, "02:00:5e:10:00:01"),
        ({"promisc": True}, "PROMISC"),
        ({"allmulti": True}, "ALLMULTI"),
        ({"sysctl": {"net.ipv4.conf.eth0.arp_filter": "1", "net.core.somaxconn": "500"}}, "eth0"),
        ({"mtu": 1000}, "mtu 1000"),
        ({"sysctl": {"net.ipv6.conf.eth0.disable_ipv6": "1"}}, "eth0"),
        ({"mtu": 1400, "mac": "02:00:5e:10:00:01", "promisc": True, "allmulti": True}, "mtu 1400"),
    ],
)
@pytest.mark.parametrize("first", [NETPLUMB, NETPLUMB | {"mtu": 1450}], ids=["plain", "mtu"])
async def test_tuning(
    chained: Callable[..., Chain], node: Host, web: Host, first: Json, tuning: Json, shows: str
) -> None:
    """Each of its settings is kept, also where netplumb's configuration says otherwise."""
    chain = chained({"type": "tuning", **tuning}, first=first)
    result = chain.add()
    takes_ipv6_off = tuning.get("mtu") == 1000 or "disable_ipv6" in str(tuning)
    left = {"ips": result["ips"][:1]} if takes_ipv6_off else result
    await reaches(node, left)
    await after_a_resync()
    assert shows in web.run("ip link show eth0")
    chain.check(result)
    await reaches(node, left)
    chain.delete(result)


async def test_portmap(chained: Callable[..., Chain], node: Host, outside: Host, web: Host) -> None:
    """Its ports answer from outside and at 127.0.0.1, which needs a switch on the link that is netplumb's."""
    chain = chained({"type": "portmap", "snat": True, "capabilities": {"portMappings": True}})
    mapped = [{"hostPort": 8088, "containerPort": 80, "protocol": protocol} for protocol in ("tcp", "udp")]
    result = chain.add(portMappings=mapped)
    with serving(web, 80):
        for _ in range(2):
            assert ask(outside, NODE_V4, 8088)
            assert ask(outside, NODE_V4, 8088, "udp")
            assert ask(node, "127.0.0.1", 8088)
            await after_a_resync()
    # Of two families portmap's own CHECK (1.1.1) looks for the one's rule among the other's.
    replace(chain, plugins=chain.plugins[:1]).check(result, portMappings=mapped)
    chain.delete(result, portMappings=mapped)


async def test_bandwidth(chained: Callable[..., Chain], node: Host) -> None:
    """Its token buckets and redirects stay on the link."""
    limits = {"ingressRate": 8_000_000, "ingressBurst": 800_000, "egressRate": 8_000_000, "egressBurst": 800_000}
    chain = chained({"type": "bandwidth", "capabilities": {"bandwidth": True}})
    result = chain.add(bandwidth=limits)
    link = result["interfaces"][0]["name"]

    def shaping() -> str:
        return node.run(f"tc qdisc show dev {link}") + node.run(f"tc filter show dev {link} ingress")

    before = shaping()
    assert "tbf" in before
    assert "mirred" in before
    await after_a_resync()
    assert shaping() == before
    chain.check(result, bandwidth=limits)
    await reaches(node, result)
    chain.delete(result, bandwidth=limits)


async def test_firewall_and_source_based_routing(
    chained: Callable[..., Chain], node: Host, outside: Host, web: Host
) -> None:
    """Beside netplumb's rules and routes."""
    chain = chained({"type": "firewall", "backend": "iptables"}, {"type": "sbr"})
    result = chain.add()
    await after_a_resync()
    await reaches(node, result)
    assert web.ping("192.0.2.2")
    chain.check(result)
    chain.delete(result)
