"""What the kernel refuses to route is not let in by a translation that comes before the look."""

from __future__ import annotations

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e import wishes
from tests.e2e.conftest import NODE_V4, NODE_V6, OUTSIDE_V4, OUTSIDE_V6, UPLINK
from tests.e2e.echoes import ask, serving
from tests.e2e.hosts import Host
from tests.e2e.packets import SYN, datagram, put, segment, tapped
from tests.e2e.test_traffic import FIRST_HOP_MAC

PORT, INNER = 9090, 80
LOCALHOST = tuple(f"{at}:{PORT}:{INNER}/{protocol}" for at in ("127.0.0.1", "[::1]") for protocol in ("tcp", "udp"))
EVERYWHERE = (f"8080:{INNER}/tcp", f"8080:{INNER}/udp")


@pytest.mark.parametrize("route_localnet", ["0", "1"])
@pytest.mark.parametrize("by", ["outside", "db"])
async def test_the_nodes_loopback_is_the_nodes_alone(
    client: AsyncClient, node: Host, outside: Host, web: Host, db: Host, by: str, route_localnet: str
) -> None:
    """A neighbour on the LAN, or another workload, that sends to 127.0.0.1 or ::1 reaches neither the workload that is
    mapped there nor the node, whatever the node's switches; the node itself does."""
    node.set_sysctl("net/ipv4/conf/all/route_localnet", route_localnet)
    await client.attach(wishes.attach(web, ports=LOCALHOST))
    other = await client.attach(wishes.attach(db))
    sources = (OUTSIDE_V4, OUTSIDE_V6) if by == "outside" else (wishes.v4(other), wishes.v6(other))
    host, mac = (outside, node.link(UPLINK)["address"]) if by == "outside" else (db, FIRST_HOP_MAC)
    with tapped(web, "eth0") as arriving, tapped(host, "eth0") as answers, serving(node, 9091):
        for source, to in zip(sources, ("127.0.0.1", "::1"), strict=True):
            for target in ((to, PORT), (to, 9091), ("127.9.9.9" if to != "::1" else to, 9091)):
                put(host, "eth0", mac, segment((source, 5001), target, SYN, ack=0))
                put(host, "eth0", mac, datagram((source, 5001), target, b"?"))
        assert [it for it in arriving.seen() if 5001 in it.ports] == []
        assert [it for it in answers.seen() if 5001 in it.ports] == []
    with serving(web, INNER):
        for to in ("127.0.0.1", "::1"):
            for protocol in ("tcp", "udp"):
                assert (ask(node, to, PORT, protocol) or "").startswith("web "), (to, protocol)


SOURCES_V4 = ("127.0.0.1", "127.1.2.3", "0.0.0.0", "224.0.0.5", "255.255.255.255", NODE_V4, "10.213.0.1")
SOURCES_V6 = ("::1", "::", "ff02::5", "fe80::77")


@pytest.mark.parametrize("route_localnet", ["0", "1"])
async def test_martian_sources_reach_no_mapped_port(
    client: AsyncClient, node: Host, outside: Host, web: Host, route_localnet: str
) -> None:
    """What comes from an address that nobody may send from is not led to a workload; what comes from a neighbour is."""
    await client.attach(wishes.attach(web, ports=EVERYWHERE))
    node.set_sysctl("net/ipv4/conf/all/route_localnet", route_localnet)
    mac = node.link(UPLINK)["address"]
    with tapped(web, "eth0") as arriving:
        for sources, to in ((SOURCES_V4, NODE_V4), (SOURCES_V6, NODE_V6)):
            for source in sources:
                put(outside, "eth0", mac, segment((source, 5001), (to, 8080), SYN, ack=0))
                put(outside, "eth0", mac, datagram((source, 5001), (to, 8080), b"?"))
        for source, to in ((OUTSIDE_V4, NODE_V4), (OUTSIDE_V6, NODE_V6)):
            put(outside, "eth0", mac, datagram((source, 5001), (to, 8080), b"?"))
        assert [it.source for it in arriving.seen() if it.ports[0] == 5001] == [OUTSIDE_V4, OUTSIDE_V6]


async def test_martian_destinations_lead_nowhere(client: AsyncClient, node: Host, outside: Host, web: Host) -> None:
    """A mapped port is at the node's addresses: not at a broadcast, multicast or reserved one."""
    await client.attach(wishes.attach(web, ports=EVERYWHERE))
    mac = node.link(UPLINK)["address"]
    with tapped(web, "eth0") as arriving:
        for to in ("0.0.0.0", "0.0.0.1", "192.0.2.255", "255.255.255.255", "224.0.0.1", "240.0.0.1"):
            put(outside, "eth0", mac, segment((OUTSIDE_V4, 5001), (to, 8080), SYN, ack=0))
            put(outside, "eth0", mac, datagram((OUTSIDE_V4, 5001), (to, 8080), b"?"))
        for to in ("::", "ff02::1", "2001:db8::"):
            put(outside, "eth0", mac, datagram((OUTSIDE_V6, 5001), (to, 8080), b"?"))
        assert [it for it in arriving.seen() if 5001 in it.ports] == []
