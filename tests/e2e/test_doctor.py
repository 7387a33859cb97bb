"""The doctor finds what was broken, says how to heal it, and finds nothing when it is healed. Each fault is made in the
kernel, or where the tool in question keeps its settings."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.models.attachment import AttachmentKey
from netplumb.models.naming import node_if_name
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.rtnetlink.linkstates import read_neighbour_tables
from tests import namespaces
from tests.e2e.conftest import NODE_V4, NODE_V6, OUTSIDE_V4, OUTSIDE_V6, UPLINK, MakeHost, StartDaemon, second_uplink
from tests.e2e.daemons import Daemon
from tests.e2e.doctors import OF_THE_MACHINE, Said, descriptors, doctor, run, said_by_command, settings_of
from tests.e2e.hosts import Host, kernel_state
from tests.e2e.tenants import fill_with_flows
from tests.e2e.test_fighting import fighting
from tests.e2e.test_host_ports import process
from tests.e2e.waiting import until
from tests.e2e.wishes import attach

PORT = 8080


@pytest.fixture
async def attached(client: AsyncClient, web: Host) -> Host:
    """A workload with a mapped port."""
    await client.attach(attach(web, ports=(f"{PORT}:80",)))
    return web


async def test_a_healthy_node_has_no_finding(daemon: Daemon, attached: Host, node: Host) -> None:
    """It exits 0, and nothing is as much as touched."""
    before, ruleset, files = kernel_state(node, attached), node.ruleset(), written_at(daemon)
    assert said_by_command(daemon) == (0, Said([], []))
    assert run(daemon, "doctor", *settings_of(daemon)).stdout == "Nothing found.\n"
    assert kernel_state(node, attached) == before
    assert node.ruleset() == ruleset
    assert written_at(daemon) == files


async def test_a_daemon_with_pools_and_a_socket_of_its_own_is_healthy(
    daemon: Daemon, attached: Host, directory: Path
) -> None:
    """The socket is that of the settings file, and the pools are asked for where the file has not those."""
    assert attached.links()
    config = directory / "named.yaml"
    config.write_text(f"socket: {daemon.socket}\ndata_dir: {daemon.data_dir}\n")
    skipped = [f"--skip={name}" for name in OF_THE_MACHINE]
    done = run(daemon, "doctor", f"--config={config}", *skipped)
    assert (done.stdout, done.returncode) == ("Nothing found.\n", 0)


def written_at(daemon: Daemon) -> dict[Path, int]:
    """The store's files and when they were last written, less the memory file that its readers share. Those of events
    the daemon itself writes behind what happens."""
    kept = (it for it in daemon.data_dir.iterdir() if not it.name.endswith("-shm") and not it.name.startswith("events"))
    return {it: it.stat().st_mtime_ns for it in kept}


async def test_findings_are_told_to_people_and_to_scripts(daemon: Daemon, attached: Host, node: Host) -> None:
    """It exits 1. The command that heals stands on a line of its own."""
    node.ip("route del default")
    status, said = said_by_command(daemon)
    assert status == 1
    finding = said.one("no-default-route", "IPv4")
    assert f"via GATEWAY dev {UPLINK}" in finding["heal"]
    done = run(daemon, "doctor", *settings_of(daemon))
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert f"BROKEN  no-default-route: {finding['what']}" in lines
    assert f"  heal: {finding['heal']}" in lines
    assert lines[-1] == "1 found: 1 broken, 0 at risk."
    assert run(daemon, "doctor", *settings_of(daemon), "--skip=no-default-route").returncode == 0


FIREWALLD = "table inet firewalld { chain filter_FORWARD { type filter hook forward priority 10; policy drop; }; }"
ELSEWHERE = (
    "table ip theirs { chain pre { type nat hook prerouting priority -150; tcp dport 8080 dnat to 192.0.2.77; }; }"
)
SITE = "2001:db8:77::/48"
NODE_FAULTS = {
    "foreign-firewall": (
        "iptables -N DOCKER-USER; iptables -A FORWARD -j DOCKER-USER; iptables -P FORWARD DROP",
        "ip filter FORWARD (policy drop), which is Docker's, drops what workloads send out",
    ),
    "foreign-firewall by ufw": (
        "iptables -N ufw-reject; iptables -A ufw-reject -j DROP; iptables -A FORWARD -j ufw-reject",
        "in chain ufw-reject",
    ),
    "foreign-firewall by firewalld": (f"nft '{FIREWALLD}'", "which is firewalld's"),
    "foreign-firewall by a redirection": (
        "iptables -t nat -A PREROUTING -i np+ -p tcp -j REDIRECT --to-ports 3128",
        "REDIRECT) drops what workloads send out",
    ),
    "port-translated-elsewhere": (f"nft '{ELSEWHERE}'", "takes what is sent to mapped ports elsewhere"),
    "port-translated-elsewhere by iptables-legacy": (
        "iptables-legacy -t nat -A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination 192.0.2.77",
        "chain ip nat PREROUTING of iptables-legacy (rule 1: meta l4proto 6 tcp dport 8080 DNAT) may take",
    ),
    "not-tracked": (
        "nft 'table inet theirs { chain pre { type filter hook prerouting priority raw; iifgroup 28272 notrack; }; }'",
        "keeps from connection tracking, and so from translation, what workloads send out",
    ),
    "not-tracked by iptables-legacy": (
        "iptables-legacy -t raw -A PREROUTING -s 10.213.0.0/24 -j CT --notrack",
        "chain ip raw PREROUTING of iptables-legacy (rule 1: ip saddr 10.213.0.0/24 notrack) keeps from",
    ),
    "source-translated-elsewhere": (
        "iptables -t nat -A POSTROUTING -s 10.213.0.0/24 -o up0 -j SNAT --to-source 192.0.2.55",
        "what workloads send out a source of its own choice",
    ),
    "ipsec": (
        "ip xfrm policy add src 10.213.0.0/24 dst 0.0.0.0/0 dir fwd action block",
        "`src 10.213.0.0/24 dst 0.0.0.0/0 dir fwd` blocks packets of workloads",
    ),
    "ipsec by a tunnel to a site": (
        f"ip xfrm policy add src fd13::/64 dst {SITE} dir out tmpl src {NODE_V6} dst {OUTSIDE_V6} proto esp",
        f"`src fd13::/64 dst {SITE} dir out` takes into IPsec packets of workloads",
    ),
    "arp-ignored": ("sysctl -w net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.arp_ignore"),
    "uplink-down": (f"ip link set {UPLINK} down", f"interface {UPLINK} is down"),
    "uplink-gone": (f"ip link del {UPLINK}", "no interface of the node has an address"),
    "no-default-route": ("ip route del default", "no default route for IPv4"),
    "no-default-route but in a table of others": (
        f"ip rule add from 192.0.2.1 lookup 9; ip route add default dev {UPLINK} table 9; ip route del default",
        "no default route for IPv4",
    ),
    "no-default-route of IPv6": ("ip -6 route del default", "no default route for IPv6"),
    "forwarding-off by an interface": (f"sysctl -w net.ipv4.conf.{UPLINK}.forwarding=0", f"arrive by {UPLINK}"),
    "pool-overlap": ("ip route add 10.213.0.128/26 via 192.0.2.2", "10.213.0.0/24 overlaps the node's route"),
    "policy-routing": (
        "ip rule add from 10.213.0.0/24 preference 900 prohibit",
        "from 10.213.0.0/24 prohibit` ends what workloads send",
    ),
    "policy-routing by a route of another table": (
        "ip rule add from 10.213.0.0/24 preference 900 lookup 9; ip route add blackhole default table 9",
        "`blackhole default table 9`, which the routing rule `900: from 10.213.0.0/24 lookup 9` leads to, ends all",
    ),
    "policy-routing by a route of another table to somewhere": (
        "ip rule add preference 900 lookup 9; ip route add prohibit 203.0.113.0/24 table 9",
        "`prohibit 203.0.113.0/24 table 9`, which the routing rule `900: from all lookup 9` leads to, ends what",
    ),
    "policy-routing by the default route": (
        "ip -6 route del default; ip -6 route add unreachable default metric 2048",
        "the route `unreachable default metric 2048` ends all that workloads send beyond the node",
    ),
    "address-taken": (f"ip address add {{web}} dev {UPLINK}", "which is the node's own"),
}


LOST_IPV6 = {
    "a link that fell": f"ip link set {UPLINK} down; ip link set {UPLINK} up; ip route add default via {OUTSIDE_V4}",
    "an address that is gone": f"ip -6 address flush dev {UPLINK} scope global; ip -6 route del default",
    "a switch": f"sysctl -qw net.ipv6.conf.{UPLINK}.disable_ipv6=1",
}


@pytest.mark.parametrize("loss", LOST_IPV6)
async def test_a_node_that_lost_its_ipv6(daemon: Daemon, attached: Host, node: Host, loss: str) -> None:
    """Once a workload sends there in vain: a node may well be without."""
    node.run(f"sh -c '{LOST_IPV6[loss]} || true'")
    if loss != "a link that fell":  # in vain is also what others on that link say to all while it comes up
        assert not doctor(daemon).of("no-ipv6")
    attached.run("ping -c 1 -W 1 2001:db8:99::7", ok=False)
    assert f"IPv4 leaves by {UPLINK}" in doctor(daemon).one("no-ipv6")["what"]


@pytest.mark.parametrize(
    "harmless",
    [
        "ip route add blackhole default metric 4000",
        "ip route add blackhole 203.0.113.0/24",
        "ip rule add fwmark 7 lookup 9; ip route add blackhole default table 9",
        "ip rule add from 198.51.100.0/24 lookup 9; ip route add blackhole default table 9",
        "ip rule add preference 40000 lookup 9; ip route add blackhole default table 9",
    ],
)
async def test_an_ended_way_that_no_workload_takes(daemon: Daemon, attached: Host, node: Host, harmless: str) -> None:
    """Or that people end on purpose, in the table where all do."""
    node.run(f'sh -c "{harmless}"')
    assert not doctor(daemon).of("policy-routing")


HEALED = [
    "foreign-firewall",
    "foreign-firewall by ufw",
    "foreign-firewall by a redirection",
    "port-translated-elsewhere by iptables-legacy",
    "not-tracked",
    "not-tracked by iptables-legacy",
    "source-translated-elsewhere",
    "ipsec",
    "arp-ignored",
    "no-default-route",
    "policy-routing",
    "policy-routing by a route of another table to somewhere",
]


@pytest.mark.parametrize("fault", NODE_FAULTS)
async def test_a_fault_of_the_node_is_found(daemon: Daemon, attached: Host, node: Host, fault: str) -> None:
    """With its cause, in words that name the object."""
    check = fault.partition(" ")[0]
    lines, words = NODE_FAULTS[fault]
    (address,) = [it for it in attached.addresses("eth0") if ":" not in it]
    assert not doctor(daemon).of(check)
    node.run(f'sh -c "{lines.replace("{web}", address)}"')
    said = doctor(daemon)
    assert any(words in it["what"] for it in said.of(check)), said


@pytest.mark.parametrize("fault", HEALED)
async def test_what_heals_a_fault_heals_it(daemon: Daemon, attached: Host, node: Host, fault: str) -> None:
    """The command does it, where it can be known to the last word."""
    check = fault.partition(" ")[0]
    node.run(f'sh -c "{NODE_FAULTS[fault][0]}"')
    for finding in doctor(daemon).of(check):
        heal = (
            finding["heal"]
            .replace("GATEWAY", OUTSIDE_V4)
            .partition("; and see")[0]
            .rpartition("take the rule away: ")[2]
            .rpartition("uplink's address: ")[2]
            .rpartition("is not meant: ")[2]
            .rpartition("such workloads: ")[2]
            .partition(", and set it")[0]
        )
        node.run(f'sh -c "{heal}"')
    assert not doctor(daemon).of(check)


async def test_an_interface_on_top_of_a_workloads_link(
    daemon: Daemon, client: AsyncClient, attached: Host, node: Host
) -> None:
    """The daemon tells of it, and what it does about it is as desired."""
    link = (await client.get(attached.name)).node_if_name
    node.ip(f"link add mv0 link {link} type macvlan mode bridge")
    await until(lambda: "mv0" in node.ruleset(), "what comes in by it is dropped")
    said = doctor(daemon)
    assert any("macvlan mv0 is on top" in it["what"] for it in said.findings), said
    assert not said.of("not-as-desired")
    node.ip("link delete mv0")
    await until(lambda: "mv0" not in node.ruleset(), "it is over")
    assert not doctor(daemon).findings


async def test_an_uplink_without_a_carrier(daemon: Daemon, attached: Host, node: Host, outside: Host) -> None:
    outside.ip("link set eth0 down")
    await until(lambda: "NO-CARRIER" in node.link(UPLINK)["flags"], "the carrier is lost")
    doctor(daemon).one("uplink-down", f"the uplink {UPLINK} has no carrier")


@pytest.mark.parametrize(("version", "gateway"), [(4, "192.0.2.77"), (6, "2001:db8::77"), (6, "fe80::77")])
async def test_a_gateway_that_is_not_there(
    daemon: Daemon, attached: Host, node: Host, version: int, gateway: str
) -> None:
    """Also where nothing was sent there lately, so that the kernel knows nothing of it."""
    node.ip(f"-{version} route replace default via {gateway} dev {UPLINK}")
    said = doctor(daemon).one("gateway-silent", f"the gateway {gateway} on {UPLINK}, of the default route, does not")
    assert said["severity"] == "broken"


async def test_a_gateway_that_answers(daemon: Daemon, attached: Host, node: Host, outside: Host) -> None:
    """By IPv6 too, by a link-local address too; and one that is not there behind a route that is not used is no more
    than a risk."""
    (link_local,) = [
        it["local"] for it in outside.ip("-6 address show dev eth0 scope link")[0]["addr_info"] if "local" in it
    ]
    node.ip(f"-6 route replace default via {link_local} dev {UPLINK}")
    assert not doctor(daemon).of("gateway-silent")
    node.ip(f"route add default via 192.0.2.77 dev {UPLINK} metric 900")
    node.ip("route add 198.51.100.0/24 via 192.0.2.78")
    said = doctor(daemon)
    assert said.one("gateway-silent", "192.0.2.77", "that another comes before")["severity"] == "risk"
    assert said.one("gateway-silent", "192.0.2.78", "of the route to 198.51.100.0/24")["severity"] == "risk"


async def test_a_duplicate_address_that_the_kernel_found(daemon: Daemon, node: Host, outside: Host) -> None:
    outside.ip("address add 2001:db8::66/64 dev eth0 nodad")
    node.ip(f"address add 2001:db8::66/64 dev {UPLINK}")

    def failed() -> bool:
        (link,) = node.ip(f"address show dev {UPLINK}")
        return any(it.get("dadfailed") for it in link["addr_info"])

    await until(failed, "the kernel finds the duplicate", within_s=10)
    doctor(daemon).one("duplicate-address", "2001:db8::66", UPLINK)


async def test_a_duplicate_address_of_ipv4(daemon: Daemon, attached: Host, node: Host, outside: Host) -> None:
    """Which the kernel does not look for; a second interface of the node on the same network is nobody else."""
    node.ip("link add up1 type veth peer name br1 netns outside")
    outside.ip("link add br0 type bridge")
    for link in ("eth0", "br1"):
        outside.ip(f"link set {link} master br0")
        outside.ip(f"link set {link} up")
    outside.ip("link set br0 up")
    node.ip("link set up1 up")
    assert not doctor(daemon).of("duplicate-address")
    outside.ip(f"address add {NODE_V4}/32 dev br0")
    said = doctor(daemon).one("duplicate-address", f"has the node's address {NODE_V4} too", UPLINK)
    assert f"ip address del {NODE_V4}/24 dev {UPLINK}" in said["heal"]


async def test_a_published_address_that_the_node_lacks(daemon: Daemon, client: AsyncClient, attached: Host) -> None:
    await client.attach(attach(attached, ports=("127.0.0.1:8080:80", f"{NODE_V4}:8081:80")))
    assert not doctor(daemon).of("host-address-missing")
    await client.attach(attach(attached, ports=("192.0.2.9:8080:80",)))
    doctor(daemon).one("host-address-missing", "web/eth0 has 192.0.2.9:8080:80/tcp published")


async def test_strict_reverse_path_filtering_on_a_second_uplink(
    daemon: Daemon, node: Host, make_host: MakeHost
) -> None:
    """On the first it is harmless, and so it is not told of."""
    second_uplink(node, make_host)
    node.ip("route add default via 198.51.100.2 dev up1 metric 100")
    node.set_sysctl(f"net/ipv4/conf/{UPLINK}/rp_filter", "1")
    assert not doctor(daemon).of("reverse-path-filter")
    node.set_sysctl("net/ipv4/conf/up1/rp_filter", "1")
    doctor(daemon).one("reverse-path-filter", "strict on up1")


async def test_a_node_that_answers_no_arp(daemon: Daemon, attached: Host, node: Host, outside: Host) -> None:
    """Nobody finds it who does not know its MAC already."""
    for where in ("all", UPLINK):
        node.set_sysctl(f"net/ipv4/conf/{where}/arp_ignore", "8")
        outside.ip("neighbour flush all")
        assert not outside.ping("192.0.2.1")
        node.run(doctor(daemon).one("arp-ignored", f"for none of its addresses on {UPLINK}")["heal"])
        assert outside.ping("192.0.2.1")
        assert not doctor(daemon).of("arp-ignored")


async def test_strict_reverse_path_filtering_beside_a_route_that_leads_elsewhere(
    daemon: Daemon, node: Host, outside: Host, make_host: MakeHost
) -> None:
    """Many a node has both, and means it: told is only where something was dropped so."""
    second_uplink(node, make_host)
    node.ip("route add 203.0.113.0/24 via 198.51.100.2 dev up1")
    node.set_sysctl(f"net/ipv4/conf/{UPLINK}/rp_filter", "1")
    assert not doctor(daemon).of("reverse-path-filter")
    outside.ip("address add 203.0.113.7/32 dev lo")
    assert not outside.ping("192.0.2.1", source="203.0.113.7")
    found = doctor(daemon).one("reverse-path-filter", f"strict on {UPLINK}, routes lead to 203.0.113.0/24 by up1")
    node.run(found["heal"])
    assert not doctor(daemon).of("reverse-path-filter")


async def test_strict_filtering_where_a_rule_leads_out(
    daemon: Daemon, attached: Host, node: Host, make_host: MakeHost
) -> None:
    """By a table of its own: what is sent to a port published there is dropped, since the way back of a translated
    packet is the main table's. A bridge of others, which nobody comes in by, is none of that."""
    beyond = make_host("beyond")
    node.ip("link add up1 type veth peer name eth0 netns beyond")
    node.ip("link add docker0 type bridge")
    for link, address in (("up1", "198.51.100.1/24"), ("docker0", "172.17.0.1/16")):
        node.ip(f"link set {link} up")
        node.ip(f"address add {address} dev {link}")
        node.set_sysctl(f"net/ipv4/conf/{link}/rp_filter", "1")
    node.ip("rule add from 198.51.100.1 lookup 100")
    beyond.ip("link set eth0 up")
    beyond.ip("address add 198.51.100.2/24 dev eth0")
    beyond.ip("address add 203.0.113.7/32 dev lo")
    beyond.ip("route add default via 198.51.100.1 src 203.0.113.7")
    node.ip("route add default via 198.51.100.2 dev up1 table 100")
    (finding,) = doctor(daemon).of("reverse-path-filter")
    assert "strict on up1" in finding["what"]
    node.run(finding["heal"].partition(" (and")[0])
    assert not doctor(daemon).of("reverse-path-filter")


async def test_a_path_that_takes_less(
    start_daemon: StartDaemon, node: Host, outside: Host, make_host: MakeHost
) -> None:
    """As the node found out with a packet of its own; and a setting that the uplink cannot keep."""
    farther = make_host("farther")
    outside.ip("link add far type veth peer name eth0 netns farther")
    for host, link, address in ((outside, "far", "203.0.113.1/24"), (farther, "eth0", "203.0.113.7/24")):
        host.ip(f"link set {link} mtu 1400 up")
        host.ip(f"address add {address} dev {link}")
    farther.ip("route add default via 203.0.113.1")
    outside.set_sysctl("net/ipv4/ip_forward", "1")
    daemon = await start_daemon(flags="--mtu 1600")
    said = doctor(daemon, mtu=1600)
    said.one("mtu", "the setting mtu is 1600", "takes 1500")

    def found_out() -> bool:
        node.run("ping -c 1 -W 1 -M do -s 1472 203.0.113.7", ok=False)
        return "mtu 1400" in node.run("ip route show cache")

    await until(found_out, "the node is told of the smaller MTU", within_s=10)
    doctor(daemon, mtu=1600).one("mtu", "the way to 203.0.113.7 takes packets of 1400 bytes")


async def test_a_process_on_a_mapped_port(daemon: Daemon, attached: Host, node: Host) -> None:
    with process(node, "tcp", "0.0.0.0") as pid:
        doctor(daemon).one("host-port-in-use", f"tcp port {PORT}", f"process {pid}", "web/eth0")


async def test_parameters_of_a_workload(daemon: Daemon, client: AsyncClient, web: Host) -> None:
    await client.attach(attach(web, sysctls={"net.core.somaxconn": "512"}))
    daemon.pause()
    web.set_sysctl("net/core/somaxconn", "64")
    web.set_sysctl("net/ipv6/conf/eth0/disable_ipv6", "1")
    said = doctor(daemon)
    said.one("workload-sysctl", "net.core.somaxconn=512 and has 64")
    said.one("workload-sysctl", "IPv6 switched off inside")
    daemon.resume()


async def test_a_pool_that_is_nearly_given_out(start_daemon: StartDaemon, make_host: MakeHost) -> None:
    daemon = await start_daemon(pools=("10.213.0.0/29",))
    async with daemon.client() as client:
        for number in range(4):
            await client.attach(attach(make_host(f"w{number}")))
        assert not doctor(daemon).of("pool-nearly-full")
        await client.attach(attach(make_host("last")))
        doctor(daemon).one("pool-nearly-full", "10.213.0.0/29", "5 of 5")


# The daemon itself.


async def test_a_daemon_that_is_down(daemon: Daemon, attached: Host, node: Host) -> None:
    """It is the first that is said, and everything else is looked at all the same: what is missing is named."""
    daemon.kill9()
    attached.ip("route del default")
    said = doctor(daemon)
    assert said.findings[0]["check"] == "daemon-down"
    said.one("not-as-desired", "web/eth0", "+ route default via 169.254.77.1")
    assert not said.unread


async def test_what_the_daemon_is_about_to_repair_is_no_finding(
    daemon: Daemon, attached: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What differs is looked at again a moment later, as long as somebody repairs."""
    daemon.pause()
    attached.ip("route del default")
    assert doctor(daemon).of("not-as-desired")
    monkeypatch.setattr("netplumb.reconciler.doctor.reading.time.sleep", lambda _: _repaired(daemon, attached))
    assert not doctor(daemon).of("not-as-desired")


def _repaired(daemon: Daemon, attached: Host) -> None:
    daemon.resume()
    while not attached.default_route(4):
        pass


async def test_a_daemon_that_is_down_and_its_store_lost(daemon: Daemon, attached: Host) -> None:
    """Desired state is read from the kernel's marks then."""
    daemon.terminate()
    for path in daemon.data_dir.glob("netplumb.db*"):
        path.unlink()
    attached.ip("route del default")
    said = doctor(daemon)
    said.one("store", "is missing", "1 attachments")
    said.one("not-as-desired", "web/eth0", "+ route default via 169.254.77.1")
    assert not list(daemon.data_dir.glob("netplumb.db*")), "none is made"


async def test_a_daemon_that_is_stopped(daemon: Daemon) -> None:
    daemon.pause()
    doctor(daemon).one("daemon-down", f"process {daemon.process.pid}", "is stopped")
    daemon.resume()


async def test_a_daemon_that_does_not_answer(daemon: Daemon, directory: Path) -> None:
    """It runs, and not where it is looked for; whoever it is that is asked there."""
    doctor(daemon, socket=directory / "nobody.sock").one(
        "daemon-silent", f"process {daemon.process.pid}", "nobody.sock"
    )


async def test_a_loopback_without_ipv6(daemon: Daemon, attached: Host, node: Host) -> None:
    """With the switch that is to blame; what follows from it is no finding of its own."""
    node.set_sysctl("net/ipv6/conf/lo/disable_ipv6", "1")
    await until(lambda: doctor(daemon).of("ipv6-off"), "the daemon has seen it", within_s=10)
    said = doctor(daemon)
    assert "net.ipv6.conf.lo.disable_ipv6" in said.one("ipv6-off")["what"]
    node.run(said.one("ipv6-off")["heal"])
    await until(lambda: not doctor(daemon).findings, "all is well again", within_s=10)


async def test_settings_that_are_wrong(daemon: Daemon) -> None:
    """They are told, and the rest is looked at by the defaults."""
    daemon.config.write_text('{"pools": ["10.213.0.0/24"], "mtu": "much"}')
    status, said = said_by_command(daemon)
    assert status == 1
    said.one("settings", "mtu")
    assert not said.of("daemon-down")


async def test_what_only_the_daemon_knows(daemon: Daemon, client: AsyncClient) -> None:
    """Such as a state file that it cannot read."""
    (daemon.state_files / "web.yaml").write_text("kind: Attachment\nworkload: web\n")

    async def told() -> bool:
        return any("web.yaml" in it.message for it in (await client.status()).conditions)

    await until(told, "the daemon says so", within_s=10)
    assert "web.yaml" in doctor(daemon).one("condition")["what"]


async def test_an_attachment_that_cannot_be(daemon: Daemon, client: AsyncClient) -> None:
    (daemon.state_files / "db.yaml").write_text("kind: Attachment\nworkload_id: db\nnetns: {name: nowhere}\n")

    async def pending() -> bool:
        return any([it.phase == "Pending" async for it in client.list()])

    await until(pending, "it waits for its namespace", within_s=10)
    doctor(daemon).one("not-attached", "db/eth0 is Pending", "nowhere")


# Other tools, by the files that they read.


@contextmanager
def written(path: Path, text: str) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    try:
        yield
    finally:
        path.unlink()


@contextmanager
def playing(node: Host, directory: Path, name: str) -> Iterator[None]:
    """A process of the node that is called so."""
    program = directory / name
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen(node.command(str(program), "600")) as started:
        try:
            comm = Path(f"/proc/{started.pid}/comm")
            while comm.read_text().strip() != name[:15]:
                pass  # nsenter becomes it
            yield
        finally:
            started.kill()


async def test_systemd_networkd(daemon: Daemon, attached: Host, node: Host, directory: Path) -> None:
    """It removes routes and rules that are not its own unless told not to, and takes links that its files match."""
    with playing(node, directory, "systemd-networkd"):
        assert len(doctor(daemon).of("networkd-foreign")) == 2
        no = "[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n"
        with written(Path("/run/systemd/networkd.conf.d/netplumb.conf"), no):
            assert not doctor(daemon).findings
            with written(Path("/run/systemd/network/20-all.network"), "[Match]\nType=ether\n[Network]\nDHCP=yes\n"):
                doctor(daemon).one("networkd-claims", "/run/systemd/network/20-all.network")
                unmanaged = "[Match]\nName=np*\n[Link]\nUnmanaged=yes\n"
                with written(Path("/run/systemd/network/00-netplumb.network"), unmanaged):
                    assert not doctor(daemon).findings


async def test_network_manager(daemon: Daemon, attached: Host, node: Host, directory: Path) -> None:
    with playing(node, directory, "NetworkManager"):
        doctor(daemon).one("networkmanager-claims")
        left = "[keyfile]\nunmanaged-devices=interface-name:docker0;interface-name:np*\n"
        with written(Path("/run/NetworkManager/conf.d/netplumb.conf"), left):
            assert not doctor(daemon).findings
        rule = 'ENV{ID_NET_DRIVER}=="veth", ENV{NM_UNMANAGED}="1"\n'
        with written(Path("/run/udev/rules.d/85-nm-unmanaged.rules"), rule):
            assert not doctor(daemon).findings


async def test_udev(daemon: Daemon, attached: Host, node: Host) -> None:
    """A file that sets workloads' links is told of, and so is a link that was renamed."""
    with written(Path("/run/systemd/network/10-mtu.link"), "[Match]\nDriver=veth\n[Link]\nMTUBytes=9000\n"):
        doctor(daemon).one("udev-renames", "/run/systemd/network/10-mtu.link", "MTUBytes")
    (name,) = [name for name in node.links() if name.startswith("np")]
    daemon.pause()
    node.ip(f"link set {name} down name ens7")
    doctor(daemon).one("udev-renames", "web is called ens7")
    daemon.resume()


async def test_a_queue_of_others_on_a_workload_s_link(
    daemon: Daemon, client: AsyncClient, attached: Host, node: Host
) -> None:
    """It lets nothing pass here; with a limit that the workload has, the queue is netplumb's."""
    (name,) = [name for name in node.links() if name.startswith("np")]
    node.run(f"tc qdisc replace dev {name} root tbf rate 1kbit burst 10 latency 1ms")
    assert not node.ping("10.213.0.2")
    found = doctor(daemon).one(
        "foreign-queue", f"web/eth0 receives goes through a queue that is not netplumb's (tbf on {name})"
    )
    node.run(found["heal"].partition("meant: ")[2])
    assert node.ping("10.213.0.2")
    await client.attach(attach(attached, bandwidth=pb.Bandwidth(ingress_rate=10_000_000, ingress_burst=1_000_000)))
    assert not doctor(daemon).of("foreign-queue")


async def test_a_file_that_switches_forwarding_off(daemon: Daemon) -> None:
    """The last one wins."""
    with written(Path("/run/sysctl.d/90-router.conf"), "# hardening\nnet.ipv4.ip_forward = 0\n"):
        doctor(daemon).one("sysctl-file", "/run/sysctl.d/90-router.conf sets net.ipv4.ip_forward to 0")
        with written(Path("/run/sysctl.d/99-netplumb.conf"), "net/ipv4/ip_forward=1\n"):
            assert not doctor(daemon).findings


async def test_forwarding_that_is_off_and_fought_over(
    daemon: Daemon, client: AsyncClient, attached: Host, node: Host
) -> None:
    """Off is seen while nobody repairs it; who undoes each repair is told of by the daemon."""
    daemon.pause()
    node.set_sysctl("net/ipv4/ip_forward", "0")
    doctor(daemon).one("forwarding-off", "no IPv4 packets")
    daemon.resume()
    with fighting(node, "sysctl", "net/ipv4/ip_forward", "0"):

        async def fought() -> bool:
            return any(it.type == "Fighting" for it in (await client.status()).conditions)

        await until(fought, "the daemon sees that somebody undoes it", within_s=30)
        assert "ip_forward" in doctor(daemon).one("fought-over")["what"]


async def test_a_route_that_is_fought_over(daemon: Daemon, client: AsyncClient, attached: Host, node: Host) -> None:
    """Of an attachment it is told as of the node."""
    route = next(it for it in (await client.get("web")).addresses if ":" not in it)
    with fighting(node, "route", node_if_name(AttachmentKey("web", "eth0")), route):

        async def fought() -> bool:
            return bool((await client.get("web")).unmet)

        await until(fought, "the daemon sees that somebody undoes it", within_s=30)
        assert f"route {route}/32" in doctor(daemon).one("fought-over", "web/eth0: Fighting: ")["what"]


# The machine.


async def test_a_disk_that_is_full(daemon: Daemon, node: Host, directory: Path) -> None:
    place = directory / "small"
    place.mkdir()
    node.run(f"mount -t tmpfs -o size=1m small {place}")
    try:
        assert not doctor(daemon, data_dir=place, skip=("clock",)).of("disk")
        (place / "filler").write_bytes(bytes(1020 << 10))
        doctor(daemon, data_dir=place, skip=("clock",)).one("disk", "full")
        with namespaces.read_only(place):
            doctor(daemon, data_dir=place, skip=("clock",)).one("disk", "read-only")
    finally:
        namespaces.unmount(place)


async def test_descriptors_of_the_daemon(daemon: Daemon) -> None:
    assert not doctor(daemon, skip=("clock",)).of("descriptors")
    used = descriptors(daemon.process.pid)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (used + 4, used + 4))
    doctor(daemon, skip=("clock",)).one("descriptors", "the daemon has", f"of {used + 4} file descriptors")


async def test_a_neighbour_table_that_is_nearly_full(daemon: Daemon, node: Host, directory: Path) -> None:
    """Entries that the kernel may throw away count, ours are none of them."""
    with node.enter(), Channel() as channel:
        most = next(it.most for it in read_neighbour_tables(channel) if it.version == 4)
    first, count = ip_address("198.18.0.0"), most * 82 // 100
    batch = directory / "neighbours"
    batch.write_text(
        "".join(f"neigh add {first + n} lladdr 02:00:00:00:00:01 dev {UPLINK} nud stale\n" for n in range(1, count + 1))
    )
    assert not doctor(daemon).of("neighbours-full")
    node.run(f"ip -batch {batch}")
    found = doctor(daemon).one("neighbours-full", "the ARP table has", f"of {most} entries")
    assert int(found["what"].split()[4]) >= count
    node.ip(f"neigh flush dev {UPLINK}")
    assert not doctor(daemon).of("neighbours-full")


@pytest.mark.sweep
async def test_a_connection_table_that_is_nearly_full(daemon: Daemon, attached: Host, node: Host) -> None:
    """A workload that sends to one port after the other. How many there may be is the machine's, and counted for each
    namespace."""
    most = int(node.sysctl("net/netfilter/nf_conntrack_max"))
    assert not doctor(daemon).of("conntrack-full")
    node.set_sysctl("net/netfilter/nf_conntrack_udp_timeout", "600")
    fill_with_flows(attached, "10.213.0.1", most * 85 // 100)
    doctor(daemon).one("conntrack-full", "the kernel tracks", f"of {most} connections")


async def test_inotify_instances_that_are_nearly_used_up(daemon: Daemon) -> None:
    """Here of a user namespace with a limit of its own, 8; instances of others outside do not count for it."""
    holding = (
        "import ctypes, os, sys; open('/proc/sys/user/max_inotify_instances', 'w').write('8'); "
        "[ctypes.CDLL(None).inotify_init() for _ in range(7)]; os.execv(sys.argv[1], sys.argv[1:])"
    )
    within = ("unshare", "--user", "--map-root-user", sys.executable, "-c", holding)
    said = run(daemon, "doctor", f"--config={daemon.config}", f"--socket={daemon.socket}", rights=within).stdout
    assert "7 of 8 inotify instances of this user are in use" in said


async def test_another_network_that_runtimes_take_first(daemon: Daemon) -> None:
    """Of the folder they take the first by name; what is in it on this machine is out of the way meanwhile."""
    with covered(Path("/etc/cni")) as place:
        networks = place / "net.d"
        networks.mkdir()
        (networks / "20-netplumb.conflist").write_text("{}")
        (networks / "87-podman-bridge.conflist").write_text("{}")
        assert not doctor(daemon).of("cni-order")
        (networks / "10-calico.conflist").write_text("{}")
        found = doctor(daemon).one("cni-order", "10-calico.conflist comes before 20-netplumb.conflist")
        assert found["severity"] == "risk"


@contextmanager
def covered(place: Path) -> Iterator[Path]:
    """An empty folder instead of it, for this test alone. It may have to be made: over a copy of what is above."""
    above = place.parent
    upper, work = Path("/run/upper"), Path("/run/work")
    for it in (upper, work):
        it.mkdir()
    namespaces.mount("overlay", above, "overlay", 0, f"lowerdir={above},upperdir={upper},workdir={work}")
    try:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        yield place
    finally:
        namespaces.unmount(above)
        for it in (upper, work):
            shutil.rmtree(it)


async def test_a_node_whose_own_objects_cannot_be_put_right(daemon: Daemon, client: AsyncClient, node: Host) -> None:
    """As in a container whose /proc/sys is not to be written."""
    assert not doctor(daemon).of("node")
    daemon.pause()
    node.set_sysctl("net/ipv4/ip_forward", "0")
    with namespaces.read_only(Path("/proc/sys")):
        daemon.resume()

        async def told() -> bool:
            return any(it.type == "NodeInSync" and not it.status for it in (await client.status()).conditions)

        await until(told, "the daemon says so", within_s=10)
        doctor(daemon).one("node", "ip_forward", "/proc/sys is read-only here")
        assert not [it async for it in client.events() if it.kind == "Repaired"], "nothing was put right"
    await until(lambda: not doctor(daemon).findings, "it is put right", within_s=20)


async def test_what_the_kernel_was_built_without(daemon: Daemon, node: Host, directory: Path) -> None:
    config = directory / "config"
    built = node.run("zcat /proc/config.gz")
    config.write_text(built.replace("CONFIG_IFB=y", "# CONFIG_IFB is not set"))
    place = Path("/proc/config.gz")
    namespaces.mount(str(config), place, "none", namespaces.MS_BIND)
    try:
        doctor(daemon).one("kernel-module", "the kernel lacks CONFIG_IFB")
    finally:
        namespaces.unmount(place)


async def test_what_cannot_be_looked_at(daemon: Daemon) -> None:
    """Without rights there is nothing to be said of the ruleset; it exits with another status than for a sound node."""
    done = run(
        daemon, "doctor", *settings_of(daemon), rights=("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--")
    )
    assert "not looked at: other firewalls" in done.stdout
    assert "run it as root" in done.stderr
    assert done.returncode == 2, done
