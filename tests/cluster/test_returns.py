"""Nodes that come back: suspended for longer than their lease, removed meanwhile, made anew under their name, with
another time of day, or without what they knew. What runs on them runs on, and nothing of anybody else's is taken or
overwritten.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from netplumb.api.client.errors import Unavailable
from tests.cluster.churn import flowing, none_deleted
from tests.cluster.sites import Site, conditions, held, site
from tests.cluster.test_documents import POLICY, document, wanted
from tests.e2e.clockeddaemons import ClockedDaemon
from tests.e2e.echoes import ask, serving
from tests.e2e.nodes import Machine, wire
from tests.e2e.waiting import until
from tests.e2e.wishes import v4, v6

LONG_S = 40.0

pytestmark = pytest.mark.timeout(300)


def is_present(it: Site, machine: Machine) -> bool:
    return f"/netplumb/shared/presence/{machine.name}" in it.etcd.key_names()


async def follows(machine: Machine) -> bool:
    return "EtcdAway" not in await conditions(machine)


async def in_sync(machine: Machine) -> bool:
    async with machine.client() as client:
        return not (await client.plan()).changes


async def test_a_node_that_was_suspended_comes_back_with_its_workloads(directory: Path) -> None:
    """For longer than its lease, and than all waits: its prefixes are its own, and no packet of what runs is lost."""
    async with site(2, directory) as it:
        one, other = it.machines
        web, _ = await one.attach("web")
        db, has = await other.attach("db")
        before = await held(one)
        async with flowing(web, db, (v4(has), v6(has))):
            with one.daemon.held():
                await until(lambda: not is_present(it, one), "its lease has ended", within_s=LONG_S)
                await asyncio.sleep(3)
            await until(lambda: is_present(it, one), "it is there again", within_s=LONG_S)
            await until(lambda: follows(one), "it follows", within_s=LONG_S)
            assert await held(one) == before
        _, late = await one.attach("late")
        assert v4(late).rpartition(".")[0] == before[0].rpartition(".")[0]


async def test_a_node_that_was_removed_while_suspended_leaves_what_is_anothers(directory: Path) -> None:
    """Its prefix was given to a node that came meanwhile: it says so, gives no address of it, writes it nowhere, and
    its workloads still reach what is no node's."""
    small = [{"cidr": "10.128.0.0/23"}, {"cidr": "fd80::/63"}]
    async with site(2, directory, pools=small) as it:
        one, other = it.machines
        web, has = await one.attach("web")
        lost = await held(one)
        with serving(it.lan.outside, 82), one.daemon.held():
            await until(lambda: not is_present(it, one), "its lease has ended", within_s=LONG_S)
            it.etcd.ctl("del", "--prefix", f"/netplumb/shared/prefixes/{one.name}/")
            it.etcd.ctl("del", f"/netplumb/shared/nodes/{one.name}")
            for prefix in lost:
                key = f"/netplumb/shared/prefixes/new/{prefix.replace('/', '-')}"
                it.etcd.ctl("put", key, f'{{"pool": "{small[prefix == lost[1]]["cidr"]}"}}')
            keys = [key for key in it.etcd.key_names() if "/prefixes/" in key]

        async def told() -> bool:
            return "PrefixLost" in await conditions(one)

        await until(told, "it is told", within_s=LONG_S)
        with pytest.raises(Unavailable, match="given this node no prefix"):
            await one.attach("late")
        await asyncio.sleep(2)
        assert [key for key in it.etcd.key_names() if "/prefixes/" in key] == keys
        assert {it.partition("/")[0] for it in web.addresses("eth0")} == {v4(has), v6(has)}
        with serving(it.lan.outside, 82), serving(web, 81):
            assert ask(web, "192.0.2.254", 82) == "lan 192.0.2.1"
            assert (ask(one.host, v4(has), 81) or "").startswith("web ")
        assert await held(other)


async def test_a_node_made_anew_under_its_name_has_its_prefixes(directory: Path) -> None:
    """Another boot, an empty disk and an empty kernel: it waits for the old one's lease to end, and then gives
    addresses of the same prefixes, by which the others reach it as before."""
    async with site(2, directory, mode="vxlan") as it:
        one, other = it.machines
        await one.attach("web")
        db, db_has = await other.attach("db")
        before = await held(one)
        with none_deleted(other.host, before):
            one.daemon.kill9()
            shutil.rmtree(one.daemon.data_dir)
            it.lan.outside.ip("link delete n1")
            one.host.remake()
            wire(one.host, 1, it.lan.outside)
            await one.daemon.start(ready=False)

            async def has_prefixes() -> bool:
                return await held(one) == before

            await until(has_prefixes, "it has its prefixes", within_s=LONG_S)
            new, new_has = await one.attach("new")
            await until(lambda: in_sync(one), "it is in sync", within_s=LONG_S)
            with serving(db, 81):
                assert ask(new, v4(db_has), 81) == f"db {v4(new_has)}"
                assert ask(new, v6(db_has), 81) == f"db {v6(new_has)}"


@pytest.mark.parametrize("hours", [-24 * 30, 24 * 30], ids=["back", "forth"])
async def test_a_clock_that_is_set_changes_nothing(directory: Path, hours: int) -> None:
    """Neither the lease nor the prefixes nor what is known follow from the time of day, also over a restart while etcd
    is away."""
    async with site(2, directory, daemon=ClockedDaemon, cluster={"away_days": 1 / 24}) as it:
        one, other = it.machines
        web, _ = await one.attach("web")
        db, has = await other.attach("db")
        before = await held(one)
        async with flowing(web, db, (v4(has), v6(has))):
            assert isinstance(one.daemon, ClockedDaemon)
            one.daemon.set_clock(hours * 3600)
            await asyncio.sleep(4)
            assert is_present(it, one)
            it.etcd.kill()
            await until(lambda: is_away(one), "it says that etcd is away", within_s=LONG_S)
            await one.daemon.restart()
            assert await held(one) == before
            one.daemon.set_clock(0)
            await asyncio.sleep(2)
            it.etcd.start()
            await until(lambda: follows(one), "it follows", within_s=LONG_S)
            assert await held(one) == before
            assert await held(other)


async def is_away(machine: Machine) -> bool:
    return not await follows(machine)


async def test_a_node_that_forgot_all_while_etcd_is_away_runs_on(directory: Path) -> None:
    """Its file of the cluster and its store are gone, as after a disk was lost: the ways and the workloads stay, no
    address of the cluster is given before etcd says whose it is, and then it is as it was."""
    async with site(2, directory) as it:
        one, other = it.machines
        web, has = await one.attach("web")
        db, db_has = await other.attach("db")
        before, theirs = await held(one), await held(other)
        with none_deleted(one.host, [*theirs, v4(has), v6(has)]):
            async with flowing(web, db, (v4(db_has), v6(db_has))):
                it.etcd.kill()
                await until(lambda: is_away(one), "it says that etcd is away", within_s=LONG_S)
                one.daemon.kill9()
                shutil.rmtree(one.daemon.data_dir)
                await one.daemon.start(ready=False)
                with pytest.raises(Unavailable, match="given this node no prefix"):
                    await one.attach("early")
                one.daemon.reload()
                await asyncio.sleep(2)
                it.etcd.start()

                async def has_prefixes() -> bool:
                    return await held(one) == before

                await until(has_prefixes, "it has its prefixes", within_s=LONG_S)
                await until(lambda: in_sync(one), "it is in sync", within_s=LONG_S)
        _, late = await one.attach("late")
        assert v4(late) not in (v4(has), before[0].partition("/")[0])


@pytest.mark.parametrize("mode", ["routes", "vxlan"])
async def test_restarts_of_netplumb_and_of_etcd_lose_nothing(directory: Path, mode: str) -> None:
    """Each member, all of etcd at once, and each daemon, killed or ended: of what flows between two nodes, nothing."""
    async with site(2, directory, mode=mode, members=3) as it:
        one, other = it.machines
        web, _ = await one.attach("web")
        db, has = await other.attach("db")
        theirs = [*await held(one), *await held(other)]
        with none_deleted(one.host, theirs), none_deleted(other.host, theirs):
            async with flowing(web, db, (v4(has), v6(has))):
                for member in it.etcd.members:
                    member.kill()
                    member.start(it.etcd.members)
                    await asyncio.to_thread(it.etcd.wait)
                it.etcd.kill()
                for machine in it.machines:
                    await machine.daemon.restart()
                await asyncio.to_thread(it.etcd.start)
                for machine in it.machines:
                    machine.daemon.kill9()
                    await machine.daemon.start()
                for machine in it.machines:
                    await until(lambda machine=machine: follows(machine), "it follows", within_s=LONG_S)  # type: ignore[misc]
                    await until(lambda machine=machine: in_sync(machine), "it is in sync", within_s=LONG_S)  # type: ignore[misc]


async def test_an_older_backup_takes_no_way_away(directory: Path) -> None:
    """A node that joined after the backup was made, and its workloads, are reached while nobody accepted it, over a
    restart too, and afterwards."""
    async with site(2, directory) as it:
        one, other = it.machines
        web, _ = await one.attach("web")
        db, has = await other.attach("db")
        theirs = [*await held(one), *await held(other)]
        snapshot = it.etcd.save()
        it.etcd.ctl("put", "/netplumb/shared/nodes/after", "{}")
        with none_deleted(one.host, theirs), none_deleted(other.host, theirs):
            async with flowing(web, db, (v4(has), v6(has))):
                await asyncio.to_thread(it.etcd.restore, snapshot)

                async def told(*machines: Machine) -> bool:
                    return all(["EtcdWentBack" in await conditions(machine) for machine in machines])

                await until(lambda: told(one, other), "both say so", within_s=LONG_S)
                await one.daemon.restart()
                await until(lambda: told(one), "also after a restart", within_s=LONG_S)
                it.etcd.ctl("put", "/netplumb/shared/accepted/token", "{}")

                async def well() -> bool:
                    return all([set(await conditions(machine)) == {"NodeInSync"} for machine in it.machines])

                await until(well, "both are well", within_s=LONG_S)


@pytest.mark.parametrize("mode", ["routes", "vxlan"])
async def test_a_node_that_leaves_its_cluster_leaves_nothing_of_it(directory: Path, mode: str) -> None:
    """Its settings say none any more: the ways go, and what documents wanted of it; who was attached by a client stays
    attached, and so do ways of others. A cluster that the settings have again gives it the same prefixes."""
    async with site(2, directory, mode=mode) as it:
        one, other = it.machines
        web, has = await one.attach("web")
        mine, theirs = await held(one), await held(other)
        declared = one.workload("declared")
        it.etcd.ctl("put", wanted(one, "declared"), document("declared"))
        it.etcd.ctl("put", "/netplumb/shared/documents/nobody", POLICY)
        await until(lambda: "eth0" in declared.links(), "what is declared is attached", within_s=LONG_S)
        one.host.ip("route add 203.0.113.0/24 via 192.0.2.9 proto static")
        assert all(one.host.route(prefix) for prefix in theirs)
        settings = one.daemon.config.read_text()
        one.daemon.configure(pools=["10.213.0.0/24"])
        await one.daemon.restart()
        await until(lambda: not any(one.host.route(prefix) for prefix in theirs), "its ways are gone", within_s=LONG_S)
        await until(lambda: "eth0" not in declared.links(), "what is declared is detached", within_s=LONG_S)
        assert "np-vxlan" not in one.host.links()
        assert one.host.route("203.0.113.0/24")
        assert {address.partition("/")[0] for address in web.addresses("eth0")} == {v4(has), v6(has)}
        async with one.client() as client:
            assert [found.name for found in await client.policies()] == []
        await until(lambda: in_sync(one), "it is in sync", within_s=LONG_S)
        one.daemon.config.write_text(settings)
        await one.daemon.restart()

        async def is_back() -> bool:
            return await held(one) == mine and all(one.host.route(prefix) for prefix in theirs)

        await until(is_back, "it has its prefixes and ways", within_s=LONG_S)
        await until(lambda: "eth0" in declared.links(), "what is declared is attached", within_s=LONG_S)
