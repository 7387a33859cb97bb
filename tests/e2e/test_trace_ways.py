"""What a trace says of packets between nodes: what is carried in VXLAN is followed as what it is then."""

from __future__ import annotations

from asyncio import to_thread
from pathlib import Path

import pytest

from netplumb.reconciler.tracing.hops import Outcome
from tests.e2e.echoes import ask, serving, unanswered
from tests.e2e.nodes import running
from tests.e2e.traces import arrives, ends, live, trace
from tests.e2e.waiting import until
from tests.e2e.wishes import v4, v6

PORT = 8080
DROPS_V4 = "bpf da bytecode '4,40 0 0 12,21 0 1 2048,6 0 0 2,6 0 0 4294967295'"


@pytest.mark.parametrize("mode", ["routes", "vxlan"])
async def test_what_works_between_nodes_arrives(directory: Path, mode: str) -> None:
    async with running(2, mode, directory) as site:
        one, other = site.machines
        await one.attach("web")
        db, has = await other.attach("db")
        with serving(db, PORT):
            for source in ("web", "node"):
                for target in (v4(has), v6(has)):
                    told = arrives(await to_thread(trace, one.daemon, source, target))
                    assert ("carried to the node at 192.0.2.2 in UDP, port 4789" in told) is (mode == "vxlan")
                    arrives(await to_thread(live, one.daemon, source, target))


@pytest.mark.parametrize("chain", ["OUTPUT", "INPUT"])
async def test_vxlan_that_the_node_drops(directory: Path, chain: str) -> None:
    """Either way: what goes, and what comes back from there."""
    async with running(2, "vxlan", directory) as site:
        one, other = site.machines
        web, _ = await one.attach("web")
        db, has = await other.attach("db")
        with serving(db, PORT):
            one.host.run(f"iptables -A {chain} -p udp -j DROP")
            assert unanswered(web, v4(has), PORT)
            for asked in (trace, live):
                found = await to_thread(asked, one.daemon, "web", v4(has))
                heal = ends(found, f"dropped by chain {chain} of table ip filter", "; that is VXLAN")
            one.host.run(heal)
            assert ask(web, v4(has), PORT)


@pytest.mark.parametrize("mode", ["routes", "vxlan"])
async def test_a_node_that_is_not_there(directory: Path, mode: str) -> None:
    async with running(2, mode, directory) as site:
        one, other = site.machines
        await one.attach("web")
        _, has = await other.attach("db")
        other.host.run("ip link set up0 down")
        heal = ends(await to_thread(trace, one.daemon, "web", v4(has)), "192.0.2.2 on up0 does not answer ARP")
        assert "arping -c 3 -I up0 192.0.2.2" in heal


@pytest.mark.parametrize("mode", ["routes", "vxlan"])
async def test_what_is_lost_between_nodes(directory: Path, mode: str) -> None:
    """Nobody is told to masquerade, which is not done between nodes."""
    async with running(2, mode, directory) as site:
        one, other = site.machines
        web, _ = await one.attach("web")
        db, has = await other.attach("db")
        with serving(db, PORT):
            await until(lambda: ask(web, v4(has), PORT), "they reach each other")
            other.host.run("tc qdisc add dev up0 clsact")
            other.host.run(f"tc filter add dev up0 ingress {DROPS_V4}")
            found = await to_thread(live, one.daemon, "web", v4(has))
            assert found.outcome is Outcome.UNKNOWN, found
            assert "it leaves for the node at 192.0.2.2" in found.why
            assert "masquerade" not in found.why + found.heal
            assert found.heal.startswith("netplumb doctor on that node")
