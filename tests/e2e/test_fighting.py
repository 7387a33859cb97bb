"""A program that undoes each repair at once is repaired against with growing pauses, counted and named; nobody else
waits for it."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from api.client import Client
from reconciler.fights import FREE_REPAIRS
from tests.damage.altered import PROGRAMS
from tests.damage.victims import table_words, victim
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, condition, v4

FIGHT_S = 4.0
# The free ones, and those that the pauses of 0.1, 0.2, 0.4 s and so on let through in that time.
MOST_REPAIRS = FREE_REPAIRS + 6
STOPPED_WITHIN_S = 10.0


@contextmanager
def fighting(host: Host, command: str) -> Iterator[None]:
    """Runs the command again and again, without a pause, for as long as it lasts."""
    words = host.command("sh", "-c", f"while :; do {command} 2>/dev/null; done")
    process = subprocess.Popen(words)
    try:
        yield
    finally:
        process.kill()
        process.wait(STOPPED_WITHIN_S)


async def _fighting(client: Client, workload_id: str = "web") -> str:
    """What the condition says; nothing while there is none."""
    told = condition(await client.get(workload_id), "Fighting")
    return told.message if told is not None else ""


async def _fought(client: Client, node: Host, address: str) -> int:
    """How many objects of the attachment were repaired while its route was deleted all the time."""
    before = (await client.get("web")).repairs
    with fighting(node, f"ip -4 route delete {address} proto 78"):
        await asyncio.sleep(FIGHT_S)
        return (await client.get("web")).repairs - before


async def test_repairs_that_are_undone_back_off(client: Client, node: Host, web: Host) -> None:
    """A route that is deleted whenever it is there is repaired a few times a fight, and the status says which and how
    often. Left alone, it is put back, and nothing is said any more."""
    address = v4(await client.attach(attach(web)))
    repairs = await _fought(client, node, address)
    print(f"{repairs} repairs in {FIGHT_S} s")
    assert FREE_REPAIRS <= repairs <= MOST_REPAIRS
    said = await _fighting(client)
    assert f"route {address}/32" in said
    assert f"{repairs} times in a row" in said
    assert (await client.get("web")).phase == "Attached"

    async def over() -> bool:
        return node.route(address) is not None and not await _fighting(client)

    await until(over, "the route is back and the fight is over", within_s=30)
    assert (await client.check("web")).in_sync
    node.ip(f"-4 route delete {address}")
    await until(lambda: node.route(address) is not None, "the next damage is repaired as the first one was")


async def test_without_pauses_a_fight_would_be_fought_at_its_own_pace(node: Host, directory: Path, web: Host) -> None:
    """The same daemon without its pauses repairs many times as often: the pauses are what saves the work."""
    daemon = Daemon(node, directory, program=PROGRAMS["relentless"])
    try:
        await daemon.start()
        async with daemon.client() as client:
            address = v4(await client.attach(attach(web)))
            repairs = await _fought(client, node, address)
            print(f"{repairs} repairs in {FIGHT_S} s")
            assert repairs > 4 * MOST_REPAIRS
    finally:
        daemon.end()


async def test_others_do_not_wait_for_a_fight(client: Client, node: Host, web: Host, db: Host) -> None:
    """While one attachment is fought over, and the node's forwarding too, another is attached, repaired and detached
    at once, and what else is the node's is repaired at once."""
    address = v4(await client.attach(attach(web)))
    off = "echo 0 >/proc/sys/net/ipv4/ip_forward"
    with fighting(node, f"ip -4 route delete {address} proto 78"), fighting(node, off):

        async def named() -> bool:
            told = next((c for c in (await client.status()).conditions if c.type == "Fighting"), None)
            return told is not None and "net.ipv4.ip_forward" in told.message and bool(await _fighting(client))

        await until(named, "both fights are told", within_s=20)
        started = time.monotonic()
        other = victim(node, db, await client.attach(attach(db), timeout_s=5))
        before = table_words(node)
        for _ in range(FREE_REPAIRS // 2):
            node.ip(f"-4 route delete {other.v4}")
            await until(lambda: node.route(other.v4) is not None, "another's route is repaired", within_s=5)
        node.run("nft delete table inet netplumb")
        await until(lambda: table_words(node) == before, "the table is repaired", within_s=5)
        assert not await _fighting(client, "db")
        assert (await client.status()).ready
        print(f"attach, five routes and the table in {time.monotonic() - started:.2f} s")


async def test_a_client_does_not_wait_for_a_fight(client: Client, node: Host, web: Host) -> None:
    """An Attach of what is fought over repairs it at once, and has its answer long before the pause is over."""
    address = v4(await client.attach(attach(web)))
    with fighting(node, f"ip -4 route delete {address} proto 78"):

        async def long_pause() -> bool:
            said = await _fighting(client)
            return bool(said) and float(said.rpartition("waits ")[2].removesuffix(" s")) > 6

        await until(long_pause, "the pauses have grown", within_s=30)
    started = time.monotonic()
    await client.attach(attach(web), timeout_s=5)
    assert time.monotonic() - started < 5
    assert node.route(address) is not None
