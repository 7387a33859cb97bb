"""What a trace says of ends that no firewall has a part in, and of policies that let a packet pass."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e.conftest import OUTSIDE_V4, OUTSIDE_V6
from tests.e2e.daemons import Daemon
from tests.e2e.echoes import ANY_V4, ask, serving, unanswered
from tests.e2e.hosts import Host
from tests.e2e.statefiles import declare
from tests.e2e.streams import Served, open_socket
from tests.e2e.traces import PORT, arrives, ends, live, trace
from tests.e2e.waiting import until
from tests.e2e.wishes import attach

BEYOND = "203.0.113.7"
ALLOWING = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: some}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  ingress:
  - {from: [{podSelector: {}}], ports: [{protocol: TCP, port: 8080}]}
  - {from: [{ipBlock: {cidr: 192.0.2.2/32}}]}
  egress: [{ports: [{protocol: TCP, port: 8080}]}]
"""


@pytest.fixture
async def attached(client: AsyncClient, web: Host, db: Host) -> Host:
    await client.attach(attach(web, ports=(f"{PORT}:{PORT}",)))
    await client.attach(attach(db))
    return web


ALLOWED = [("web", OUTSIDE_V4, False), ("web", OUTSIDE_V6, True), ("web", "db", False), ("db", "web", True)]


@pytest.mark.parametrize(("source", "target", "ipv6"), [*ALLOWED, (OUTSIDE_V4, "node", False)])
async def test_what_policies_allow_arrives_for_certain(
    daemon: Daemon, attached: Host, db: Host, node: Host, source: str, target: str, ipv6: bool
) -> None:
    """Also its answer; nobody is told to send one in order to know."""
    declare(daemon, "some.yaml", ALLOWING)
    await until(lambda: "egress_by" in node.run("nft list table inet netplumb"), "it is enforced")
    with serving(attached, PORT), serving(db, PORT):
        arrives(trace(daemon, source, target, ipv6=ipv6))


@pytest.mark.parametrize("where", ["node", "web"])
@pytest.mark.parametrize("dst", [f"{BEYOND}/32", "203.0.113.0/24"])
async def test_a_route_to_the_loopback_leads_nowhere(
    daemon: Daemon, attached: Host, node: Host, outside: Host, where: str, dst: str
) -> None:
    """What is sent there comes back, until its time to live runs out; as where a VPN's device was exchanged for lo."""
    outside.ip(f"address add {BEYOND}/32 dev lo")
    Host(where).ip(f"route add {dst} dev lo")
    with serving(outside, PORT):
        heal = ends(trace(daemon, "web", BEYOND), where, "dev lo leads to the loopback, and nowhere from there")
        assert ends(trace(daemon, "web", BEYOND, live=True), "leads to the loopback") == heal
        node.run(heal)
        assert ask(attached, BEYOND, PORT)
        arrives(trace(daemon, "web", BEYOND))


async def test_the_rule_that_is_meant_is_deleted(daemon: Daemon, attached: Host, node: Host, outside: Host) -> None:
    """Another may have its preference, and come first."""
    node.run("ip rule add from 198.51.100.0/24 lookup 77 preference 50")
    node.run("ip rule add ipproto tcp dport 8080 blackhole preference 50")
    heal = ends(trace(daemon, "web", OUTSIDE_V4), "the routing rule `50: from all ipproto tcp dport 8080 blackhole`")
    node.run(heal)
    rules = node.run("ip rule")
    assert "198.51.100.0/24" in rules
    assert "blackhole" not in rules


@contextmanager
def taking_none(host: Host, port: int) -> Iterator[None]:
    """Who listens there takes nobody, until no more are kept."""
    with ExitStack() as stack:
        bound = stack.enter_context(open_socket(host, ANY_V4, socket.SOCK_STREAM))
        bound.bind((ANY_V4, port))
        bound.listen(0)
        stack.enter_context(first := open_socket(host, ANY_V4, socket.SOCK_STREAM))
        first.connect(("127.0.0.1", port))
        yield


async def test_a_service_that_takes_no_connections(daemon: Daemon, attached: Host, db: Host, outside: Host) -> None:
    """The kernel drops who asks beyond what is kept waiting, and tells nobody."""
    with taking_none(attached, PORT):
        assert unanswered(outside, "192.0.2.1", PORT)
        words = "takes no connections: its queue of those who wait is full (1)"
        for found in (trace(daemon, OUTSIDE_V4, "node"), trace(daemon, "db", "web"), live(daemon, "db", "web")):
            assert "ss -lntup" in ends(found, "web/eth0", words)


@pytest.mark.parametrize("ipv6", [False, True])
@pytest.mark.parametrize("where", ["node", "db"])
async def test_echoes_that_are_ignored(
    daemon: Daemon, attached: Host, node: Host, db: Host, where: str, ipv6: bool
) -> None:
    switch = "net/ipv6/icmp/echo_ignore_all" if ipv6 else "net/ipv4/icmp_echo_ignore_all"
    Host(where).set_sysctl(switch, "1")
    for sent in (False, True):
        found = trace(daemon, "web", where, protocol="icmp", ipv6=ipv6, live=sent)
        heal = ends(found, "it answers no echoes, by " + switch.replace("/", "."))
    node.run(heal)
    arrives(trace(daemon, "web", where, protocol="icmp", ipv6=ipv6, live=True))


async def test_an_address_of_the_sender_that_the_receiver_has(
    daemon: Daemon, attached: Host, node: Host, outside: Host
) -> None:
    outside.ip(f"address add {BEYOND}/32 dev lo")
    attached.ip(f"address add {BEYOND}/32 dev lo")
    with serving(attached, PORT):
        assert unanswered(outside, "192.0.2.1", PORT, bind=BEYOND)
        heal = ends(trace(daemon, BEYOND, "node"), f"web/eth0: it has the address {BEYOND} itself")
        assert f"ip address show to {BEYOND}" in heal


async def test_a_server_that_answers_with_all_that_it_has(daemon: Daemon, attached: Host, outside: Host) -> None:
    """One packet of each direction is watched, not megabytes."""
    with open_socket(outside, ANY_V4, socket.SOCK_STREAM) as bound:
        bound.bind((ANY_V4, PORT))
        bound.listen()
        bound.settimeout(None)
        with Served(bound, _pouring):
            found = live(daemon, "web", OUTSIDE_V4)
    arrives(found)
    assert len(set(found.hops)) == len(found.hops)


def _pouring(bound: socket.socket) -> None:
    while True:
        connection, _ = bound.accept()
        with connection, suppress(OSError):
            connection.settimeout(1.0)
            connection.sendall(bytes(1 << 22))
