"""A range of etcd's keys, kept as etcd has it.

It begins with what was known before, and resumes the watch from there. It reads everything if it cannot (at the very
first, and after a compaction), and now and then in any case, since etcd has lost events before (etcd-io/etcd #18089,
#19179). A full read is compared with what was known: what is missing from it has been deleted. Nothing is taken from an
etcd that has gone back in time (`Lineage`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Mapping
from contextlib import aclosing
from typing import Protocol

import structlog

from netplumb.reconciler.cluster.etcd.client import Client
from netplumb.reconciler.cluster.etcd.entries import Entry, Header, Keys, shown
from netplumb.reconciler.cluster.etcd.errors import Compacted, NotYet
from netplumb.reconciler.cluster.etcd.watch import changes
from netplumb.reconciler.cluster.lineage import RESTORED, Lineage, WentBack

LATEST = 20
"""So many of the latest writes are compared before a watch is resumed."""

log = structlog.get_logger(__name__)


class Kept(Protocol):
    """What is known, complete as of a position (a revision), which is 0 until something has been read."""

    position: int

    def __len__(self) -> int: ...

    def get(self, key: str, /) -> Entry | None: ...

    def take(self, changes: Mapping[str, Entry | None], position: int) -> None: ...

    def replace(self, entries: Mapping[str, Entry], position: int) -> Collection[str]:
        """Returns the keys of which something else is known than before."""


class Mirror:
    """Keeps `entries` as etcd has them. `changed` is told of which keys something else is known than before."""

    def __init__(
        self,
        client: Client,
        keys: Keys,
        lineage: Lineage,
        changed: Callable[[Collection[str]], None],
        heard: Callable[[], None],
        *,
        reread_s: float,
        entries: Kept,
    ) -> None:
        self._client = client
        self._keys = keys
        self._lineage = lineage
        self._changed = changed
        self._heard = heard
        self._reread_s = reread_s
        self.entries = entries
        self.following = False
        self._must_read = entries.position == 0
        self._forget = False
        self._read_at = 0.0

    @property
    def position(self) -> int:
        return self.entries.position

    @property
    def is_known(self) -> bool:
        return self.position > 0

    def read_anew(self) -> None:
        """Makes the next `follow` read everything, whatever was known before: this is another history."""
        self._must_read = self._forget = True

    async def follow(self) -> None:
        """Follows until something is wrong: raises Away, Refused or WentBack."""
        try:
            await self._follow()
        finally:
            self.following = False

    async def _follow(self) -> None:
        await self.check()
        while True:
            if self._must_read:
                await self.read_all()
            self.following = True
            self._heard()
            try:
                async with asyncio.timeout_at(self._reread_due()):
                    await self._watch()
            except Compacted as error:
                log.info("etcd is read anew", keys=self._keys.first, cause=str(error))
                self._must_read = True
            except TimeoutError:
                # It was followed up to here, so what is found now that was not told is an event that got lost.
                self._must_read = self._forget = True

    async def check(self) -> bool:
        """Whether etcd's history is known for the one that was followed up to here: raises WentBack where it is not.
        From a revision that an etcd restored from a backup has not reached yet, a watch is silent, not wrong; and where
        others wrote to it until it was past that again, it only lacks what they wrote before."""
        if self._must_read:
            return False
        known, position = self._lineage.known, self.position
        try:
            past = await self._client.at(self._keys, position, LATEST)
        except NotYet:
            answer = await self._client.read(Keys(self._keys.first, is_prefix=False))
            self._lineage.check_cluster(answer.header.cluster)
            raise WentBack(f"etcd has not come to revision {position}, which was followed: {RESTORED}") from None
        except Compacted:
            self._must_read = True
            return False
        self._lineage.check(past.header, known)
        if self.position != position:
            return False
        if past.number != len(self.entries):
            raise WentBack(
                f"etcd says that it had {past.number} keys below {self._keys.first} at revision {position}, and it had "
                f"{len(self.entries)}: {RESTORED}"
            )
        self._compare(past.written)
        return True

    def _compare(self, written: Mapping[str, int]) -> None:
        """With what was written until now, by key, as etcd has it."""
        for key, revision in written.items():
            mine = self.entries.get(key)
            if mine is None or mine.modified != revision:
                raise WentBack(
                    f"etcd says that {shown(key)} was written at revision {revision}, which was followed and was not "
                    f"that: {RESTORED}"
                )

    def _reread_due(self) -> float:
        """On the event loop's clock; apart from others', who may have begun at the same moment."""
        now = asyncio.get_running_loop().time()
        due = (self._read_at or now) + self._reread_s * random.uniform(0.75, 1.25)
        return max(due, now + self._reread_s / 10)

    async def _watch(self) -> None:
        async with aclosing(changes(self._client.connection, self._keys, self.position, self._signed)) as stream:
            async for each in stream:
                self._lineage.check_cluster(each.cluster)
                self.entries.take(each.entries, each.revision)
                self._lineage.advance(Header(each.cluster, each.revision))
                self._changed(each.entries.keys())

    def _signed(self, header: Header) -> None:
        self._lineage.check_cluster(header.cluster)
        self._heard()

    async def read_all(self) -> None:
        """Reads all, and takes it for what is, deletions included."""
        known, position, anew = self._lineage.known, self.position, self._forget
        snapshot = await self._client.read(self._keys)
        self._lineage.check(snapshot.header, known)
        if self.is_known and not anew:
            self._compare({key: it.modified for key, it in snapshot.entries.items() if it.modified <= position})
        was_known = self.is_known
        different = self.entries.replace(snapshot.entries, snapshot.header.revision)
        self._lineage.advance(snapshot.header)
        self._must_read, self._forget, self._read_at = False, False, asyncio.get_running_loop().time()
        if different or not was_known:
            self._changed(different)
