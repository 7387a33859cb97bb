"""Nodes that take prefixes at the same moment, and die in the middle of it: no two ever have addresses in common."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from itertools import combinations, pairwise
from pathlib import Path

import pytest

from netplumb.models.clustersettings import ClusterPool
from netplumb.reconciler.cluster.claims import Claim, claims
from netplumb.reconciler.cluster.etcd.client import Client, absent
from netplumb.reconciler.cluster.etcd.connection import Connection
from netplumb.reconciler.cluster.etcd.entries import Entry
from netplumb.reconciler.cluster.etcd.errors import EtcdError
from netplumb.reconciler.cluster.etcd.watch import changes
from netplumb.reconciler.cluster.keys import Layout
from netplumb.reconciler.cluster.lineage import Lineage
from netplumb.reconciler.cluster.prefixes import Prefixes
from tests.cluster.etcds import Etcd
from tests.cluster.members import nodes
from tests.sweeps import swept

NODES = 20
POOL = ClusterPool.model_validate({"cidr": "10.0.0.0/8"})


class Racer:
    """One node that wants a prefix, and may be killed while it takes it; then it begins anew, as after a restart."""

    def __init__(self, etcd: Etcd, layout: Layout, name: str, deaths: int) -> None:
        self.name = name
        self._layout = layout
        self._etcd = etcd
        self._deaths = deaths

    async def run(self) -> Claim:
        while True:
            connection = Connection(self._etcd.settings())
            client = Client(connection)
            prefixes = Prefixes(client, self._layout, self.name, lambda: absent("/nobody"), Lineage())
            taking = asyncio.ensure_future(self._take(client, prefixes))
            try:
                if self._deaths:
                    self._deaths -= 1
                    await asyncio.sleep(random.uniform(0, 0.1))
                    taking.cancel()
                return await taking
            except (asyncio.CancelledError, EtcdError):
                if not taking.done():
                    raise
            finally:
                with suppress(asyncio.CancelledError):
                    await connection.close()

    async def _take(self, client: Client, prefixes: Prefixes) -> Claim:
        """All want the same one, the first that is free, which is the worst that they could do."""
        while True:
            known = claims(self._layout, (await client.read(self._layout.prefixes)).entries)
            if mine := [it for it in known.held if it.node == self.name]:
                return mine[0]
            if void := [it for it in known.void if it.node == self.name]:
                await prefixes.give_back(void)
            else:
                await prefixes.claim(POOL, known)


def overlaps(layout: Layout, entries: Mapping[str, Entry]) -> list[tuple[str, str]]:
    """Pairs of prefixes, as they stand in etcd, that have addresses in common."""
    held = [said for key in entries if (said := layout.prefix_in(key)) is not None]
    in_order = sorted(held, key=lambda it: int(it[1].network_address))
    pairs = pairwise(in_order)
    return [(f"{a[0]} {a[1]}", f"{b[0]} {b[1]}") for a, b in pairs if a[1].overlaps(b[1])]


async def nothing() -> None: ...


async def race(etcd: Etcd, number: int, harm: Callable[[], Awaitable[None]] = nothing) -> None:
    """Nothing is looked at before the harm that is done meanwhile is over."""
    layout = Layout(f"/round-{number}")
    racers = [Racer(etcd, layout, f"node-{number}-{it}", deaths=it % 3) for it in range(NODES)]
    taken, _ = await asyncio.gather(asyncio.gather(*(it.run() for it in racers)), harm())
    assert not [pair for pair in combinations(taken, 2) if pair[0].cidr.overlaps(pair[1].cidr)]
    connection = Connection(etcd.settings())
    entries = (await Client(connection).read(layout.prefixes)).entries
    await connection.close()
    assert overlaps(layout, entries) == []
    for racer, claim in zip(racers, taken, strict=True):
        mine = [it for it in claims(layout, entries).held if it.node == racer.name]
        assert [it.cidr for it in mine] == [claim.cidr], "one each, however often it had to begin anew"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("rounds", swept([3, 100], lambda _: "rounds"))
async def test_twenty_nodes_at_once_never_have_addresses_in_common(etcd: Etcd, rounds: int) -> None:
    for number in range(rounds):
        await race(etcd, number)


async def test_nor_while_the_leader_dies(three: Etcd) -> None:
    async def harm() -> None:
        for _ in range(2):
            await asyncio.sleep(0.3)
            leader = await asyncio.to_thread(three.leader)
            leader.kill()
            await asyncio.sleep(1.5)
            leader.start(three.members)
            await asyncio.to_thread(three.wait)

    await race(three, 0, harm)


async def test_nodes_that_join_at_once_claim_one_prefix_each(etcd: Etcd, tmp_path: Path) -> None:
    """In the order of their arrival, so that no claim turns out void, and the parts follow each other."""
    names = [f"n{it}" for it in range(NODES)]
    async with nodes(etcd, tmp_path, *names, pools=[{"cidr": "10.0.0.0/8"}]) as made:
        held = [prefix for node in made for prefix in node.prefixes]
        assert sorted(held) == sorted(f"10.0.{it}.0/24" for it in range(NODES))
    connection = Connection(etcd.settings())
    written = 0
    async with aclosing(changes(connection, Layout("/netplumb").prefixes, 0, lambda _: None)) as stream:
        async for each in stream:
            assert None not in each.entries.values()
            written += len(each.entries)
            if written >= NODES:
                break
    await connection.close()
