"""This node's name, and that it is alive: a key with a lease. Losing the lease removes nothing else. A daemon that
stops lets it expire, so that no other machine takes the name during a restart.

A name belongs to the first machine that claims it, for as long as its lease lives. A second one with the same name is
refused and reports that. A machine that was reinstalled under the name waits until the lease of the old one has ended,
and then has what is held under the name.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress

from netplumb.models.errors import NetplumbError
from netplumb.reconciler.cluster.etcd import rpc_pb2 as pb
from netplumb.reconciler.cluster.etcd.client import Client, Put, absent, says, unchanged
from netplumb.reconciler.cluster.etcd.entries import Keys
from netplumb.reconciler.cluster.etcd.errors import Away
from netplumb.reconciler.cluster.keys import Layout
from netplumb.reconciler.cluster.records import Identity, NodeRecord, PresenceRecord, read

BEATS_IN_A_LEASE = 3


class NameTaken(NetplumbError):
    """Another machine uses the name."""


class Ended(Away):
    """The presence has; it has to be claimed anew."""


class Presence:
    """`record` is asked what the node tells of itself; what it says may change. `ours` is called once the name is,
    `told` each time that etcd has what is to be told. `check` raises where this etcd is not to be written to."""

    def __init__(
        self,
        client: Client,
        layout: Layout,
        name: str,
        identity: Identity,
        lease_s: float,
        record: Callable[[], NodeRecord],
        ours: Callable[[], None],
        told: Callable[[], None],
        check: Callable[[], Awaitable[object]],
    ) -> None:
        self._client = client
        self._key = layout.presence(name)
        self._node_key = layout.node(name)
        self._value = PresenceRecord(identity=identity).written()
        self._name = name
        self._identity = identity
        self._lease_s = lease_s
        self._record = record
        self._ours = ours
        self._has_told = told
        self._check = check
        self._told: bytes | None = None
        self._lease = 0
        self.is_held = False
        self.changed = asyncio.Event()

    def fence(self) -> pb.Compare:
        """Holds as long as the name is this node's: what is written with it, no other machine of the name wrote."""
        return says(self._key, self._value)

    async def hold(self) -> None:
        """Claims the name and keeps it, until something is wrong: raises NameTaken, Away or Refused."""
        try:
            await self._hold()
        except (NameTaken, Ended):
            self.forget()
            raise

    async def _hold(self) -> None:
        if not (self._lease and await self._client.keep_alive(self._lease) and await self._is_ours()):
            await self._claim()
        self.is_held = True
        self._ours()
        while self._lease:
            await self._tell()
            self._has_told()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._lease_s / BEATS_IN_A_LEASE):
                    await self.changed.wait()
            self.changed.clear()
            if self._lease and not await self._client.keep_alive(self._lease):
                raise Ended("the lease of this node's presence has ended meanwhile")

    def forget(self) -> None:
        """Claims it anew, before anything else is written with it."""
        self.is_held, self._lease = False, 0
        self.changed.set()

    async def _is_ours(self) -> bool:
        found = (await self._client.read(Keys(self._key, is_prefix=False))).entries.get(self._key)
        return found is not None and found.value == self._value

    async def _claim(self) -> None:
        await self._check()
        found = (await self._client.read(Keys(self._key, is_prefix=False))).entries.get(self._key)
        if found is not None and found.value != self._value:
            raise NameTaken(f"the name {self._name} is used by another machine now ({self._words(found.value)})")
        compare = absent(self._key) if found is None else unchanged(self._key, found)
        self._lease = await self._client.grant(math.ceil(self._lease_s))
        record = self._record().written()
        changes = [Put(self._key, self._value, self._lease), Put(self._node_key, record)]
        if await self._client.commit([compare], changes) is None:
            raise Away("another claimed this node's name at the same moment")
        self._told = record

    def _words(self, value: bytes) -> str:
        other = read(PresenceRecord, value)
        if other is None:
            return "which this version does not understand"
        if self._identity.is_beside(other.identity):
            return f"a daemon of this machine in another network namespace: boot {other.identity.boot}"
        if self._identity.is_copy_of(other.identity):
            return (
                f"this one before its last boot, of which the lease ends within {self._lease_s:g} s; or, if this "
                f"stays, one of two is a copy of the other, with its machine-id {other.identity.machine}: then give "
                f"that an id of its own (systemd-machine-id-setup) and another node_name; boot {other.identity.boot}"
            )
        return f"machine {other.identity.machine or 'without an id'}, boot {other.identity.boot}"

    async def _tell(self) -> None:
        """Writes what the node tells of itself, where that is other than before."""
        record = self._record().written()
        if record == self._told:
            return
        if await self._client.commit([self.fence()], [Put(self._node_key, record)]) is None:
            raise Ended("the presence of this node was removed from etcd")
        self._told = record
