"""Claims another prefix whenever this node needs one, for as long as it is a member.

What is free is known from the mirror, and etcd is asked only for the node's own keys; so a thousand nodes that join at
the same moment each ask as much as one alone. A claim counts as soon as the watch reports it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from netplumb.models.clustersettings import ClusterPool, ClusterSettings
from netplumb.reconciler.cluster.absences import Absences
from netplumb.reconciler.cluster.mirror import Mirror
from netplumb.reconciler.cluster.prefixes import PoolFull, Prefixes
from netplumb.reconciler.cluster.presence import Presence
from netplumb.reconciler.cluster.standing import Standing

LOOK_S = 1.0
"""How often it is looked whether a pool is nearly full."""

FULL_S = 5.0
DAY_S = 24 * 3600.0

log = structlog.get_logger(__name__)


class Taking:
    """`changed` is called when there is something else to tell, and to keep."""

    def __init__(
        self,
        settings: ClusterSettings,
        standing: Standing,
        prefixes: Prefixes,
        presence: Presence,
        shared: Mirror,
        changed: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._standing = standing
        self._prefixes = prefixes
        self._presence = presence
        self._shared = shared
        self._changed = changed
        self._absences = Absences()
        self._awaited = 0
        self._full_until: dict[ClusterPool, float] = {}
        self._look = asyncio.Event()

    def look(self) -> None:
        """Something may be wanted now."""
        self._look.set()

    def forget_claims(self) -> None:
        """Of another history of etcd, which may never come to their revision."""
        self._awaited = 0

    async def run(self) -> None:
        """Until something is wrong: raises WentBack, Away or Refused."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._look.wait()
            self._look.clear()
            if self._settings.away_days:
                self._look_who_is_away()
            if self._standing.forget_lost():
                self._changed()
            if self._may_claim:
                if void := self._standing.void:
                    await self._prefixes.give_back(void)
                for pool in self._settings.pools:
                    if self._standing.wants(pool) and time.monotonic() >= self._full_until.get(pool, 0):
                        await self._take(pool)
                if self._standing.troubles.went_well("prefixes"):
                    self._changed()

    @property
    def _may_claim(self) -> bool:
        standing = self._standing
        follows = self._presence.is_held and self._shared.following
        return follows and standing.sees_itself and standing.revision >= self._awaited

    async def _take(self, pool: ClusterPool) -> None:
        standing, full = self._standing, self._standing.troubles.full
        try:
            claim = await self._prefixes.claim(
                pool, standing.claims, standing.ahead(pool), self._given_up(), standing.reached_otherwise(pool)
            )
        except PoolFull as error:
            self._full_until[pool] = time.monotonic() + FULL_S
            if full.get(pool.cidr) != str(error):
                full[pool.cidr] = str(error)
                self._changed()
            return
        full.pop(pool.cidr, None)
        if claim is not None:
            log.info("a prefix is claimed", prefix=str(claim.cidr), pool=str(pool.cidr), revision=claim.since)
            self._awaited = claim.since

    def _given_up(self) -> list[str]:
        """Nodes that have been away for so long that they may lose their prefixes."""
        if not self._settings.away_days:
            return []
        return self._absences.for_longer_than(self._settings.away_days * DAY_S, time.monotonic())

    def _look_who_is_away(self) -> None:
        if self._shared.following:
            away = [name for name, it in self._standing.view.peers.items() if it.prefixes and not it.present]
            self._absences.saw(away, time.monotonic())
        else:
            self._absences.saw_nothing()
