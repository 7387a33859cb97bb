"""A next hop that is there and is not found, by something on the node: it is named, and what heals it does."""

from __future__ import annotations

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e.conftest import OUTSIDE_V4, OUTSIDE_V6, UPLINK
from tests.e2e.daemons import Daemon
from tests.e2e.doctors import doctor
from tests.e2e.echoes import ask, serving, unanswered
from tests.e2e.hosts import Host
from tests.e2e.traces import PORT, arrives, ends, trace
from tests.e2e.wishes import attach

BEYOND_V4, BEYOND_V6 = "203.0.113.7", "2001:db8:99::7"


@pytest.fixture
async def attached(client: AsyncClient, web: Host, outside: Host) -> Host:
    """A workload, and somebody behind the gateway."""
    outside.ip(f"address add {BEYOND_V4}/32 dev lo")
    outside.ip(f"-6 address add {BEYOND_V6}/128 dev lo nodad")
    await client.attach(attach(web))
    return web


INPUT = "table inet f { chain input { type filter hook input priority 0; policy drop; RULES }; }"
COMMON = "ct state established,related accept; tcp dport 22 accept; icmp type echo-request accept;"
OTHERS = "icmpv6 type { nd-router-advert, echo-request } accept;"
ARP_DROPPED = f"chain in {{ type filter hook ingress device {UPLINK} priority 0; meta protocol arp drop; }};"
HIDDEN = {
    "an input policy without neighbour discovery": (
        f"nft '{INPUT.replace('RULES', COMMON + OTHERS)}'",
        6,
        "does not take the answer: chain inet f input (policy drop) drops",
    ),
    "an input policy of ip6tables": ("ip6tables -P INPUT DROP", 6, "chain ip6 filter INPUT (policy drop) drops"),
    "a rule on what leaves": (
        "ip6tables -A OUTPUT -p ipv6-icmp --icmpv6-type neighbour-solicitation -j DROP",
        6,
        "chain ip6 filter OUTPUT (rule 1: icmpv6 type 135 drop) drops",
    ),
    "a table of ARP": (
        "nft 'table arp a { chain in { type filter hook input priority 0; policy drop; }; }'",
        4,
        "does not take the answer: chain arp a in (policy drop) drops",
    ),
    "a device's own chain": (
        f"nft 'table netdev d {{ {ARP_DROPPED} }}'",
        4,
        "does not answer ARP, which chain netdev d in (rule handle 2: meta protocol arp drop) drops here",
    ),
    "an entry that somebody set": (
        f"ip neigh replace {OUTSIDE_V4} lladdr 02:00:00:00:00:66 dev {UPLINK} nud permanent",
        4,
        "is sent to 02:00:00:00:00:66, which somebody set for good, and answers ARP from",
    ),
    "an entry of IPv6 that somebody set": (
        f"ip neigh replace {OUTSIDE_V6} lladdr 02:00:00:00:00:66 dev {UPLINK} nud permanent",
        6,
        "is sent to 02:00:00:00:00:66, which somebody set for good, and answers neighbour discovery from",
    ),
    "ARP that is off": (f"ip link set {UPLINK} arp off", 4, f"ARP is off on {UPLINK}"),
    "a bridge that has the uplink": (
        f"ip link add br0 type bridge; ip link set br0 up; ip link set {UPLINK} master br0",
        4,
        f"is not found: {UPLINK} is a port of br0, which takes all that arrives there",
    ),
}


@pytest.mark.parametrize("cause", HIDDEN)
async def test_a_gateway_that_the_node_hides_from_itself(
    daemon: Daemon, attached: Host, node: Host, outside: Host, cause: str
) -> None:
    lines, version, words = HIDDEN[cause]
    gateway, beyond = (OUTSIDE_V4, BEYOND_V4) if version == 4 else (OUTSIDE_V6, BEYOND_V6)
    with serving(outside, PORT):
        assert ask(attached, beyond, PORT)
        node.run(f'sh -c "{lines}; ip neigh flush dev {UPLINK}"')
        assert unanswered(attached, beyond, PORT)
        finding = doctor(daemon).one("gateway-silent", f"the gateway {gateway} on {UPLINK}", words)
        assert finding["severity"] == "broken"
        heal = ends(trace(daemon, "web", beyond, ipv6=version == 6), f"node: the next hop {gateway}", words)
        assert heal == finding["heal"]
        node.run(f'sh -c "{heal.rpartition("take it out: ")[2]}"')
        assert not doctor(daemon).of("gateway-silent")
        arrives(trace(daemon, "web", beyond, ipv6=version == 6))
        assert ask(attached, beyond, PORT)


UNSUSPECTED = {
    "a policy that lets neighbour discovery pass": (
        f"nft '{INPUT.replace('RULES', COMMON + 'icmpv6 type { nd-neighbor-advert, nd-neighbor-solicit } accept;')}'"
    ),
    "an entry that is right": "ip neigh replace {gateway} lladdr {mac} dev {uplink} nud permanent",
    "what another protocol is kept from": "ip6tables -A INPUT -p tcp -j DROP",
}


@pytest.mark.parametrize("case", UNSUSPECTED)
async def test_a_gateway_that_is_found_all_the_same(
    daemon: Daemon, attached: Host, node: Host, outside: Host, case: str
) -> None:
    (mac,) = {link["address"] for link in outside.ip("link show dev eth0")}
    lines = UNSUSPECTED[case].replace("{gateway}", OUTSIDE_V4).replace("{mac}", mac).replace("{uplink}", UPLINK)
    node.run(f'sh -c "{lines}; ip neigh flush dev {UPLINK}"')
    assert not doctor(daemon).of("gateway-silent")
    node.ip(f"-6 route replace default via 2001:db8::77 dev {UPLINK}")
    finding = doctor(daemon).one("gateway-silent", "2001:db8::77", "does not answer neighbour discovery")
    assert "see whether it is up" in finding["heal"], "what is not there is no firewall's fault"


async def test_an_entry_that_was_set_for_one_who_does_not_answer(daemon: Daemon, attached: Host, node: Host) -> None:
    """Which may be why it was set."""
    node.ip(f"route replace default via 192.0.2.77 dev {UPLINK}")
    node.ip(f"neigh replace 192.0.2.77 lladdr 02:00:00:00:00:66 dev {UPLINK} nud permanent")
    assert not doctor(daemon).of("gateway-silent")
