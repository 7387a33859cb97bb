"""The prefixes that this node holds: each claimed in one transaction, never the same by two nodes, and never released
because a lease ended.

A claim is a key below the node's own name, so that a role of etcd can confine the node to that. A transaction that
asked whether a prefix is claimed below any name would have to compare all claims, and then only one node at a time
could succeed. So it compares only this node's own keys, and who holds a prefix follows from the order in which etcd
wrote the claims (`claims`): a prefix is used once everything up to the claim's revision is known, and no older claim
overlaps it. A void claim is withdrawn, and another part claimed.

If the answer to a claim got lost, reading the node's own keys, which comes before every attempt, shows whether it
succeeded. A claim that is still under way then fails, since those keys have changed since it was sent.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Mapping

from netplumb.models.base import IPNetwork, is_within
from netplumb.models.clustersettings import ClusterPool
from netplumb.models.errors import NetplumbError
from netplumb.reconciler.cluster.claims import Claim, Claims, claims
from netplumb.reconciler.cluster.etcd import rpc_pb2 as pb
from netplumb.reconciler.cluster.etcd.client import Client, Delete, Put, absent, none_since, written_at
from netplumb.reconciler.cluster.etcd.entries import Keys, Snapshot
from netplumb.reconciler.cluster.etcd.errors import Away
from netplumb.reconciler.cluster.keys import Layout
from netplumb.reconciler.cluster.lineage import Lineage
from netplumb.reconciler.cluster.parts import free_part
from netplumb.reconciler.cluster.records import PrefixRecord

TRIES = 5
WAIT_MOST_S = 2.0


class PoolFull(NetplumbError):
    """No part of a cluster's pool is left."""


class Prefixes:
    """Claims prefixes under one node's name, while the `fence` holds. An etcd that went back in time is not written
    to."""

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

    async def claim(
        self,
        pool: ClusterPool,
        known: Claims,
        ahead: int = 0,
        given_up: Collection[str] = (),
        unwanted: Collection[IPNetwork] = (),
    ) -> Claim | None:
        """One part of the pool that is free as far as is known, `ahead` of which are left to other nodes; one that is
        `unwanted` for lack of others; where none is, one of a node that is `given_up`, if it is still away. None where
        that came to nothing since more has happened than is known. Raises PoolFull, WentBack, Away or Refused."""
        own = await self._read(self._layout.prefixes_of(self._name))
        if claims(self._layout, own.entries).said_by(self._name) != known.said_by(self._name):
            return None
        compares: list[pb.Compare] = []
        changes: list[Put | Delete] = []
        part = free_part(pool, {*known.taken, *unwanted}, ahead) or free_part(pool, known.taken, ahead)
        if part is None:
            order = {node: number for number, node in enumerate(given_up)}
            over = [it for it in known.held if it.node in order and is_within(it.cidr, pool.cidr)]
            if not over:
                raise PoolFull(f"no /{pool.node_length} of {pool.cidr} is free: {pool.parts} are held")
            instead = min(over, key=lambda it: (order[it.node], it.since))
            part = instead.cidr
            compares = [absent(self._layout.presence(instead.node)), self._is_as_known(instead)]
            changes = [self._gone(instead)]
        revision = await self._write(own, compares, [*changes, self._said(part, pool.cidr)])
        return None if revision is None else Claim(self._name, part, pool.cidr, revision)

    async def give_back(self, void: Collection[Claim]) -> None:
        """This node's own, as they were known; another time where they are others by now. Raises Away or Refused."""
        compares = [self._fence(), *map(self._is_as_known, void)]
        await self._client.commit(compares, [self._gone(it) for it in void])

    async def say_again(self, held: Mapping[IPNetwork, IPNetwork]) -> None:
        """Makes an etcd that went back in time say of this node what it holds, by its pool: what that etcd does not
        know is claimed again, unless another node has it, and what this node had then and lost since is given up, so
        that it is whose it is now. Raises Away or Refused."""
        for _ in range(TRIES):
            snapshot = await self._read(self._layout.prefixes)
            said = claims(self._layout, snapshot.entries)
            own = said.said_by(self._name)
            there = [*(said.taken - own), *(own & held.keys())]
            missing = {cidr: pool for cidr, pool in held.items() if not any(cidr.overlaps(it) for it in there)}
            changes: list[Put | Delete] = [
                *(self._said(cidr, pool) for cidr, pool in missing.items()),
                *(Delete(self._key(self._name, cidr)) for cidr in own - held.keys()),
            ]
            if not changes or await self._write(snapshot, [], changes) is not None:
                return
            await asyncio.sleep(random.uniform(0, WAIT_MOST_S))
        raise Away("this node's prefixes changed each time when they were to be said again")

    async def _read(self, keys: Keys) -> Snapshot:
        known = self._lineage.known
        snapshot = await self._client.read(keys)
        self._lineage.check(snapshot.header, known)
        return snapshot

    async def _write(
        self, read: Snapshot, compares: Collection[pb.Compare], changes: Collection[Put | Delete]
    ) -> int | None:
        """If the name is still this node's, and its own keys are as they were read."""
        own = none_since(self._layout.prefixes_of(self._name), read.header.revision)
        return await self._client.commit([self._fence(), own, *compares], list(changes))

    def _said(self, cidr: IPNetwork, pool: IPNetwork) -> Put:
        return Put(self._layout.prefix_of(self._name, cidr), PrefixRecord(pool=pool).written())

    def _is_as_known(self, claim: Claim) -> pb.Compare:
        return written_at(self._layout.prefix_of(claim.node, claim.cidr), claim.since)

    def _gone(self, claim: Claim) -> Delete:
        return Delete(self._key(claim.node, claim.cidr))

    def _key(self, node: str, cidr: IPNetwork) -> Keys:
        return Keys(self._layout.prefix_of(node, cidr), is_prefix=False)
