"""What a thread decided from a reading that is old by then takes nothing from who has it now, and spoils nothing that
nobody looks at again."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from tests.chaos.latedaemons import LateDaemon
from tests.chaos.peers import MODES, PEERS
from tests.chaos.policies import FILE, POLICIES
from tests.chaos.races import LateWorld, Races
from tests.e2e.hosts import temporary
from tests.e2e.statefiles import declare
from tests.e2e.test_policies import FROM_WEB, enforced
from tests.e2e.test_policies_departed import AT, FROM, bound, came
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, detach, v4, v6

RESYNC_NEVER_S = 3600
ROUNDS_OF_A_WORLD = 25
MINUTES = float(os.environ.get("RACES_MINUTES") or 0.05)
SEED = int(os.environ.get("RACES_SEED") or 1)


@pytest.mark.timeout(300 + MINUTES * 90)
def test_nothing_stays_spoilt_that_nobody_compares() -> None:
    """Whatever was done while all was compared, the kernel equals desired state without another comparison."""
    random, ends = Random(SEED), time.monotonic() + MINUTES * 60
    number = 0
    while not number or time.monotonic() < ends:
        with ExitStack() as stack, asyncio.Runner() as runner:
            world = LateWorld(stack, RESYNC_NEVER_S, MODES[number % len(MODES)])
            stack.callback(world.end)
            runner.run(_rounds(world, random, ends))
        number += 1


async def _rounds(world: LateWorld, random: Random, ends: float) -> None:
    async with world.open_client() as client:
        await world.start()
        races = Races(world, client, random)
        for _ in range(ROUNDS_OF_A_WORLD):
            try:
                await races.round()
            except BaseException:
                print("what was done:", *races.story, *world.daemon.logged().splitlines()[-80:], sep="\n")
                raise
            if time.monotonic() > ends:
                return


async def test_what_policies_had_goes_with_who_was_being_removed(tmp_path: Path) -> None:
    """Sets that policies looked in are not left behind for good where they go while a workload does."""
    with temporary("node") as node, temporary("one") as one, temporary("two") as two:
        node.ip("link set lo up")
        daemon = LateDaemon(node, tmp_path, after={"removal._not_put_into": 1.0})
        await daemon.start()
        try:
            async with daemon.client() as client:
                declare(daemon, FILE, next(it for it in POLICIES if it.name == "two-to-one").manifest)
                for host in (one, two):
                    await client.attach(attach(host, labels={"app": host.name}))
                await client.attach(attach(two, if_name="eth1", labels={"app": "two"}))
                await until(lambda: "set peers_" in node.run("nft list table inet netplumb"), "the policy")
                going = asyncio.create_task(client.detach(detach("two", if_name="eth1")))
                await asyncio.sleep(0.1)
                (daemon.state_files / FILE).unlink()
                await until(lambda: "policy_ingress_by" not in node.run("nft list table inet netplumb"), "it goes")
                await going
                await until(lambda: "set peers_" not in node.run("nft list table inet netplumb"), "nothing is left")
        finally:
            daemon.end()


async def test_damage_is_heard_of_before_the_first_pass_has_ended(tmp_path: Path) -> None:
    """What a daemon that starts has read of the node is old by the time it comes to the last of many workloads."""
    with temporary("node") as node, temporary("db") as db:
        node.ip("link set lo up")
        daemon = LateDaemon(node, tmp_path, after={"LinuxKernel.snapshot": 2.0})
        await daemon.start()
        try:
            async with daemon.client() as client:
                made = [(await client.attach(attach(db, if_name=f"eth{it}"))).attachment for it in range(20)]
                daemon.kill9()
                await daemon.start()
                await asyncio.sleep(2.5)  # until the second read, which the last of them wait for

                def missing() -> list[str]:
                    return [it.if_name for it in made if node.route(it.addresses[0]) is None]

                for each in made:
                    node.ip(f"route delete {each.addresses[0]} dev {each.node_if_name}")
                await until(lambda: not missing(), "all are put right")
        finally:
            daemon.end()


@pytest.mark.parametrize("version", [4, pytest.param(6, marks=pytest.mark.sweep)])
async def test_flows_of_a_workload_that_comes_during_a_look_are_not_cut(tmp_path: Path, version: int) -> None:
    """Whom a look at all flows does not know yet is not judged as a stranger, for good."""
    address = (v4, v6)[version == 6]
    with temporary("node") as node, temporary("db") as db, temporary("web") as web:
        node.ip("link set lo up")
        daemon = LateDaemon(node, tmp_path, after={"flows._course": 1.5})
        await daemon.start()
        try:
            async with daemon.client() as client:
                there = address(await client.attach(attach(db, labels={"app": "db"})))
                with bound(db, there, AT) as server:
                    await asyncio.sleep(3)  # until the looks of the start have ended
                    declare(daemon, FILE, FROM_WEB)
                    await until(lambda: enforced(node), "the policy, and a look at what it forbids")
                    await asyncio.sleep(0.2)
                    own = address(await client.attach(attach(web, labels={"app": "web"})))
                    with bound(web, own, FROM) as asking:
                        assert came(asking, server)
                        assert came(server, asking)
                        for _ in range(12):
                            await asyncio.sleep(0.2)
                            assert came(asking, server), daemon.logged()
        finally:
            daemon.end()


async def test_damage_to_a_way_is_heard_of_before_the_pass_that_made_it_has_ended() -> None:
    """A pass tells which ways there are when it has ended; until then they are nobody's."""
    with ExitStack() as stack:
        world = LateWorld(stack, RESYNC_NEVER_S, "routes")
        world.daemon = LateDaemon(world.node, world.daemon.directory, after={"WaysKernel.apply": 2.0}, is_told=True)
        stack.callback(world.end)
        await world.start()
        await asyncio.sleep(1)
        world.meet(frozenset(PEERS[:1]))
        there = lambda: world.node.route("10.128.2.0/24") is not None  # noqa: E731
        await until(there, "there is a way")
        world.node.ip("route delete 10.128.2.0/24")
        await until(there, "it is put right")
