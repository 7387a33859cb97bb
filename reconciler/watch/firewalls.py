"""Looks at what other tables drop, or lead elsewhere, and at what policies of IPsec block: at the start, after somebody
else committed to nftables, and now and then, since nobody tells of iptables-legacy, of new mapped ports or of another
uplink.

A look takes its time, so it is taken in a thread, and however large a ruleset is, looks leave it mostly idle. Between
commits nftables is not read again, and what may be large and seldom matters is read the less often the longer it takes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import structlog

from netplumb.models.errors import StepError
from netplumb.models.nodestate import IpsecPolicy
from netplumb.models.status import Condition
from netplumb.reconciler.decide.firewalls.ipsec import concerning
from netplumb.reconciler.decide.firewalls.ruleset import Ruleset
from netplumb.reconciler.decide.firewalls.traffic import Ours
from netplumb.reconciler.decide.firewalls.untranslated import hindrances
from netplumb.reconciler.decide.firewalls.words import FORWARD_BLOCKED, conditions
from netplumb.reconciler.history.history import Tell
from netplumb.reconciler.history.node import firewall_events
from netplumb.reconciler.kernel import xfrm
from netplumb.reconciler.kernel.firewalls import foreigntables, iptables
from netplumb.reconciler.kernel.firewalls.foreigntables import ForeignTables

PAUSE_S = 1.0
LOOK_AGAIN_S = 5.0
LONGEST_PAUSE_S = 10.0
_IDLE_SHARE = 10  # a look that took long is followed by a pause so many times as long
_SELDOM_SHARE = 100

log = structlog.get_logger(__name__)

_Read = TypeVar("_Read")


class Seldom(Generic[_Read]):
    """Reads again once the last reading took a hundredth of the time since then; until then what it read holds."""

    def __init__(self, read: Callable[[], _Read], now_s: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._now_s = now_s
        self._last: tuple[_Read, float] | None = None

    def read(self) -> _Read:
        """Raises what the reading raises."""
        began_s = self._now_s()
        if self._last is not None and began_s < self._last[1]:
            return self._last[0]
        found, ended_s = self._read(), self._now_s()
        self._last = found, ended_s + _SELDOM_SHARE * (ended_s - began_s)
        return found


@dataclass(frozen=True, slots=True)
class _Seen:
    nftables: ForeignTables
    legacy: ForeignTables
    ipsec: tuple[IpsecPolicy, ...]
    ours: Ours

    @property
    def listed(self) -> list[Mapping[str, Any]]:
        return [*self.nftables.listed, *self.legacy.listed]

    @property
    def unread(self) -> list[str]:
        return [*self.nftables.unread, *self.legacy.unread]


class FirewallWatch:
    """`ours` tells what is ours. `conditions` are those of the last look."""

    def __init__(self, ours: Callable[[], Ours], tell: Tell) -> None:
        self._ours = ours
        self._tell_people = tell
        self._due = asyncio.Event()
        self._due.set()
        self._seen: _Seen | None = None
        self._legacy_nat = Seldom(lambda: iptables.read(iptables.TRANSLATING))
        self._ipsec = Seldom(xfrm.read_policies)
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
        nftables = foreigntables.read() if marked or self._seen is None else self._seen.nftables
        seen = _Seen(nftables, self._read_legacy(ours), self._ipsec.read(), ours)
        if seen == self._seen:
            return self.conditions
        ruleset = Ruleset.of(seen.listed)
        drops, unweighed = hindrances(ruleset, ours)
        self._seen = seen
        ipsec = concerning(seen.ipsec, [pool.cidr for pool in ours.pools])
        return conditions(drops, ruleset, [*seen.unread, *unweighed], ipsec)

    def _read_legacy(self, ours: Ours) -> ForeignTables:
        """What its nat table does matters to mapped ports alone."""
        parts = [iptables.read(), *([self._legacy_nat.read()] if ours.ports else [])]
        return ForeignTables([it for listed, _ in parts for it in listed], [it for _, unread in parts for it in unread])

    def _untold(self, cause: str) -> None:
        """What was told stays, and the next look reads all anew."""
        if cause != self._failed:
            log.warning("foreign firewalls cannot be read", cause=cause)
        self._failed, self._seen = cause, None

    def _tell(self, found: tuple[Condition, ...]) -> None:
        self._failed = ""
        self._tell_people(*firewall_events(self.conditions, found))
        before = {condition.type: condition for condition in self.conditions}
        told = []
        for condition in found:
            last = before.get(condition.type)
            if (
                condition.status
                and condition.type != FORWARD_BLOCKED
                and (last is None or last.message != condition.message)
            ):
                log.warning("foreign firewalls are in the way of workloads", **_fields(condition))
            since = last.last_transition if last is not None and last.status == condition.status else 0.0
            told.append(replace(condition, last_transition=since or time.time()))
        self.conditions = tuple(told)


def _fields(condition: Condition) -> dict[str, str]:
    return {"condition": condition.type, "cause": condition.message}
