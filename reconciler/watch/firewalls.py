"""Looks at what other tables drop: at the start, after somebody else committed to nftables, and now and then, since
nobody tells of iptables-legacy, of new mapped ports or of another uplink.

A look takes its time, so it is taken in a thread, and however large a ruleset is, looks leave it mostly idle. Between
commits nftables is not read again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import structlog

from netplumb.models.errors import StepError
from netplumb.models.status import Condition
from netplumb.reconciler.decide.firewalls.ruleset import Ruleset
from netplumb.reconciler.decide.firewalls.traffic import Ours
from netplumb.reconciler.decide.firewalls.weigh import hindrances
from netplumb.reconciler.decide.firewalls.words import conditions
from netplumb.reconciler.kernel.firewalls import foreigntables, iptables
from netplumb.reconciler.kernel.firewalls.foreigntables import ForeignTables

PAUSE_S = 1.0
LOOK_AGAIN_S = 5.0
LONGEST_PAUSE_S = 10.0
_IDLE_SHARE = 10  # a look that took long is followed by a pause so many times as long

log = structlog.get_logger(__name__)

Listed = tuple[ForeignTables, ForeignTables, Ours]


class FirewallWatch:
    """`ours` tells what is ours. `conditions` are those of the last look."""

    def __init__(self, ours: Callable[[], Ours]) -> None:
        self._ours = ours
        self._due = asyncio.Event()
        self._due.set()
        self._seen: Listed | None = None
        self._failed = ""
        self.conditions = conditions((), Ruleset())

    def mark(self) -> None:
        """Something may have changed in nftables."""
        self._due.set()

    async def run(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._due.wait(), LOOK_AGAIN_S)
            marked = self._due.is_set()
            self._due.clear()
            began = time.monotonic()
            try:
                found = await asyncio.to_thread(self._look, self._ours(), marked)
            except (StepError, OSError) as error:
                self._untold(str(error))
            else:
                self._tell(found)
            took = time.monotonic() - began
            await asyncio.sleep(min(max(PAUSE_S, _IDLE_SHARE * took), LONGEST_PAUSE_S))

    def _look(self, ours: Ours, marked: bool) -> tuple[Condition, ...]:
        """What is told now; the same as before where nothing changed."""
        nftables = foreigntables.read() if marked or self._seen is None else self._seen[0]
        seen = (nftables, ForeignTables(*iptables.read()), ours)
        if seen == self._seen:
            return self.conditions
        ruleset = Ruleset.of([*seen[0].listed, *seen[1].listed])
        drops, unweighed = hindrances(ruleset, ours)
        self._seen = seen
        return conditions(drops, ruleset, [*seen[0].unread, *seen[1].unread, *unweighed])

    def _untold(self, cause: str) -> None:
        """What was told stays, and the next look reads all anew."""
        if cause != self._failed:
            log.warning("foreign firewalls cannot be read", cause=cause)
        self._failed, self._seen = cause, None

    def _tell(self, found: tuple[Condition, ...]) -> None:
        self._failed = ""
        before = {condition.type: condition for condition in self.conditions}
        told = []
        for condition in found:
            last = before.get(condition.type)
            if condition.status and (last is None or last.message != condition.message):
                log.warning("foreign firewalls are in the way of workloads", **_fields(condition))
            since = last.last_transition if last is not None and last.status == condition.status else 0.0
            told.append(replace(condition, last_transition=since or time.time()))
        self.conditions = tuple(told)


def _fields(condition: Condition) -> dict[str, str]:
    return {"condition": condition.type, "cause": condition.message}
