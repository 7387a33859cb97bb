"""What is said of classifiers and XDP programs that others put onto links, which no table knows of."""

from __future__ import annotations

from shlex import quote

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.reconciler.tracing.hops import Outcome
from tests.e2e import xdp
from tests.e2e.conftest import OUTSIDE_V4, UPLINK
from tests.e2e.daemons import Daemon
from tests.e2e.doctors import doctor
from tests.e2e.echoes import ask, serving, unanswered
from tests.e2e.hosts import Host
from tests.e2e.traces import PORT, arrives, ends, live, trace
from tests.e2e.waiting import until
from tests.e2e.wishes import attach

DROPS = "bpf da bytecode '1,6 0 0 2'"
PASSES = "bpf da bytecode '1,6 0 0 4294967295'"
TAKES = "protocol ip u32 match ip dport 8080 0xffff action mirred egress redirect dev lo"
ELSEWHERE = "bpf da bytecode '4,40 0 0 12,21 0 1 2048,6 0 0 2,6 0 0 4294967295'"
"""It drops IPv4 and lets ARP pass."""


@pytest.fixture
async def attached(client: AsyncClient, web: Host) -> Host:
    await client.attach(attach(web))
    return web


def node_end(node: Host) -> str:
    (name,) = [name for name in node.links() if name.startswith("np")]
    return name


def put(host: Host, link: str, side: str, classifier: str) -> None:
    host.run(f"tc qdisc add dev {link} clsact")
    host.run(f"tc filter add dev {link} {side} {classifier}")


@pytest.mark.parametrize(
    ("where", "side", "classifier"),
    [
        (UPLINK, "egress", TAKES),
        (UPLINK, "ingress", ELSEWHERE),
        ("np", "ingress", DROPS),
        ("np", "egress", DROPS),
        ("eth0", "egress", DROPS),
    ],
)
async def test_a_classifier_that_drops_is_told_of_a_packet_that_is_lost(
    daemon: Daemon, attached: Host, node: Host, outside: Host, where: str, side: str, classifier: str
) -> None:
    """On the uplink, on the node's end of the workload's link, and inside; and what takes it away."""
    host, link = (attached, "eth0") if where == "eth0" else (node, node_end(node) if where == "np" else where)
    put(host, link, side, classifier)
    with serving(outside, PORT):
        assert unanswered(attached, OUTSIDE_V4, PORT)
        found = trace(daemon, "web", OUTSIDE_V4, live=True)
        assert found.outcome is Outcome.UNKNOWN, found
        name = "web/eth0" if host is attached else "node"
        kind = "u32" if classifier is TAKES else "bpf"
        assert f"it may be dropped in {name} by a classifier at the {side} of {link} ({kind}" in found.why
        node.run(f"sh -c {quote(found.heal)}")
        arrives(live(daemon, "web", OUTSIDE_V4))


@pytest.mark.parametrize("side", ["ingress", "egress"])
async def test_a_classifier_that_hides_the_gateway(
    daemon: Daemon, attached: Host, node: Host, outside: Host, side: str
) -> None:
    put(node, UPLINK, side, DROPS)
    with serving(outside, PORT):
        words = f"does not answer ARP, which may be dropped by a classifier at the {side} of {UPLINK} (bpf"
        heal = ends(trace(daemon, "web", OUTSIDE_V4), words)
        assert doctor(daemon).one("gateway-silent", words)["heal"] == heal
        node.run(f"sh -c {quote(heal)}")
        await until(lambda: ask(attached, OUTSIDE_V4, PORT), "the kernel asks again")


async def test_an_xdp_program_that_drops(daemon: Daemon, attached: Host, node: Host, outside: Host) -> None:
    xdp.drop_all(node, UPLINK)
    with serving(outside, PORT):
        heal = ends(trace(daemon, "web", OUTSIDE_V4), f"which may be dropped by an XDP program on {UPLINK}")
        node.run(f"sh -c {quote(heal)}")
        await until(lambda: ask(attached, OUTSIDE_V4, PORT), "the kernel asks again")


async def test_a_classifier_on_a_workloads_link_is_found(
    daemon: Daemon, client: AsyncClient, attached: Host, node: Host, outside: Host
) -> None:
    """One on the uplink may well be meant, and that of a limit is netplumb's."""
    await client.attach(attach(attached, bandwidth=pb.Bandwidth(egress_rate=10_000_000, egress_burst=1_000_000)))
    put(node, UPLINK, "egress", PASSES)
    assert not doctor(daemon).findings
    with serving(outside, PORT):
        arrives(live(daemon, "web", OUTSIDE_V4))
    name = node_end(node)
    node.run(f"tc filter add dev {name} ingress prio 7 {DROPS}")
    found = doctor(daemon).one("foreign-program", f"web/eth0 sends meets a classifier at the ingress of {name} (bpf")
    node.run(f"sh -c {quote(found['heal'])}")
    assert not doctor(daemon).of("foreign-program")
