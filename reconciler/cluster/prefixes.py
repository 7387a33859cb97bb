"""The prefixes that this node holds: taken in one transaction each, never two nodes the same, and never given back by
a lease that ended or by a file that somebody found.

The transaction holds only if no prefix of any node came or changed since all of them were read; so what was found free
is free. Whether one whose answer got lost came true is seen by reading them again, which comes before every try.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Iterable, Mapping

from netplumb.models.base import IPNetwork
from netplumb.models.clustersettings import ClusterPool
from netplumb.models.errors import NetplumbError
from netplumb.reconciler.cluster.claims import Claim, claims, free_part
from netplumb.reconciler.cluster.etcd import rpc_pb2 as pb
from netplumb.reconciler.cluster.etcd.client import Client, Delete, Put, absent, none_since
from netplumb.reconciler.cluster.etcd.entries import Keys, Snapshot
from netplumb.reconciler.cluster.etcd.errors import Away
from netplumb.reconciler.cluster.keys import Layout
from netplumb.reconciler.cluster.lineage import Lineage
from netplumb.reconciler.cluster.records import PrefixRecord

TRIES = 50
WAIT_FIRST_S, WAIT_MOST_S = 0.02, 2.0


class PoolFull(NetplumbError):
    """No part of a cluster's pool is left."""


class Prefixes:
    """Takes prefixes under one node's name, while the `fence` holds. An etcd that went back in time is
    not written to."""

    def __init__(
        self,
        client: Client,
        layout: Layout,
        name: str,
        fence: Callable[[], pb.Compare],
        lineage: Lineage,
    ) -> None:
        self._client = client
        self._layout = layout
        self._name = name
        self._fence = fence
        self._lineage = lineage

    async def take(self, pool: ClusterPool, beside: Iterable[IPNetwork], given_up: Collection[str] = ()) -> Claim:
        """One of the pool that is not among those that it has already; where none is free, one of a node that is
        `given_up`, if it is still away. Raises PoolFull, WentBack, Away or Refused."""
        have = set(beside)
        wait_s = WAIT_FIRST_S
        for _ in range(TRIES):
            snapshot = await self._read()
            held = claims(self._layout, snapshot.entries)
            mine = [it for it in held if it.node == self._name and it.pool == pool.cidr and it.cidr not in have]
            if mine:
                return mine[0]
            part, instead = free_part(pool, [it.cidr for it in _all(self._layout, snapshot)]), None
            if part is None:
                order = {node: number for number, node in enumerate(given_up)}
                over = [it for it in held if it.node in order and it.pool == pool.cidr]
                instead = min(over, key=lambda it: (order[it.node], it.since), default=None)
                part = instead.cidr if instead is not None else None
            if part is None:
                raise PoolFull(f"no /{pool.node_length} of {pool.cidr} is free: {pool.parts} are held")
            if (revision := await self._write(snapshot, {part: pool.cidr}, instead)) is not None:
                return Claim(self._name, part, pool.cidr, revision)
            await asyncio.sleep(random.uniform(0, wait_s))
            wait_s = min(WAIT_MOST_S, wait_s * 2)
        raise Away(f"other nodes came first {TRIES} times when a prefix of {pool.cidr} was to be taken")

    async def say_again(self, held: Mapping[IPNetwork, IPNetwork]) -> None:
        """Makes an etcd that went back in time say of this node what it holds, by its pool: what that etcd does not
        know is taken again, unless another node has it, and what this node had then and lost since is given up, so that
        it is whose it is now. Raises Away or Refused."""
        for _ in range(TRIES):
            snapshot = await self._read()
            said = _all(self._layout, snapshot)
            past = [it.cidr for it in said if it.node == self._name and it.cidr not in held]
            there = [it.cidr for it in said if it.node != self._name or it.cidr in held]
            free = {cidr: pool for cidr, pool in held.items() if not any(cidr.overlaps(it) for it in there)}
            if not (free or past) or await self._write(snapshot, free, past=past) is not None:
                return
            await asyncio.sleep(random.uniform(0, WAIT_MOST_S))
        raise Away("other nodes came first each time when prefixes were to be said again")

    async def _read(self) -> Snapshot:
        known = self._lineage.known
        snapshot = await self._client.read(self._layout.prefixes)
        self._lineage.check(snapshot.header, known)
        return snapshot

    async def _write(
        self,
        snapshot: Snapshot,
        parts: Mapping[IPNetwork, IPNetwork],
        instead: Claim | None = None,
        past: Iterable[IPNetwork] = (),
    ) -> int | None:
        compares = [none_since(self._layout.prefixes, snapshot.header.revision), self._fence()]
        changes: list[Put | Delete] = [
            Put(self._layout.prefix_of(self._name, cidr), PrefixRecord(pool=pool).written())
            for cidr, pool in parts.items()
        ]
        changes += [Delete(Keys(self._layout.prefix_of(self._name, cidr), is_prefix=False)) for cidr in past]
        if instead is not None:
            compares.append(absent(self._layout.presence(instead.node)))
            changes.append(Delete(Keys(self._layout.prefix_of(instead.node, instead.cidr), is_prefix=False)))
        return await self._client.commit(compares, changes)


def _all(layout: Layout, snapshot: Snapshot) -> list[Claim]:
    """Those that do not hold included: somebody may believe in one, and one that cannot be read is somebody's too."""
    found = []
    for key, entry in snapshot.entries.items():
        if (said := layout.prefix_in(key)) is not None:
            found.append(Claim(*said, said[1], entry.created))
    return found
