"""What a trace says where what is small passes and what is large does not: a path MTU that nobody tells of."""

from __future__ import annotations

from shlex import quote

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.reconciler.tracing.hops import Outcome
from tests.e2e.conftest import MakeHost
from tests.e2e.daemons import Daemon
from tests.e2e.doctors import doctor
from tests.e2e.echoes import serving
from tests.e2e.hosts import Host
from tests.e2e.streams import TcpStream
from tests.e2e.traces import PORT, arrives, ends, live, trace
from tests.e2e.waiting import until
from tests.e2e.wishes import attach

BEYOND = {4: "203.0.113.7", 6: "2001:db8:113::7"}
ROUTER = {4: "203.0.113.1", 6: "2001:db8:113::1"}
TOO_LARGE = {4: "iptables {} -p icmp --icmp-type 3/4", 6: "ip6tables {} -p icmpv6 --icmpv6-type 2"}
TAKES = 1400


@pytest.fixture
async def attached(client: AsyncClient, web: Host) -> Host:
    await client.attach(attach(web))
    return web


@pytest.fixture
def beyond(outside: Host, node: Host, make_host: MakeHost) -> Host:
    """A host behind the router outside, which takes no larger packets to it."""
    host = make_host("beyond")
    outside.ip("link add far type veth peer name eth0 netns beyond")
    for end, link, addresses in ((outside, "far", ROUTER), (host, "eth0", BEYOND)):
        end.set_sysctl(f"net/ipv6/conf/{link}/accept_dad", "0")
        end.ip(f"link set {link} up")
        for version, address in addresses.items():
            end.ip(f"address add {address}/{24 if version == 4 else 64} dev {link}")
    for version in (4, 6):
        host.ip(f"-{version} route add default via {ROUTER[version]}")
        lock = "lock " if version == 4 else ""
        outside.ip(f"-{version} route add {BEYOND[version]} dev far mtu {lock}{TAKES}")
    outside.set_sysctl("net/ipv4/ip_forward", "1")
    outside.set_sysctl("net/ipv6/conf/all/forwarding", "1")
    return host


async def flows(source: Host, target: Host, address: str) -> None:
    """More than one packet of data comes."""
    with TcpStream(source, target, address) as stream:
        await until(lambda: stream.received > 1 << 18, "data flows")


@pytest.mark.parametrize("source", ["web", "node"])
@pytest.mark.parametrize("version", [4, 6])
async def test_what_is_too_large_and_nobody_says_so(
    daemon: Daemon, attached: Host, node: Host, outside: Host, beyond: Host, version: int, source: str
) -> None:
    """A small packet arrives; who sends more hangs, which what is told heals."""
    outside.run(TOO_LARGE[version].format("-A OUTPUT") + " -j DROP")
    with serving(beyond, PORT):
        found = live(daemon, source, BEYOND[version])
        heal = ends(found, "an answer came back; but packets of 1420 bytes are lost beyond the node without a word")
        assert f"those of {TAKES} are not" in found.why
        node.run(f"sh -c {quote(heal)}")
        arrives(live(daemon, source, BEYOND[version]))
    await flows(Host(source), beyond, BEYOND[version])


@pytest.mark.parametrize("version", [4, 6])
async def test_what_is_too_large_and_the_router_says_so(
    daemon: Daemon, attached: Host, beyond: Host, version: int
) -> None:
    """That is how it should be: who sends goes by it. So is silence of who answers no echoes."""
    with serving(beyond, PORT):
        arrives(live(daemon, "web", BEYOND[version]))
    beyond.set_sysctl("net/ipv4/icmp_echo_ignore_all", "1")
    beyond.set_sysctl("net/ipv6/icmp/echo_ignore_all", "1")
    with serving(beyond, PORT):
        assert live(daemon, "web", BEYOND[version]).outcome is Outcome.ARRIVES


@pytest.mark.parametrize("version", [4, 6])
async def test_a_workload_that_sends_to_itself(
    daemon: Daemon, client: AsyncClient, attached: Host, version: int
) -> None:
    """By its loopback, which takes more than any packet has; nothing leaves the node."""
    await client.attach(attach(attached, if_name="eth1"))
    with serving(attached, PORT):
        arrives(trace(daemon, "web/eth0", "web/eth1", ipv6=version == 6, live=True))


@pytest.mark.parametrize("version", [4, 6])
async def test_the_node_drops_the_routers_word(
    daemon: Daemon, attached: Host, node: Host, beyond: Host, version: int
) -> None:
    """What is beyond the node is not blamed for what is done here; doctor names the rule."""
    node.run(TOO_LARGE[version].format("-A FORWARD") + " -j DROP")
    with serving(beyond, PORT):
        heal = ends(live(daemon, "web", BEYOND[version]), "are lost for the workload, since no ICMP error comes to it")
        assert "netplumb doctor" in heal
        (finding,) = doctor(daemon).of("foreign-firewall")
        node.run(f"sh -c {quote(finding['heal'])}")
        arrives(live(daemon, "web", BEYOND[version]))
