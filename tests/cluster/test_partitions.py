"""Packets between nodes and etcd are lost, for longer than any lease or bound lasts, while workloads come and go and
documents are written. A connection that nobody ended stays ESTABLISHED meanwhile.

`PARTITION_S` makes the partitions of the sweep longer.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.cluster.churn import Churn, churning, flowing, none_deleted
from tests.cluster.etcds import Member
from tests.cluster.sites import Site, conditions, cut, held, site
from tests.cluster.test_documents import document, wanted
from tests.e2e.hosts import Host
from tests.e2e.nodes import Machine
from tests.e2e.waiting import until
from tests.e2e.wishes import v4, v6
from tests.sweeps import swept

LONG_S = 40.0
SHORT_S = 12.0
"""Longer than a lease, than the silence after which a watch counts as lost, and than the waits between tries."""

LASTING = swept([SHORT_S, float(os.environ.get("PARTITION_S", "180"))], lambda _: "partition", lambda it: f"{it:g} s")

pytestmark = pytest.mark.timeout(900)


def host_of(member: Member) -> Host:
    assert member.host is not None
    return member.host


async def follows(*machines: Machine) -> bool:
    return not any(["EtcdAway" in await conditions(it) for it in machines])


async def is_away(*machines: Machine) -> bool:
    return all(["EtcdAway" in await conditions(it) for it in machines])


async def prefixes(machines: Iterable[Machine]) -> list[str]:
    return [it for machine in machines for it in await held(machine)]


async def joins(it: Site, name: str, number: int) -> str:
    """A node that nobody knew says that it has a prefix."""
    cidr = f"10.130.{number}.0/24"
    record = {"identity": {"boot": name}, "underlay": [f"192.0.2.{100 + number}"]}
    it.etcd.ctl("put", f"/netplumb/shared/nodes/{name}", json.dumps(record))
    key = f"/netplumb/shared/prefixes/{name}/{cidr.replace('/', '-')}"
    it.etcd.ctl("put", key, json.dumps({"pool": "10.128.0.0/14"}))
    return cidr


def leaves(it: Site, name: str) -> None:
    it.etcd.ctl("del", "--prefix", f"/netplumb/shared/prefixes/{name}/")
    it.etcd.ctl("del", f"/netplumb/shared/nodes/{name}")


@asynccontextmanager
async def untouched(
    one: Machine, other: Machine, web: Host, db: Host, has: tuple[str, str]
) -> AsyncIterator[list[Churn]]:
    """Between two nodes no byte and no packet is lost and no way to any node is deleted, while workloads come and go on
    both."""
    theirs = await prefixes([one, other])
    with none_deleted(one.host, theirs), none_deleted(other.host, theirs):
        async with flowing(web, db, has), churning(one) as here, churning(other) as there:
            yield [here, there]


@asynccontextmanager
async def going_on(churns: Iterable[Churn]) -> AsyncIterator[None]:
    """Meanwhile workloads are attached and detached on every node."""
    before = [(it, it.rounds) for it in churns]
    yield
    await until(lambda: all(it.rounds > rounds for it, rounds in before), "attached and detached", within_s=LONG_S)


@pytest.mark.parametrize("seconds", LASTING)
async def test_all_of_etcd_is_cut_off(directory: Path, seconds: float) -> None:
    """Nobody reaches any member, and no member another: that is told, a way that is damaged is repaired, a daemon dies
    and starts again, workloads come and go, and when it is over all follow what is written."""
    async with site(2, directory, members=3) as it:
        one, other = it.machines
        web, _ = await one.attach("web")
        db, has = await other.attach("db")
        late = one.workload("late")
        prefix = (await held(other))[0]
        with ExitStack() as partition:
            for member in it.etcd.members:
                partition.enter_context(cut(host_of(member)))
            await until(lambda: is_away(one, other), "both say that etcd is away", within_s=LONG_S)
            way = one.host.route(prefix)
            one.host.run(f"ip route delete {prefix}")
            await until(lambda: way is not None and one.host.route(prefix) == way, "the way is repaired")
            async with untouched(one, other, web, db, (v4(has), v6(has))) as churns:
                async with going_on(churns):
                    one.daemon.kill9()
                    await one.daemon.start()
                    ends = time.monotonic() + seconds
                    while time.monotonic() < ends:
                        assert await is_away(one, other)
                        await asyncio.sleep(0.5)
                partition.close()
                await until(lambda: follows(one, other), "both follow again", within_s=LONG_S)
                await asyncio.to_thread(it.etcd.wait)
                it.etcd.ctl("put", wanted(one, "late"), document("late"))
                await until(lambda: "eth0" in late.links(), "what is written then is wanted", within_s=LONG_S)


@pytest.mark.parametrize("seconds", LASTING)
async def test_a_node_is_cut_off_from_etcd(directory: Path, seconds: float) -> None:
    """What is wanted of it changes meanwhile, nodes come and go, and all of it is compacted: what runs there runs on,
    and afterwards it is as etcd says, deletions included, without having lost a way or an attachment in between."""
    async with site(2, directory, members=3) as it:
        one, other = it.machines
        web, _ = await one.attach("web")
        db, has = await other.attach("db")
        hosts = {name: one.workload(name) for name in ("stays", "goes", "comes")}
        for name in ("stays", "goes"):
            it.etcd.ctl("put", wanted(one, name), document(name))
        gone = await joins(it, "gone", 1)
        await until(lambda: one.host.route(gone), "a way to it", within_s=LONG_S)
        await until(lambda: all("eth0" in hosts[name].links() for name in ("stays", "goes")), "both are attached")
        stays = hosts["stays"].link("eth0")["ifindex"]
        async with untouched(one, other, web, db, (v4(has), v6(has))) as churns:
            with ExitStack() as partition:
                for member in it.etcd.members:
                    partition.enter_context(cut(host_of(member), peers=[one.underlay[0]]))
                await until(lambda: is_away(one), "it says that etcd is away", within_s=LONG_S)
                it.etcd.ctl("del", wanted(one, "goes"))
                it.etcd.ctl("put", wanted(one, "comes"), document("comes"))
                leaves(it, "gone")
                await until(lambda: not other.host.route(gone), "the other has no way to it any more", within_s=LONG_S)
                number, ends = 2, time.monotonic() + seconds
                async with going_on(churns):
                    while time.monotonic() < ends or number < 4:
                        new = await joins(it, f"new-{number}", number)
                        it.etcd.compact()
                        await until(lambda new=new: other.host.route(new), "the other follows", within_s=LONG_S)  # type: ignore[misc]
                        number += 1
                        await asyncio.sleep(0.5)
                        assert await is_away(one)
                assert one.host.route(gone), "it keeps what it knew"
                assert "eth0" in hosts["goes"].links()
            await until(lambda: follows(one), "it follows again", within_s=LONG_S)
            await until(lambda: not one.host.route(gone), "it has no way any more to who went", within_s=LONG_S)
            await until(lambda: one.host.route(new), "it has a way to who came", within_s=LONG_S)
            await until(lambda: "eth0" in hosts["comes"].links(), "what came is attached", within_s=LONG_S)
            await until(lambda: "eth0" not in hosts["goes"].links(), "what went is not", within_s=LONG_S)
            assert hosts["stays"].link("eth0")["ifindex"] == stays


@pytest.mark.parametrize("from_nodes", [True, False], ids=["from all", "from the other members"])
async def test_the_leader_is_cut_off(directory: Path, from_nodes: bool) -> None:
    """The others elect one of theirs, and every node follows them within its bound, whichever member it was connected
    to: one that has no leader answers, and is left all the same."""
    async with site(3, directory, members=3) as it:
        machines = one, other, _ = it.machines
        web, _ = await one.attach("web")
        db, has = await other.attach("db")
        async with untouched(one, other, web, db, (v4(has), v6(has))):
            leader = await asyncio.to_thread(it.etcd.leader)
            rest = [member for member in it.etcd.members if member is not leader]
            with cut(host_of(leader), peers=() if from_nodes else [member.address for member in rest]):

                async def elected() -> bool:
                    done = await asyncio.to_thread(it.etcd.tried, "get", "x", f"--endpoints={rest[0].endpoint}")
                    return done.returncode == 0

                await until(elected, "another leader is elected", within_s=LONG_S)
                it.etcd.asked = rest
                new = await joins(it, "new", 1)
                await until(lambda: all(it.host.route(new) for it in machines), "all have a way to it", within_s=LONG_S)
                it.etcd.asked = ()
            await until(lambda: follows(*it.machines), "all follow", within_s=LONG_S)
