"""A trace follows a packet to where it really goes, and names what stops it there. Each fault is made in the kernel."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.models.attachment import AttachmentKey
from netplumb.models.errors import InvalidRequest
from netplumb.models.naming import node_if_name
from netplumb.reconciler.tracing.hops import Outcome, Trace
from tests.e2e.conftest import NODE_V4, OUTSIDE_V4, OUTSIDE_V6, UPLINK, MakeHost, StartDaemon, second_uplink
from tests.e2e.daemons import COMMAND, Daemon
from tests.e2e.doctors import run
from tests.e2e.echoes import ask, serving, unanswered
from tests.e2e.hosts import Host
from tests.e2e.statefiles import declare
from tests.e2e.traces import PORT, arrives, ends, live, trace
from tests.e2e.waiting import until
from tests.e2e.wishes import attach

DENY_ALL = (
    "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
    "metadata: {name: deny}\nspec: {podSelector: {}, policyTypes: [Ingress]}\n"
)


@pytest.fixture
async def attached(client: AsyncClient, web: Host, db: Host) -> Host:
    """Two workloads, of which the first has a mapped port."""
    await client.attach(attach(web, ports=(f"{PORT}:{PORT}",)))
    await client.attach(attach(db))
    return web


WAYS: list[tuple[str, str, dict[str, Any]]] = [
    ("web", OUTSIDE_V4, {}),
    ("web", OUTSIDE_V6, {}),
    ("web", "db", {}),
    ("web", "db", {"ipv6": True}),
    ("web", "node", {}),
    ("node", "web", {}),
    ("node", OUTSIDE_V4, {}),
    ("web/eth0", OUTSIDE_V4, {"protocol": "icmp"}),
    ("web", "db", {"protocol": "udp"}),
]


@pytest.mark.parametrize(("source", "target", "asked"), WAYS)
async def test_what_works_arrives(
    daemon: Daemon, attached: Host, db: Host, node: Host, outside: Host, source: str, target: str, asked: dict[str, Any]
) -> None:
    """There and back, in each direction and family."""
    with serving(attached, PORT), serving(db, PORT), serving(node, PORT):
        arrives(trace(daemon, source, target, **asked))


async def test_the_hops_are_told(daemon: Daemon, attached: Host) -> None:
    """The route of each namespace, the port, the masquerading, and the process at the end."""
    told = arrives(trace(daemon, "web", OUTSIDE_V4))
    assert f"to {OUTSIDE_V4}, the default route via 169.254.77.1 dev eth0" in told
    assert f"goes on by a /24 route dev {UPLINK}" in told
    assert f"leaves as {NODE_V4}, by masquerading" in told
    with serving(attached, PORT):
        told = arrives(trace(daemon, OUTSIDE_V4, "node"))
        assert f"it arrives by {UPLINK}" in told
        assert f"port {PORT} leads to 10.213.0." in told
        assert f"which listens on tcp port {PORT}" in told


async def test_a_drop_in_another_table(daemon: Daemon, attached: Host, node: Host, outside: Host) -> None:
    """The chain, whose it is, and the rule are named; what is said to heal it does."""
    node.run('sh -c "iptables -N DOCKER-USER; iptables -A FORWARD -j DOCKER-USER"')
    node.run("iptables -A DOCKER-USER -i lo -j RETURN")
    node.run("iptables -A DOCKER-USER -p tcp --dport 8080 -j DROP")
    with serving(outside, PORT):
        assert unanswered(attached, OUTSIDE_V4, PORT)
        heal = ends(
            trace(daemon, "web", OUTSIDE_V4),
            "dropped by chain FORWARD of table ip filter (Docker), rule 2 of chain DOCKER-USER: tcp dport 8080 drop",
        )
        arrives(trace(daemon, "web", OUTSIDE_V4, port=PORT + 1))
        node.run(f'sh -c "{heal}"')
        assert ask(attached, OUTSIDE_V4, PORT)
        arrives(trace(daemon, "web", OUTSIDE_V4))


TO_ANOTHER = "-t nat -A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination 192.0.2.77"
EARLIER = "table ip theirs { chain c { type nat hook prerouting priority -150; tcp dport 8080 dnat to 192.0.2.77; }; }"
ELSEWHERE = {
    "translated by chain c of table ip theirs, rule 1": f"nft '{EARLIER}'",
    "it may be translated by chain PREROUTING of table ip nat, rule 1": f"iptables {TO_ANOTHER}",
    "it may be translated by chain PREROUTING of table ip nat of iptables-legacy": f"iptables-legacy {TO_ANOTHER}",
}


@pytest.mark.parametrize("words", ELSEWHERE)
async def test_a_port_that_somebody_else_translates(daemon: Daemon, attached: Host, node: Host, words: str) -> None:
    """Before netplumb, or maybe so, where both have the same priority. Where to is not followed; who, is told."""
    node.run(ELSEWHERE[words])
    with serving(attached, PORT):
        found = trace(daemon, OUTSIDE_V4, "node")
        assert found.outcome is Outcome.UNKNOWN
        assert words in found.why
        if not words.startswith("it may"):
            node.run(found.heal)
            arrives(trace(daemon, OUTSIDE_V4, "node"))


async def test_answers_that_are_dropped(daemon: Daemon, attached: Host, node: Host) -> None:
    rules = "table inet theirs { chain c { type filter hook forward priority 0; iifname up0 oifname np* drop; }; }"
    node.run(f"nft '{rules}'")
    ends(trace(daemon, "web", OUTSIDE_V4), "the answer is dropped by chain c of table inet theirs, rule 1")


@pytest.mark.parametrize("target", ["db", "node"])
async def test_isolation(client: AsyncClient, daemon: Daemon, attached: Host, db: Host, target: str) -> None:
    """By netplumb's own rules, as the wish has it."""
    await client.attach(attach(attached, isolate_workloads=True, isolate_node=True))
    ends(trace(daemon, "web", target), "dropped by netplumb", f"isolate_{'node' if target == 'node' else 'workloads'}")
    arrives(trace(daemon, "web", OUTSIDE_V4))


async def test_an_uplink_without_a_carrier(daemon: Daemon, attached: Host, node: Host, outside: Host) -> None:
    """It is up already, so that nobody is told to set it up."""
    outside.ip("link set eth0 down")
    await until(lambda: "NO-CARRIER" in node.link(UPLINK)["flags"], "the carrier is lost")
    heal = ends(trace(daemon, "web", OUTSIDE_V4), f"{UPLINK}, by which it should leave, has no carrier")
    assert "check its cable" in heal


async def test_ipv6_that_is_switched_off(daemon: Daemon, attached: Host, node: Host) -> None:
    """In the workload, and on the uplink."""
    (address,) = [it.partition("/")[0] for it in attached.addresses("eth0") if ":" in it]
    attached.set_sysctl("net/ipv6/conf/eth0/disable_ipv6", "1")
    heal = ends(trace(daemon, "web", OUTSIDE_V6), "web/eth0: there is no route", "IPv6 is switched off on eth0")
    node.run(heal)
    await until(lambda: bool(attached.default_route(6)), "the daemon puts its way out back", within_s=10)
    assert address in {it.partition("/")[0] for it in attached.addresses("eth0")}
    node.set_sysctl(f"net/ipv6/conf/{UPLINK}/disable_ipv6", "1")
    heal = ends(trace(daemon, "web", OUTSIDE_V6), "node: there is no route", f"IPv6 is switched off on {UPLINK}")
    assert f"sysctl -w net.ipv6.conf.{UPLINK}.disable_ipv6=0" in heal


async def test_a_workload_without_its_way_out(daemon: Daemon, attached: Host, node: Host) -> None:
    """While no daemon repairs it; what heals it does, by both families."""
    daemon.kill9()
    for version, target in ((4, OUTSIDE_V4), (6, OUTSIDE_V6)):
        attached.ip(f"-{version} route delete default")
        node.run(ends(trace(daemon, "web", target), "web/eth0: there is no route"))
        assert attached.default_route(version)


async def test_an_uplink_that_is_down(daemon: Daemon, attached: Host, node: Host, outside: Host) -> None:
    outside.ip("link set eth0 down")
    await until(lambda: "NO-CARRIER" in node.link(UPLINK)["flags"], "the carrier is lost")
    ends(trace(daemon, "web", OUTSIDE_V4), f"{UPLINK}, by which it should leave, has no carrier")
    outside.ip("link set eth0 up")
    node.ip(f"link set {UPLINK} down")
    heal = ends(trace(daemon, "web", "203.0.113.7"), "no route to 203.0.113.7", f"{UPLINK} is down")
    assert heal == f"ip link set {UPLINK} up, and its default route again"
    ends(trace(daemon, "node", OUTSIDE_V4), f"{UPLINK} is down")
    node.run(ends(trace(daemon, "web", OUTSIDE_V4), f"{UPLINK} is down"))
    arrives(trace(daemon, "web", OUTSIDE_V4))


@pytest.mark.parametrize("link", [UPLINK, "lo"])
@pytest.mark.parametrize(("source", "target"), [("web", "db"), ("node", "db"), ("db", OUTSIDE_V4), (OUTSIDE_V4, "db")])
async def test_an_address_of_a_workload_that_the_node_has(
    daemon: Daemon, attached: Host, db: Host, node: Host, link: str, source: str, target: str
) -> None:
    """Whoever sends there reaches the node, and what the workload sends is no more taken."""
    node.ip(f"address add 10.213.0.3/32 dev {link}")
    heal = ends(trace(daemon, source, target), f"10.213.0.3 is db/eth0, and the node has the same address on {link}")
    node.run(heal)
    with serving(db, PORT):
        arrives(trace(daemon, source, target))


async def test_an_address_of_the_pool_that_nobody_has(daemon: Daemon, attached: Host) -> None:
    """The default route leads out, where nobody has it either."""
    for ends_ in (("web", "10.213.0.200"), ("node", "10.213.0.200"), ("10.213.0.200", "web")):
        ends(trace(daemon, *ends_), "no workload has 10.213.0.200, of the pool 10.213.0.0/24")
    ends(trace(daemon, "web", "fd13::99", ipv6=True), "no workload has fd13::99")


@pytest.mark.parametrize("version", [4, 6])
async def test_no_default_route(daemon: Daemon, attached: Host, node: Host, version: int) -> None:
    far = "203.0.113.7" if version == 4 else "2001:db8:99::7"
    arrives(trace(daemon, "web", far))
    node.ip(f"-{version} route del default")
    heal = ends(trace(daemon, "web", far), f"node: there is no route to {far}")
    assert "route add default via GATEWAY" in heal
    daemon.pause()
    attached.ip(f"-{version} route del default")
    ends(trace(daemon, "web", far), f"web/eth0: there is no route to {far}")
    daemon.resume()


async def test_a_routing_rule(daemon: Daemon, attached: Host, node: Host) -> None:
    """One that ends a packet, and one that leads it elsewhere."""
    node.ip("rule add from 10.213.0.0/24 to 203.0.113.0/24 preference 900 prohibit")
    heal = ends(trace(daemon, "web", "203.0.113.7"), "from 10.213.0.0/24 to 203.0.113.0/24 prohibit` ends it")
    node.run(heal)
    arrives(trace(daemon, "web", "203.0.113.7"))
    node.ip("rule add from 10.213.0.0/24 to 203.0.113.0/24 preference 901 lookup 100")
    node.ip(f"route add default via {OUTSIDE_V4} table 100")
    told = arrives(trace(daemon, "web", "203.0.113.7"))
    assert "(table 100, by the rule `901: from 10.213.0.0/24 to 203.0.113.0/24 lookup 100`)" in told


ENDED = {
    "blackhole": "it is thrown away",
    "unreachable": "is unreachable",
    "prohibit": "prohibits it",
}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("kind", ENDED)
async def test_a_route_that_ends_the_way(daemon: Daemon, attached: Host, node: Host, kind: str, version: int) -> None:
    """In the main table, in another by a rule, and a rule itself, for what workloads send and for the node's own."""
    far, around = ("203.0.113.7", "203.0.113.0/24") if version == 4 else ("2001:db8:99::7", "2001:db8:99::/64")
    flag, asked = f"-{version}", {"ipv6": version == 6}
    node.ip(f"{flag} route add {kind} {around}")
    for source in ("web", "node"):
        heal = ends(trace(daemon, source, far, **asked), f"the route `{kind} {around}", "` ends it")
    node.run(heal)
    arrives(trace(daemon, "web", far, **asked))
    node.ip(f"{flag} rule add preference 900 lookup 77")
    node.ip(f"{flag} route add {kind} default table 77")
    words = f"`{kind} default table 77", "which the routing rule `900: from all lookup 77` leads to, ends it"
    node.run(ends(trace(daemon, "web", far, **asked), *words))
    arrives(trace(daemon, "web", far, **asked))
    node.ip(f"{flag} rule add to {around} preference 901 {kind}")
    node.run(ends(trace(daemon, "web", far, **asked), f"the routing rule `901: from all to {around} {kind}` ends it"))
    arrives(trace(daemon, "web", far, **asked))


async def test_a_route_that_ends_the_way_in_a_workload(daemon: Daemon, attached: Host, node: Host) -> None:
    attached.ip("rule add preference 900 to 203.0.113.0/24 lookup 77")
    attached.ip("route add prohibit 203.0.113.0/24 table 77")
    heal = ends(trace(daemon, "web", "203.0.113.7"), "web/eth0: the route `prohibit 203.0.113.0/24 table 77`", "900:")
    node.run(heal)
    arrives(trace(daemon, "web", "203.0.113.7"))


MARKING = {
    "nftables": "nft 'table ip m { chain p { type filter hook prerouting priority -150; ip daddr 203.0.113.7 "
    "meta mark set 0x7; }; }'",
    "iptables": "iptables -t mangle -A PREROUTING -d 203.0.113.7 -j MARK --set-mark 7",
    "iptables-legacy": "iptables-legacy -t mangle -A PREROUTING -d 203.0.113.7 -j MARK --set-mark 7",
    "a connection's": "iptables -t mangle -A PREROUTING -d 203.0.113.7 -j CONNMARK --restore-mark",
}


@pytest.mark.parametrize("by", MARKING)
async def test_a_way_that_depends_on_a_mark(daemon: Daemon, attached: Host, node: Host, by: str) -> None:
    """It is said that it is not known, and on what it depends; without a rule that asks for marks, and for packets that
    nobody marks, nothing does."""
    node.run(MARKING[by])
    arrives(trace(daemon, "web", "203.0.113.7"))
    node.ip("rule add fwmark 0x7 preference 900 lookup 77")
    node.ip("route add blackhole default table 77")
    found = trace(daemon, "web", "203.0.113.7")
    assert found.outcome is Outcome.UNKNOWN
    assert "its way depends on its mark" in found.why
    assert "then the routing rule `900: from all fwmark 0x7 lookup 77`" in found.why
    arrives(trace(daemon, "web", "203.0.113.8"))


async def test_a_drop_that_depends_on_a_mark(daemon: Daemon, attached: Host, node: Host) -> None:
    rules = "chain p { type filter hook prerouting priority -150; ip daddr 203.0.113.7 meta mark set 7; };"
    drops = "chain f { type filter hook forward priority 0; meta mark 7 drop; };"
    node.run(f"nft 'table ip m {{ {rules} {drops} }}'")
    found = trace(daemon, "web", "203.0.113.7")
    assert found.outcome is Outcome.UNKNOWN
    assert "may be dropped by chain f of table ip m" in found.why
    arrives(trace(daemon, "web", "203.0.113.8"))


DROPS_BY_DESTINATION = {
    "nftables": "nft 'table inet t { chain c { type filter hook forward priority 0; "
    "ip daddr 203.0.113.0/24 drop; }; }'",
    "iptables": "iptables -A FORWARD -d 203.0.113.0/24 -j DROP",
    "a set": "nft 'table inet t { set s { type ipv4_addr; flags interval; elements = { 203.0.113.0/24 }; }; "
    "chain c { type filter hook postrouting priority 0; ip daddr @s drop; }; }'",
}


@pytest.mark.parametrize("by", DROPS_BY_DESTINATION)
async def test_a_drop_by_destination_alone(daemon: Daemon, attached: Host, node: Host, by: str) -> None:
    node.run(DROPS_BY_DESTINATION[by])
    ends(trace(daemon, "web", "203.0.113.7"), "dropped by chain", "ip daddr")
    arrives(trace(daemon, "web", "198.51.100.7"))


async def test_the_reverse_path_filter(daemon: Daemon, attached: Host, node: Host, make_host: MakeHost) -> None:
    """What comes in by an uplink that the way back does not lead through."""
    second_uplink(node, make_host)
    node.set_sysctl("net/ipv4/conf/up1/rp_filter", "1")
    with serving(attached, PORT):
        heal = ends(trace(daemon, "203.0.113.7", "198.51.100.1"), "the reverse path filter drops it")
        assert "up1.rp_filter=2" in heal


async def test_the_workloads_own_firewall(daemon: Daemon, attached: Host, db: Host) -> None:
    """On its way out of one workload, and into another; what heals it is run where it helps."""
    attached.run("nft 'table ip own { chain o { type filter hook output priority 0; tcp dport 8080 drop; }; }'")
    heal = ends(trace(daemon, "web", "db"), "web/eth0: dropped by chain o of table ip own, rule 1: tcp dport 8080 drop")
    assert heal.startswith(f"nsenter --net={attached.path}")
    attached.run("nft flush ruleset")
    db.run("nft 'table ip own { chain i { type filter hook input priority 0; policy drop; }; }'")
    ends(trace(daemon, "web", "db"), "db/eth0: dropped by chain i of table ip own, policy drop")


OWN_FIREWALLS = {
    "a policy": "nft 'table inet own { chain i { type filter hook input priority 0; policy drop; }; }'",
    "a rule": "nft 'table ip own { chain i { type filter hook input priority 0; meta l4proto { tcp, icmp } drop; }; }'",
    "iptables": "iptables -P INPUT DROP",
}


@pytest.mark.parametrize("protocol", ["tcp", "icmp"])
@pytest.mark.parametrize("firewall", OWN_FIREWALLS)
async def test_what_heals_a_workloads_own_firewall(
    daemon: Daemon, attached: Host, db: Host, node: Host, firewall: str, protocol: str
) -> None:
    """In its namespace, where no link tells what is ours; the same whether it was followed or sent."""
    db.run(OWN_FIREWALLS[firewall])
    heal = ends(trace(daemon, "web", "db", protocol=protocol))
    assert ends(live(daemon, "web", "db", protocol=protocol)) == heal
    node.run(heal)
    with serving(db, PORT):
        arrives(trace(daemon, "web", "db", protocol=protocol))
        arrives(live(daemon, "web", "db", protocol=protocol))


async def test_the_heal_has_the_port_that_the_firewall_sees(
    client: AsyncClient, daemon: Daemon, web: Host, db: Host
) -> None:
    """Behind a mapped port that is the workload's, also of what was sent."""
    await client.attach(attach(web))
    await client.attach(attach(db, ports=(f"{PORT}:{PORT + 1}",)))
    db.run(OWN_FIREWALLS["a policy"])
    for found in (trace(daemon, "web", "node"), live(daemon, "web", "node")):
        assert f"tcp dport {PORT + 1} accept" in ends(found, "db/eth0: dropped by chain i of table inet own")


@pytest.mark.parametrize(("sent", "source"), [(False, "file/deny.yaml"), (True, "file/deny.yaml"), (False, "applied")])
async def test_a_network_policy(daemon: Daemon, attached: Host, node: Host, sent: bool, source: str) -> None:
    """It is named, and whose it is, a file's or one that was applied; nobody is told to change netplumb's own table."""
    if source == "applied":
        (daemon.data_dir / "deny.yaml").write_text(DENY_ALL)
        daemon.command("apply", "-f", str(daemon.data_dir / "deny.yaml"), f"--socket={daemon.socket}")
    else:
        declare(daemon, "deny.yaml", DENY_ALL)
    await until(lambda: "chain policy_ingress" in node.run("nft list table inet netplumb"), "it is enforced")
    told = f"the network policy default/deny ({source})"
    heal = ends(trace(daemon, "web", "db", live=sent), f"no rule of {told} allows this ingress")
    assert heal == f"netplumb policy explain 10.213.0.2 10.213.0.3 --port {PORT} --protocol tcp"


@pytest.mark.parametrize("target", ["node", "db"])
async def test_a_port_that_nobody_listens_on(daemon: Daemon, attached: Host, node: Host, target: str) -> None:
    ends(trace(daemon, "web", target, port=4711), "nobody listens on tcp port 4711", "a reset")
    ends(trace(daemon, "web", target, port=4711, protocol="udp"), "udp port 4711", "an ICMP error")


async def test_a_published_port_that_nobody_listens_on(daemon: Daemon, attached: Host, node: Host) -> None:
    """In the workload; and one that is not published, on the node."""
    ends(trace(daemon, OUTSIDE_V4, "node"), f"web/eth0: nobody listens on tcp port {PORT}")
    ends(trace(daemon, OUTSIDE_V4, "node", port=9), "node: nobody listens on tcp port 9")
    with serving(attached, PORT, at=("127.0.0.1",)):
        found = trace(daemon, OUTSIDE_V4, "node")
        heal = ends(
            found, f"web/eth0: nobody listens on tcp port {PORT} at 10.213.0.", "at the loopback 127.0.0.1 alone"
        )
        assert heal.startswith("have it listen at 10.213.0.")


PUBLISHED = {
    "at one address": ("192.0.2.9:9090:8080", "it is published for web/eth0 as 192.0.2.9:9090:8080/tcp"),
    "at the loopback": ("127.0.0.1:9090:8080", "it is published for web/eth0 as 127.0.0.1:9090:8080/tcp"),
    "for another protocol": ("9090:8080/udp", "it is published for web/eth0 as 9090:8080/udp"),
}


@pytest.mark.parametrize("otherwise", PUBLISHED)
@pytest.mark.parametrize("source", [OUTSIDE_V4, "db", "node"])
async def test_a_port_that_is_published_otherwise(
    client: AsyncClient, daemon: Daemon, attached: Host, otherwise: str, source: str
) -> None:
    """Than it is asked for: nobody is told to start a service on the node for it."""
    mapping, words = PUBLISHED[otherwise]
    await client.attach(attach(attached, ports=(mapping,)))
    heal = ends(trace(daemon, source, NODE_V4, port=9090), words, f"which does not mean tcp at {NODE_V4}")
    assert "publish it for tcp" in heal


@pytest.mark.parametrize("word", ["fe80::1", "fe80::1%eth0"])
async def test_an_address_of_one_link_is_none_to_trace(daemon: Daemon, attached: Host, word: str) -> None:
    """Every link has such ones, and no route tells which is meant."""
    with pytest.raises(InvalidRequest, match=f"{word} is an address of one link alone"):
        trace(daemon, "web", word)


async def test_a_next_hop_that_does_not_answer(daemon: Daemon, attached: Host, node: Host, outside: Host) -> None:
    """It is asked now, whatever the kernel knows of it: nothing, since nobody sent there, or that it failed, of one
    that is there again. So is a destination on the uplink's own network."""
    node.ip("route replace default via 192.0.2.77")
    node.ip("-6 route replace default via 2001:db8::77")
    ends(trace(daemon, "web", "203.0.113.7"), f"the next hop 192.0.2.77 on {UPLINK} does not answer ARP")
    ends(trace(daemon, "web", "2001:db8:1::7", ipv6=True), f"hop 2001:db8::77 on {UPLINK} does not answer neighbour")
    ends(trace(daemon, "node", "192.0.2.78"), f"node: 192.0.2.78 on {UPLINK} does not answer ARP")
    node.run("ping -c 1 -W 1 192.0.2.77", ok=False)

    def failed() -> bool:
        return "FAILED" in node.neighbours(UPLINK)["192.0.2.77"]["state"]

    await until(failed, "the node finds out", within_s=10)
    outside.ip("address add 192.0.2.77/24 dev eth0")
    arrives(trace(daemon, "web", "203.0.113.7"))


async def test_forwarding_that_is_off(daemon: Daemon, attached: Host, node: Host) -> None:
    node.set_sysctl(f"net/ipv4/conf/{UPLINK}/forwarding", "0")
    ends(trace(daemon, "web", OUTSIDE_V4), f"does not forward what arrives by {UPLINK}")


IN_THE_ATTACHMENT = ["address", "link", "node's end", "route", "loopback", "neighbour", "first hop", "namespace"]


@pytest.mark.parametrize("fault", IN_THE_ATTACHMENT)
async def test_what_is_broken_in_the_attachment(
    daemon: Daemon, attached: Host, db: Host, node: Host, fault: str
) -> None:
    """While no daemon repairs it."""
    daemon.terminate()
    link = node_if_name(AttachmentKey("db", "eth0"))
    match fault:
        case "address":
            (address,) = [it for it in db.addresses("eth0") if ":" not in it]
            db.ip(f"address del {address} dev eth0")
            words = "is no address of the workload any more"
        case "link":
            db.ip("link set eth0 down")
            words = f"the node's end {link} of db/eth0 has no carrier"
        case "node's end":
            node.ip(f"link set {link} down")
            words = f"the node's end {link} of db/eth0 is down"
        case "route":
            node.ip(f"-4 route flush dev {link}")
            words = "is db/eth0, and its route is missing"
        case "loopback":
            attached.ip("link set lo down")
            ends(trace(daemon, "web", "web"), "web/eth0: the loopback is down inside")
            return
        case "neighbour":
            (address,) = [it.partition("/")[0] for it in db.addresses("eth0") if ":" not in it]
            node.ip(f"neigh replace {address} lladdr 02:00:00:00:00:66 dev {link} nud permanent")
            words = f"node: {address} is sent to 02:00:00:00:00:66 by its neighbour entry on {link}, and eth0 has "
        case "first hop":
            attached.ip("neigh replace 169.254.77.1 lladdr 02:00:00:00:00:66 dev eth0 nud permanent")
            words = "web/eth0: 169.254.77.1 is sent to 02:00:00:00:00:66 by its neighbour entry on eth0, and np"
        case _:
            db.remake()
            words = "db/eth0 has no network namespace any more: another one is at"
    ends(trace(daemon, "web", "db"), words)


async def test_what_cannot_be_judged_is_not_called_certain(daemon: Daemon, attached: Host, node: Host) -> None:
    node.run(
        "nft 'table inet theirs { chain c { type filter hook forward priority 0; limit rate over 1/hour drop; }; }'"
    )
    found = trace(daemon, "web", OUTSIDE_V4)
    assert found.outcome is Outcome.UNKNOWN
    assert "may be dropped by chain c of table inet theirs, rule 1" in found.why
    assert "--live" in found.heal


async def test_the_command(daemon: Daemon, attached: Host, node: Host) -> None:
    """Its exit status tells how it came out, and a word that means nobody is told."""
    own = (f"--config={daemon.config}", f"--data-dir={daemon.data_dir}")
    done = run(daemon, "trace", "web", OUTSIDE_V4, *own)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "arrives"
    node.ip("route del default")
    assert run(daemon, "trace", "web", "203.0.113.7", *own).returncode == 1
    done = run(daemon, "trace", "nobody", OUTSIDE_V4, *own)
    assert done.returncode == 2
    assert "'nobody' is no workload" in done.stderr


NO_RIGHTS = ("setpriv", "--bounding-set=-all,+dac_override,+dac_read_search", "--inh-caps=-all", "--")


@pytest.mark.parametrize("flags", [(), ("--live",)])
async def test_without_rights_nothing_is_said_of_a_workload(
    daemon: Daemon, attached: Host, flags: tuple[str, ...]
) -> None:
    """That its namespace may not be entered is no fault of it."""
    own = (f"--config={daemon.config}", f"--data-dir={daemon.data_dir}")
    done = run(daemon, "trace", "web", "db", *own, *flags, rights=NO_RIGHTS)
    assert done.returncode == 2
    assert "web/eth0: cannot enter the network namespace: EPERM" in done.stdout
    assert "heal: run it as root" in done.stdout
    done = run(daemon, "trace", "node", OUTSIDE_V4, *own, *flags, rights=NO_RIGHTS)
    assert done.returncode == 2
    assert "EPERM: the kernel does not tell its ruleset; run it as root" in done.stderr


async def test_a_packet_cannot_be_sent_from_a_namespace_that_is_gone(daemon: Daemon, attached: Host) -> None:
    daemon.terminate()
    attached.remake()
    ends(trace(daemon, "web", "db", live=True), "web/eth0 has no network namespace any more")


async def test_a_workload_with_several_interfaces(start_daemon: StartDaemon, web: Host, outside: Host) -> None:
    """What carries the address of the second one leaves by that one."""
    daemon = await start_daemon()
    async with daemon.client() as client:
        await client.attach(attach(web))
        await client.attach(attach(web, if_name="eth1"))
        told = arrives(trace(daemon, "web/eth1", OUTSIDE_V4))
        assert "dev eth1 (table 78001" in told
        assert f"arrives by {node_if_name(AttachmentKey('web', 'eth1'))}" in told


# A packet that is sent.


def ends_there(found: Trace, *words: str) -> str:
    """It was seen to end; what was expected is not asked."""
    assert any(hop.seen and all(word in f"{hop.where}: {hop.what}" for word in words) for hop in found.hops), found
    return ends(found, *words)


@pytest.mark.parametrize(
    ("source", "target", "asked"), [(source, target, asked) for source, target, asked in WAYS if "ipv6" not in asked]
)
async def test_a_packet_that_is_sent_arrives(
    daemon: Daemon, attached: Host, db: Host, node: Host, outside: Host, source: str, target: str, asked: dict[str, Any]
) -> None:
    """And is answered, as what was expected of it."""
    with serving(attached, PORT), serving(db, PORT), serving(node, PORT), serving(outside, PORT):
        found = live(daemon, source, target, **asked)
    assert found.outcome is Outcome.ARRIVES, found
    assert found.why == "an answer came back"


JUMPING = (
    "table inet theirs { chain x { ip daddr 192.0.2.2 drop; };"
    " chain c { type filter hook prerouting priority -200; jump x; }; }"
)
LIVE_DROPS = {
    "a policy": (
        "iptables -N DOCKER-USER; iptables -A FORWARD -j DOCKER-USER; iptables -P FORWARD DROP",
        "node: dropped by chain FORWARD of table ip filter (Docker), policy drop",
    ),
    "a rule": (
        "iptables -A FORWARD -i lo -j ACCEPT; iptables -A FORWARD -o lo -j ACCEPT; iptables -A FORWARD -j REJECT",
        "node: dropped by chain FORWARD of table ip filter, rule 3: REJECT",
    ),
    "a rule that cannot be judged": (
        "nft 'table inet theirs { chain c { type filter hook forward priority 0; limit rate 1000/second drop; }; }'",
        "node: dropped by chain c of table inet theirs, rule 1",
    ),
    "a chain that is jumped to": (
        f"nft '{JUMPING}'",
        "node: dropped by chain c of table inet theirs, rule 1 of chain x",
    ),
}


@pytest.mark.parametrize("drop", LIVE_DROPS)
@pytest.mark.parametrize("protocol", ["tcp", "udp", "icmp"])
async def test_what_drops_a_packet_that_is_sent(
    daemon: Daemon, attached: Host, node: Host, outside: Host, drop: str, protocol: str
) -> None:
    """By the kernel's own word: chain, table, whose it is, and the rule's place."""
    lines, words = LIVE_DROPS[drop]
    node.run(f'sh -c "{lines}"')
    with serving(outside, PORT):
        heal = ends_there(live(daemon, "web", OUTSIDE_V4, protocol=protocol), words)
        assert "np+" in heal or "group" in heal, "by links of ours"
        node.run(f"sh -c '{heal}'")
        arrives(live(daemon, "web", OUTSIDE_V4, protocol=protocol))


async def test_what_a_workload_drops_itself(daemon: Daemon, attached: Host, db: Host) -> None:
    db.run("nft 'table ip own { chain i { type filter hook input priority 0; tcp dport 8080 drop; }; }'")
    ends_there(live(daemon, "web", "db"), "db/eth0: dropped by chain i of table ip own, rule 1: tcp dport 8080 drop")
    attached.run("nft 'table ip own { chain o { type filter hook output priority 0; policy drop; }; }'")
    ends_there(live(daemon, "web", "db"), "web/eth0: dropped by chain o of table ip own, policy drop")


async def test_an_answer_that_is_dropped_is_seen(daemon: Daemon, attached: Host, node: Host, outside: Host) -> None:
    rules = "table inet theirs { chain c { type filter hook forward priority 0; iifname up0 oifname np* drop; }; }"
    node.run(f"nft '{rules}'")
    with serving(outside, PORT):
        ends_there(
            live(daemon, "web", OUTSIDE_V4), "node: the answer is dropped by chain c of table inet theirs, rule 1"
        )


async def test_isolation_is_seen_live(client: AsyncClient, daemon: Daemon, attached: Host) -> None:
    await client.attach(attach(attached, isolate_workloads=True))
    ends_there(live(daemon, "web", "db"), "node: dropped by netplumb", "isolate_workloads")


async def test_a_port_that_refuses(daemon: Daemon, attached: Host) -> None:
    ends(live(daemon, "web", "db", port=4711), "nobody listens on port 4711 (ECONNREFUSED)")
    ends(live(daemon, "web", "db", port=4711, protocol="udp"), "nobody listens on port 4711 (ECONNREFUSED)")


async def test_a_packet_without_a_way(daemon: Daemon, attached: Host, node: Host) -> None:
    """What was expected of it tells why it is lost."""
    node.ip("route del default")
    ends(live(daemon, "web", "203.0.113.7"), "there is no route to 203.0.113.7")


async def test_an_address_of_the_node_that_another_has(daemon: Daemon, attached: Host, outside: Host) -> None:
    """Found by asking the network, which the kernel does not do for IPv4."""
    outside.ip(f"address add {NODE_V4}/32 dev eth0")
    ends(live(daemon, "web", OUTSIDE_V4), f"{NODE_V4} is had by another host on {UPLINK} too")


async def test_a_next_hop_that_two_hosts_have(
    daemon: Daemon, attached: Host, outside: Host, make_host: MakeHost
) -> None:
    """It is told, though an answer came back: the next one may not."""
    other = make_host("other")
    outside.ip("link add bridge0 type bridge")
    outside.ip("link add port type veth peer name eth0 netns other")
    for link in ("eth0", "port"):
        outside.ip(f"link set {link} master bridge0 up")
    for host, link in ((outside, "bridge0"), (other, "eth0")):
        host.ip(f"link set {link} up")
        host.ip(f"address add {OUTSIDE_V4}/24 dev {link}")
    outside.ip(f"address del {OUTSIDE_V4}/24 dev eth0")
    found = live(daemon, "web", OUTSIDE_V4, protocol="icmp")
    assert any(f"{OUTSIDE_V4} is had by 2 hosts on {UPLINK}" in hop.what for hop in found.hops), found


_FLOODS = """
import contextlib, socket, sys, time
flood = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    with contextlib.suppress(OSError):  # it is dropped
        flood.sendto(b"?", (sys.argv[1], 9))
    time.sleep(0.001)
"""


async def test_what_others_trace_is_not_taken_for_it(daemon: Daemon, attached: Host, node: Host, outside: Host) -> None:
    """Somebody else's packets are dropped and traced meanwhile."""
    rules = "udp dport 9 meta nftrace set 1; udp dport 9 drop"
    node.run(f"nft 'table inet theirs {{ chain c {{ type filter hook output priority 0; {rules}; }}; }}'")
    started = await asyncio.create_subprocess_exec(*node.command(sys.executable, "-c", _FLOODS, OUTSIDE_V4))
    try:
        with serving(outside, PORT):
            found = live(daemon, "web", OUTSIDE_V4)
    finally:
        started.kill()
        await started.wait()
    assert found.outcome is Outcome.ARRIVES, found


async def test_it_cannot_be_sent_as_somebody_outside(daemon: Daemon, attached: Host) -> None:
    with pytest.raises(InvalidRequest, match="--live sends from"):
        trace(daemon, OUTSIDE_V4, "node", live=True)


async def test_nothing_is_left_of_one_that_is_killed(daemon: Daemon, attached: Host, node: Host) -> None:
    """The kernel takes the table away with the process."""
    node.ip("route replace default via 192.0.2.77")  # where nobody answers, so that it waits
    words = ("trace", "web", "203.0.113.7", "--live", f"--config={daemon.config}", f"--data-dir={daemon.data_dir}")
    started = await asyncio.create_subprocess_exec(*node.command(str(COMMAND), *words), stdout=asyncio.subprocess.PIPE)
    await until(lambda: "netplumb_trace" in node.ruleset(), "it watches", within_s=20)
    started.kill()
    await started.wait()
    for host in (node, attached):
        assert "netplumb_trace" not in host.ruleset()
