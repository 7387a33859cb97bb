"""Limits of what a workload receives and sends: in force, changed in place, kept, capped, and gone without a trace."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.models.attachment import AttachmentKey
from netplumb.models.naming import ifb_name, node_if_name
from tests.e2e import wishes
from tests.e2e.conftest import OUTSIDE_V4, MakeHost
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.waiting import until
from tests.sweeps import swept

KEY = AttachmentKey("web", "eth0")
LINK, IFB = node_if_name(KEY), ifb_name(KEY)
MBIT = 1_000_000
SLOW_KBIT = (64, 128, 256, 1000)


def limits(ingress: int = 0, egress: int = 0, **more: int) -> pb.Bandwidth:
    return pb.Bandwidth(ingress_rate=ingress, egress_rate=egress, **more)


def qdiscs(node: Host, link: str) -> dict[str, dict[str, Any]]:
    """What `tc` shows of a link, by kind."""
    said = node.run(f"tc -json qdisc show dev {link}", ok=False)
    found: list[dict[str, Any]] = json.loads(said) if said.startswith("[") else []  # or the link is away
    return {it["kind"]: it for it in found}


def rate_of(node: Host, link: str) -> int:
    """The token bucket's rate in bits a second, 0 where there is none."""
    tbf = qdiscs(node, link).get("tbf")
    return int(tbf["options"]["rate"]) * 8 if tbf is not None else 0


@contextmanager
def iperf_server(host: Host, port: int) -> Iterator[None]:
    server = subprocess.Popen(host.command("iperf3", "-s", "-1", "-p", str(port)), stdout=subprocess.PIPE, text=True)
    try:
        yield
    finally:
        server.terminate()
        server.communicate()


def measured(
    client: Host, server: Host, address: str, *, seconds: int = 3, omitted: int = 1, port: int = 5201
) -> float:
    """Bits a second that a TCP stream came to, after the first second in which its burst passes."""
    with iperf_server(server, port):
        words = f"iperf3 -J -c {address} -p {port} -t {seconds} -O {omitted} --connect-timeout 3000"
        for _ in range(20):
            said = json.loads(client.run(words, ok=False, within_s=60))
            if "error" not in said:
                return float(said["end"]["sum_received"]["bits_per_second"])
    raise AssertionError(said["error"])


@pytest.mark.parametrize("rate", swept([100 * MBIT, 10 * MBIT], lambda _: "a rate"))
async def test_both_ways_are_within_a_tenth_of_their_rates(
    client: AsyncClient, outside: Host, web: Host, rate: int
) -> None:
    """What it receives and what it sends are limited apart, the other way at twice the rate."""
    for ingress, egress in ((rate, 2 * rate), (2 * rate, rate)):
        address = wishes.v4(await client.attach(wishes.attach(web, bandwidth=limits(ingress, egress))))
        outside.run(f"ip route replace {address}/32 via 192.0.2.1")
        assert measured(outside, web, address) == pytest.approx(ingress, rel=0.1)
        assert measured(web, outside, OUTSIDE_V4) == pytest.approx(egress, rel=0.1)


@pytest.mark.parametrize(
    ("rates", "seconds"), swept([(SLOW_KBIT[2:], 6), (SLOW_KBIT, 15)], lambda _: "rates", lambda it: f"from {it[0][0]}")
)
async def test_slow_rates_are_reached_as_well(
    client: AsyncClient, outside: Host, make_host: MakeHost, rates: tuple[int, ...], seconds: int
) -> None:
    """Where one packet takes a fifth of a second, as at any other rate; all of them at once, to and from workloads."""
    measures = []
    for port, kbit in enumerate(rates, start=5301):
        receiver, sender = make_host(f"in{kbit}"), make_host(f"out{kbit}")
        address = wishes.v4(await client.attach(wishes.attach(receiver, bandwidth=limits(ingress=kbit * 1000))))
        await client.attach(wishes.attach(sender, bandwidth=limits(egress=kbit * 1000)))
        outside.run(f"ip route replace {address}/32 via 192.0.2.1")
        ways = ((outside, receiver, address), (sender, outside, OUTSIDE_V4))
        measures += [asyncio.to_thread(measured, *way, seconds=seconds, omitted=4, port=port) for way in ways]
    reached = [round(bits / 1000) for bits in await asyncio.gather(*measures)]
    assert reached == pytest.approx([kbit for kbit in rates for _ in range(2)], rel=0.1)


async def test_limits_change_in_place_and_go_without_a_trace(client: AsyncClient, node: Host, web: Host) -> None:
    """Another rate keeps the link; no limit leaves neither qdisc nor ifb."""
    await client.attach(wishes.attach(web))
    before = node.link(LINK)["ifindex"]
    assert IFB not in node.links()
    for ingress, egress in ((8 * MBIT, 16 * MBIT), (4 * MBIT, 16 * MBIT), (4 * MBIT, 0), (0, 2 * MBIT), (0, 0)):
        answer = await client.attach(wishes.attach(web, bandwidth=limits(ingress, egress)))
        assert rate_of(node, LINK) == ingress
        assert (rate_of(node, IFB) if egress else IFB not in node.links()) == (egress or True)
        assert ("ingress" in qdiscs(node, LINK)) == bool(egress)
        assert node.link(LINK)["ifindex"] == before
        assert (answer.attachment.bandwidth.ingress_rate, answer.attachment.bandwidth.egress_rate) == (ingress, egress)
        assert (await client.check("web")).in_sync


async def test_a_huge_burst_is_capped_and_the_cap_is_shown(client: AsyncClient, node: Host, web: Host) -> None:
    """containerd asks for a burst of 4294967295 bits, which would let half a gigabyte pass unshaped."""
    wish = limits(8 * MBIT, 8 * MBIT, ingress_burst=4294967295, egress_burst=4294967295)
    shown = (await client.attach(wishes.attach(web, bandwidth=wish))).attachment.bandwidth
    assert (shown.ingress_burst, shown.egress_burst) == (800_000, 800_000)
    for link in (LINK, IFB):
        assert int(qdiscs(node, link)["tbf"]["options"]["burst"]) == pytest.approx(100_000, rel=0.01)


async def test_detach_and_purge_leave_nothing_of_it(daemon: Daemon, client: AsyncClient, node: Host, web: Host) -> None:
    """The ifb goes with its attachment, and with a purge."""
    wish = wishes.attach(web, bandwidth=limits(MBIT, MBIT))
    await client.attach(wish)
    await client.detach(wishes.detach("web"))
    assert not {LINK, IFB} & set(node.links())
    await client.attach(wish)
    daemon.terminate()
    daemon.purge(answer="y")
    assert not {LINK, IFB} & set(node.links())


async def test_the_ifb_is_left_as_the_kernel_made_it(client: AsyncClient, node: Host, web: Host) -> None:
    """A link of ours is nobody that listens to router advertisements, and nothing of it is left to be changed."""
    await client.attach(wishes.attach(web, bandwidth=limits(egress=20 * MBIT)))
    assert [change.words for change in (await client.plan()).changes] == []
    assert node.sysctl(f"net/ipv6/conf/{IFB}/accept_ra") == "1"


DAMAGES = {
    "token bucket of the link gone": f"tc qdisc del dev {LINK} root",
    "token bucket of the link slower": f"tc qdisc replace dev {LINK} root tbf rate 1mbit burst 16k limit 100k",
    "another qdisc in its place": f"tc qdisc replace dev {LINK} root pfifo",
    "token bucket of the ifb gone": f"tc qdisc del dev {IFB} root",
    "ingress qdisc gone": f"tc qdisc del dev {LINK} ingress",
    "redirect gone": f"tc filter del dev {LINK} ingress",
    "ifb gone": f"ip link del {IFB}",
    "ifb down": f"ip link set {IFB} down",
    "ifb renamed": f"ip link set {IFB} name theirs",
    "link gone": f"ip link del {LINK}",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_damage_is_repaired(client: AsyncClient, node: Host, web: Host, damage: str) -> None:
    """Each part is missed as soon as it is damaged, and only that is mended."""
    await client.attach(wishes.attach(web, bandwidth=limits(8 * MBIT, 16 * MBIT)))
    assert (await client.check("web")).in_sync
    node.run(damage)

    async def mended() -> bool:
        return rate_of(node, LINK) == 8 * MBIT and IFB in node.links() and rate_of(node, IFB) == 16 * MBIT

    await until(mended, damage)

    async def in_sync() -> bool:
        return (await client.check("web")).in_sync

    await until(in_sync, damage)
    assert "theirs" not in node.links()


async def test_a_restart_keeps_the_limits(daemon: Daemon, client: AsyncClient, node: Host, web: Host) -> None:
    """Nothing is made anew when another daemon takes over."""
    await client.attach(wishes.attach(web, bandwidth=limits(8 * MBIT, 16 * MBIT)))
    before = (node.link(LINK)["ifindex"], node.link(IFB)["ifindex"])
    daemon.kill9()
    await daemon.restart()

    async def in_sync() -> bool:
        return (await client.check("web")).in_sync

    await until(in_sync, "it is looked at")
    assert (node.link(LINK)["ifindex"], node.link(IFB)["ifindex"]) == before
    assert rate_of(node, IFB) == 16 * MBIT
