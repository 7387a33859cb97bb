"""Nodes with the real daemon on a real etcd: workloads reach each other, whatever happens to etcd."""

from __future__ import annotations

from pathlib import Path

from tests.cluster.sites import conditions, pools, site
from tests.e2e.echoes import ask, serving
from tests.e2e.waiting import until
from tests.e2e.wishes import v4, v6

LONG_S = 30.0


async def test_workloads_of_two_nodes_reach_each_other_while_etcd_comes_and_goes(directory: Path) -> None:
    """Each node gives addresses from its own prefixes; with all of etcd away, what runs goes on, nodes restart, and
    attach goes on too."""
    async with site(2, directory) as it:
        one, other = it.machines
        assert not {*await pools(one)} & {*await pools(other)}
        web, web_has = await one.attach("web")
        db, db_has = await other.attach("db")
        with serving(db, 81):

            def reaches() -> bool:
                asked = [(ask(web, address(db_has), 81), address(web_has)) for address in (v4, v6)]
                return all(answer == f"db {mine}" for answer, mine in asked)

            await until(reaches, "they reach each other", within_s=LONG_S)
            it.etcd.kill()

            async def away() -> bool:
                return "EtcdAway" in await conditions(one)

            await until(away, "it is told that etcd is away", within_s=LONG_S)
            assert reaches()
            await one.daemon.restart()
            assert reaches()
            assert "EtcdAway" in await conditions(one)
            _, late = await one.attach("late")
            assert v4(late).rpartition(".")[0] == v4(web_has).rpartition(".")[0]
            it.etcd.start()

            async def back() -> bool:
                return "EtcdAway" not in await conditions(one)

            await until(back, "etcd is followed again", within_s=LONG_S)
            assert reaches()
