"""A program that undoes each repair at once is repaired against with growing pauses, counted and named; nobody else
waits for it."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.models.naming import node_if_name
from netplumb.reconciler.pacing.fights import FREE_REPAIRS
from tests.damage.altered import PROGRAMS
from tests.damage.victims import Victim, table_words, victim
from tests.e2e.daemons import ROOT, Daemon
from tests.e2e.hosts import Host
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, condition

FIGHT_S = 4.0
MOST_REPAIRS = 9  # what pauses of 0.1, 0.2, 0.4 s and so on let through in that time, and in that of the first look
NAMED_WITHIN_S = 30.0
STOPPED_WITHIN_S = 10.0


@contextmanager
def fighting(host: Host, *words: str) -> Iterator[None]:
    """A fighter is at work."""
    command = host.command(sys.executable, "-m", "tests.damage.fighter", *words)
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        yield
    finally:
        assert process.poll() is None, "the fighter gave up"
        process.kill()
        process.wait(STOPPED_WITHIN_S)


async def _attached(client: AsyncClient, node: Host, workload: Host) -> Victim:
    return victim(node, workload, await client.attach(attach(workload), timeout_s=10))


def _fighting_for_the_route_of(hit: Victim) -> tuple[str, ...]:
    return "route", node_if_name(hit.key), hit.v4


async def _named(client: AsyncClient, workload_id: str = "web") -> str:
    """What the condition says; nothing while there is none."""
    told = condition(await client.get(workload_id), "Fighting")
    return told.message if told is not None else ""


async def _repairs(client: AsyncClient) -> int:
    return (await client.get("web")).repairs


async def _repairs_in(client: AsyncClient, seconds: float) -> int:
    before = await _repairs(client)
    await asyncio.sleep(seconds)
    return await _repairs(client) - before


async def test_repairs_that_are_undone_back_off(client: AsyncClient, node: Host, web: Host) -> None:
    """A route that is deleted whenever it is there is repaired a few times a fight, and the status says which and how
    often. Left alone, it is put back, and nothing is said any more."""
    hit = await _attached(client, node, web)
    with fighting(node, *_fighting_for_the_route_of(hit)):
        await until(lambda: _named(client), "the fight is named", within_s=NAMED_WITHIN_S)
        repairs = await _repairs_in(client, FIGHT_S)
        said = await _named(client)
        print(f"{repairs} repairs in {FIGHT_S} s")
    assert repairs <= MOST_REPAIRS
    counted = re.search(rf"route {re.escape(hit.v4)}/32 .* was repaired (\d+) times in a row", said)
    assert counted is not None, said
    assert int(counted[1]) > FREE_REPAIRS
    assert (await client.get("web")).phase == "Attached"

    async def over() -> bool:
        return node.route(hit.v4) is not None and not await _named(client)

    await until(over, "the route is back and the fight is over", within_s=30)
    assert (await client.check("web")).in_sync
    node.ip(f"-4 route delete {hit.v4}")
    await until(lambda: node.route(hit.v4) is not None, "the next damage is repaired as the first one was")


async def test_without_pauses_a_fight_would_be_fought_at_its_own_pace(node: Host, directory: Path, web: Host) -> None:
    """The same daemon without its pauses repairs many times as often: the pauses are what saves the work."""
    daemon = Daemon(node, directory, program=PROGRAMS["relentless"])
    try:
        await daemon.start()
        async with daemon.client() as client:
            hit = await _attached(client, node, web)
            with fighting(node, *_fighting_for_the_route_of(hit)):

                async def fights() -> bool:
                    return await _repairs(client) > FREE_REPAIRS

                await until(fights, "the fight is on", within_s=NAMED_WITHIN_S)
                repairs = await _repairs_in(client, FIGHT_S)
            print(f"{repairs} repairs in {FIGHT_S} s")
            assert repairs > 3 * MOST_REPAIRS
    finally:
        daemon.end()


async def test_others_do_not_wait_for_a_fight(client: AsyncClient, node: Host, web: Host, db: Host) -> None:
    """While one attachment is fought over, and the node's forwarding too, another is attached and repaired at once,
    and what else is the node's is repaired at once."""
    hit = await _attached(client, node, web)
    with (
        fighting(node, *_fighting_for_the_route_of(hit)),
        fighting(node, "sysctl", "net/ipv4/ip_forward", "0"),
    ):

        async def both_named() -> bool:
            told = next((c for c in (await client.status()).conditions if c.type == "Fighting"), None)
            return told is not None and "net.ipv4.ip_forward" in told.message and bool(await _named(client))

        await until(both_named, "both fights are named", within_s=NAMED_WITHIN_S)
        started = time.monotonic()
        other = await _attached(client, node, db)
        before = table_words(node)
        for _ in range(FREE_REPAIRS // 2):
            node.ip(f"-4 route delete {other.v4}")
            await until(lambda: node.route(other.v4) is not None, "another's route is repaired")
        node.run("nft delete table inet netplumb")
        await until(lambda: table_words(node) == before, "the table is repaired")
        print(f"attach, five routes and the table in {time.monotonic() - started:.2f} s")
        assert not await _named(client, "db")
        assert (await client.status()).ready


async def test_a_client_does_not_wait_for_a_fight(client: AsyncClient, node: Host, web: Host) -> None:
    """An Attach of what is fought over repairs it at once, and has its answer long before the pause is over."""
    hit = await _attached(client, node, web)
    with fighting(node, *_fighting_for_the_route_of(hit)):

        async def long_pause() -> bool:
            said = await _named(client)
            return bool(said) and float(said.rpartition("waits ")[2].removesuffix(" s")) > 12

        await until(long_pause, "the pauses have grown", within_s=60)
    started = time.monotonic()
    await client.attach(attach(web), timeout_s=10)
    assert time.monotonic() - started < 10
    assert node.route(hit.v4) is not None
