"""What a trace says of a packet that was really sent and is lost without a word, or refused by somebody else."""

from __future__ import annotations

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.reconciler.tracing.hops import Outcome, Trace
from tests.e2e.conftest import OUTSIDE_V4, UPLINK, StartDaemon
from tests.e2e.daemons import Daemon
from tests.e2e.echoes import ask, serving, unanswered
from tests.e2e.hosts import Host
from tests.e2e.traces import PORT, arrives, ends, live, trace
from tests.e2e.wishes import attach

BEYOND = "203.0.113.7"


@pytest.fixture
async def attached(client: AsyncClient, web: Host) -> Host:
    await client.attach(attach(web))
    return web


def lost(found: Trace, *words: str) -> str:
    """It is not known where, but these words of what may be behind it are said; returns what may heal it."""
    assert found.outcome is Outcome.UNKNOWN, found
    assert all(word in found.why for word in words), found
    return found.heal.removeprefix("if it is that: ")


MARKED = "table ip m { chain p { type filter hook prerouting priority -150; tcp dport 8080 meta mark set 7; }; }"
NOT_TRACKED = "table ip r { chain p { type filter hook prerouting priority raw; tcp sport 8080 notrack; }; }"
ANOTHER_SOURCE = "table ip s { chain p { type nat hook postrouting priority 90; oifname up0 snat to 192.0.2.99; }; }"
SUPPOSED = {
    "a rule that asks for a mark": (
        f"nft '{MARKED}'; ip rule add fwmark 7 preference 900 lookup 77; ip route add blackhole default table 77",
        "by chain p of table ip m, rule 1: tcp dport 8080 mark, then the routing rule `900: from all fwmark 0x7",
    ),
    "answers that are not tracked": (
        f"nft '{NOT_TRACKED}'",
        "the answer is kept from connection tracking, and so from translation, by chain p of table ip r, rule 1",
    ),
    "a source of another's choice": (
        f"nft '{ANOTHER_SOURCE}'",
        "node: its source is chosen by chain p of table ip s, rule 1: oifname up0 snat: answers come back only if",
    ),
}


@pytest.mark.parametrize("cause", SUPPOSED)
async def test_what_cannot_be_judged_is_told_of_a_packet_that_is_lost(
    daemon: Daemon, attached: Host, node: Host, outside: Host, cause: str
) -> None:
    """As without sending one; and what lets it pass is told too."""
    lines, words = SUPPOSED[cause]
    with serving(outside, PORT):
        node.run(f'sh -c "{lines}"')
        assert unanswered(attached, OUTSIDE_V4, PORT)
        assert words in trace(daemon, "web", OUTSIDE_V4).why
        node.run(f'sh -c "{lost(live(daemon, "web", OUTSIDE_V4), words)}"')
        arrives(live(daemon, "web", OUTSIDE_V4))


async def test_an_answer_that_is_dropped_where_the_packet_passed(
    daemon: Daemon, attached: Host, node: Host, outside: Host
) -> None:
    """What heals it is about the answer, which comes from the port."""
    node.run("iptables -t raw -A PREROUTING -p tcp --sport 8080 -j DROP")
    with serving(outside, PORT):
        heal = ends(live(daemon, "web", OUTSIDE_V4), "node: the answer is dropped by chain PREROUTING of table ip raw")
        node.run(heal)
        assert ask(attached, OUTSIDE_V4, PORT)


async def test_a_workload_that_translates_by_itself(daemon: Daemon, attached: Host, node: Host, outside: Host) -> None:
    """As a service mesh does; and the node's own packets."""
    for host, source in ((attached, "web"), (node, "node")):
        host.run("iptables -t nat -A OUTPUT -p tcp --dport 8080 -j DNAT --to-destination 203.0.113.99")
        with serving(outside, PORT):
            found = trace(daemon, source, OUTSIDE_V4)
            heal = lost(found, "translated by chain OUTPUT of table ip nat, rule 1: tcp dport 8080 DNAT")
            node.run(heal)
            assert ask(host, OUTSIDE_V4, PORT)
            arrives(trace(daemon, source, OUTSIDE_V4))


async def test_a_workload_s_own_address_has_no_way_back(
    start_daemon: StartDaemon, web: Host, node: Host, outside: Host
) -> None:
    daemon = await start_daemon(flags="--no-masquerade")
    async with daemon.client() as client:
        await client.attach(attach(web))
    with serving(outside, PORT):
        found = live(daemon, "web", OUTSIDE_V4)
        assert "masquerade: true" in lost(found, "it leaves with the workload's own address")
        outside.ip("route add 10.213.0.0/24 via 192.0.2.1")
        arrives(live(daemon, "web", OUTSIDE_V4))


async def test_what_is_lost_beyond_the_node(daemon: Daemon, attached: Host, node: Host, outside: Host) -> None:
    outside.ip(f"address add {BEYOND}/32 dev lo")
    outside.run("iptables -A INPUT -p tcp -j DROP")
    heal = lost(live(daemon, "web", BEYOND), f"it was seen last as it left node by {UPLINK}")
    assert f"tcpdump -ni {UPLINK} host {BEYOND}" in heal


REFUSALS = {
    "a firewall there": ("iptables -A FORWARD -j REJECT --reject-with icmp-admin-prohibited", "a firewall there"),
    "no route": ("ip route replace unreachable 203.0.113.0/25", "nobody there has the address"),
}


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("protocol", ["tcp", "udp", "icmp"])
async def test_who_refuses_is_told(
    daemon: Daemon, attached: Host, node: Host, outside: Host, refusal: str, protocol: str
) -> None:
    """A router beyond the node, by the ICMP error that it sends back."""
    line, words = REFUSALS[refusal]
    outside.set_sysctl("net/ipv4/ip_forward", "1")
    outside.ip("link add far0 type veth peer name far1")
    outside.ip("link set far0 up")
    outside.ip("link set far1 up")
    outside.ip("route add 203.0.113.0/25 dev far0")
    outside.run(line)
    ends(live(daemon, "web", BEYOND, protocol=protocol), f"{OUTSIDE_V4} sends back", f"is not reached: {words}")


async def test_a_bridge_s_own_firewall(daemon: Daemon, attached: Host, node: Host, outside: Host) -> None:
    """Of an uplink that is a port of a bridge; seen where a packet is sent."""
    for line in (
        "link add br0 address 02:00:00:00:00:99 type bridge",
        "link set br0 up",
        f"address flush dev {UPLINK}",
        f"link set {UPLINK} master br0",
        "address add 192.0.2.1/24 dev br0",
    ):
        node.ip(line)
    node.run("nft 'table bridge b { chain in { type filter hook input priority 0; ip protocol tcp drop; }; }'")
    with serving(outside, PORT):
        ends(live(daemon, "web", OUTSIDE_V4), "node: the answer is dropped by chain in of table bridge b")


@pytest.mark.parametrize("where", ["node", "web"])
async def test_a_queue_that_holds_back(daemon: Daemon, attached: Host, node: Host, where: str) -> None:
    """On the uplink, where it may let not even the question for the next hop out, or inside the workload: no firewall
    tells of it."""
    host, link = (node, UPLINK) if where == "node" else (attached, "eth0")
    host.run(f"tc qdisc add dev {link} root tbf rate 1kbit burst 20 limit 20")
    found = trace(daemon, "web", OUTSIDE_V4, live=True)
    assert found.outcome is not Outcome.ARRIVES
    assert f"a queue of others, tbf on {link}" in found.why
    assert f"tc -s qdisc show dev {link}" in found.heal
