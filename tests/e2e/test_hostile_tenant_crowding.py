"""A workload that fills the node's table of flows, with ones that the kernel gives up for nobody: others go on."""

from __future__ import annotations

import asyncio

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.reconciler.decide.crowding import FULL
from netplumb.reconciler.kernel.conntrack import ALL, Conntrack
from tests.e2e.conftest import MakeHost
from tests.e2e.daemons import Daemon
from tests.e2e.doctors import doctor
from tests.e2e.echoes import ask, serving
from tests.e2e.hosts import Host
from tests.e2e.tenants import crowding
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, v4

PORT = 9300
ASKED = 40
TOLD_WITHIN_S = 60.0  # as many flows as the kernel tracks have to be begun before
CROWDS_ON_S = 5.0


async def _told(client: AsyncClient) -> str:
    conditions = (await client.status()).conditions
    return next((it.message for it in conditions if it.type == "FlowsCrowded" and it.status), "")


async def _events(client: AsyncClient) -> list[tuple[str, str]]:
    return [(it.kind, it.workload_id) async for it in client.events() if it.kind.startswith("Crowding")]


def _fullness(node: Host) -> float:
    kept, most = (int(node.sysctl(f"net/netfilter/nf_conntrack_{what}")) for what in ("count", "max"))
    return kept / most


@pytest.mark.timeout(180)
async def test_others_begin_flows_beside_one_that_would_hold_all_there_is_room_for(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host, outside: Host, make_host: MakeHost
) -> None:
    """To each other, to the node and beyond it, and nobody loses any; whose flows are too many is told, and may begin
    some all the same; when they are gone nothing is left of it."""
    mallory, friend = make_host("mallory"), make_host("friend")
    to = {host.name: v4(await client.attach(attach(host))) for host in (web, db, mallory, friend)}
    with serving(web, PORT), serving(outside, PORT), serving(node, PORT), crowding(mallory, friend, to["friend"]):
        await until(lambda: _told(client), "it is told", within_s=TOLD_WITHIN_S)
        assert "mallory/eth0 (from it " in await _told(client)
        await asyncio.sleep(CROWDS_ON_S)
        await until(lambda: _fullness(node) < FULL, "there is room again", within_s=TOLD_WITHIN_S)
        for asked in (to["web"], "192.0.2.2", "10.213.0.1"):
            for protocol in ("tcp", "udp"):
                answers = [await asyncio.to_thread(ask, db, asked, PORT, protocol) for _ in range(ASKED)]
                assert None not in answers, f"{protocol} to {asked}: {answers.count(None)} of {ASKED} were lost"
        assert not any(it.differences for it in await client.check_all())
        found = doctor(daemon)
        assert not found.of("not-as-desired")
        found.one("condition", "FlowsCrowded", "mallory/eth0")
        assert ("Crowding", "mallory") in await _events(client)
        assert ("Crowding", "db") not in await _events(client)
    assert await asyncio.to_thread(ask, mallory, to["web"], PORT) is None  # nobody listens any more
    with serving(web, PORT):
        assert await asyncio.to_thread(ask, mallory, to["web"], PORT)
    with node.enter(), Conntrack() as conntrack:
        conntrack.forget(ALL, lambda _: True)
    await until(lambda: "crowding" not in node.ruleset(), "nobody is bounded any more", within_s=TOLD_WITHIN_S)
    assert not await _told(client)
    assert await _events(client) == [("Crowding", "mallory"), ("CrowdingOver", "mallory")]


@pytest.mark.sweep
@pytest.mark.timeout(180)
async def test_who_is_flooded_from_elsewhere_begins_flows_all_the_same(
    client: AsyncClient, node: Host, web: Host, db: Host, outside: Host, make_host: MakeHost
) -> None:
    """It is bounded in what comes to it from there alone, and others not at all."""
    victim = make_host("victim")
    to = {host.name: v4(await client.attach(attach(host))) for host in (web, db, victim)}
    outside.ip(f"route add {to['victim']}/32 via 192.0.2.1")
    with serving(web, PORT), serving(victim, PORT), crowding(outside, victim, to["victim"]):
        await until(lambda: _told(client), "it is told", within_s=TOLD_WITHIN_S)
        assert "victim/eth0 (to it " in await _told(client)
        await asyncio.sleep(CROWDS_ON_S)
        await until(lambda: _fullness(node) < FULL, "there is room again", within_s=TOLD_WITHIN_S)
        for source, asked in ((victim, "web"), (db, "web"), (db, "victim")):
            answers = [await asyncio.to_thread(ask, source, to[asked], PORT) for _ in range(ASKED)]
            assert None not in answers, f"{source.name} to {asked}: {answers.count(None)} of {ASKED} were lost"
