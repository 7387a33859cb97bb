"""Looks how full the node's table of flows is, and who is in the way there while it is nearly full.

Nobody tells of it, so it is looked at: two numbers each second. Only where they say so flows are read, and of them a
part: the kernel lists them by a hash that no sender knows, so the first thousands are like all. That, and to forget
some where none would find room, is done in a thread, and the longer it took the longer is the pause.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

import structlog

from netplumb.models.attachment import Attachment, AttachmentKey
from netplumb.models.errors import StepError
from netplumb.models.flows import NO_CROWDING, Crowding, Flow
from netplumb.models.naming import node_if_name
from netplumb.models.status import Condition
from netplumb.reconciler.decide.crowding import Holder, Shares, crowding, holder_of, over_level, shares, to_forget
from netplumb.reconciler.decide.flows import links_of
from netplumb.reconciler.history.crowding import crowding_condition, crowding_events
from netplumb.reconciler.history.history import Tell
from netplumb.reconciler.kernel import sysctls
from netplumb.reconciler.kernel.conntrack import Conntrack

LOOK_AGAIN_S = 1.0
PAUSES_A_LOOK = 5  # how much longer than a look the pause after it is
SAMPLE = 8192
_KEPT, _MOST = "net/netfilter/nf_conntrack_count", "net/netfilter/nf_conntrack_max"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look found: how full the table is, who is in the way, and under which keys."""

    found: Shares = field(default_factory=lambda: Shares(0, 0))
    over: Mapping[Holder, int] = field(default_factory=dict)
    keys: Mapping[str, AttachmentKey] = field(default_factory=dict)


def fullness() -> Shares:
    """Raises StepError. Where the kernel tracks nothing there is no table to be full."""
    kept, most = (sysctls.read(name) for name in (_KEPT, _MOST))
    return Shares(int(kept or 0), int(most or 0))


def look(full: Shares, attachments: Iterable[Attachment]) -> Looked:
    """Looks whose flows these are, and forgets some where the next find no room. Raises StepError, OSError."""
    attachments = tuple(attachments)
    links = links_of(attachments)
    with Conntrack() as conntrack:
        found = shares(islice(conntrack.flows(), SAMPLE), links, full.kept, full.most)
    over = over_level(found)
    if left := to_forget(found, over):

        def goes(flow: Flow) -> bool:
            holder = holder_of(flow, links)
            if holder is None or not left.get(holder):
                return False
            left[holder] -= 1
            return True

        with Conntrack() as conntrack:
            conntrack.thin_out(goes, sum(left.values()))
    return Looked(found, over, {node_if_name(it.key): it.key for it in attachments} if over else {})


class CrowdingWatch:
    """`take` is told of who is in the way each time that it is somebody else. `conditions` are what the last look
    found."""

    def __init__(
        self, attachments: Callable[[], Iterable[Attachment]], take: Callable[[Crowding], None], tell: Tell
    ) -> None:
        self._attachments = attachments
        self._take = take
        self._tell = tell
        self._crowding = NO_CROWDING
        self._last = Looked()
        self.conditions: tuple[Condition, ...] = ()

    async def run(self) -> None:
        while True:
            before, began = self._crowding, time.monotonic()
            try:
                full = fullness()
                if full.is_nearly_full or before:
                    self._found(await asyncio.to_thread(look, full, tuple(self._attachments())))
                elif self.conditions:
                    self._found(Looked(full))
            except (StepError, OSError) as error:
                log.warning("it cannot be looked at who holds the node's flows", cause=str(error))
            rest_s = (time.monotonic() - began) * PAUSES_A_LOOK
            # Who came to be bounded may have filled the table meanwhile.
            await asyncio.sleep(LOOK_AGAIN_S if self._crowding != before else max(LOOK_AGAIN_S, rest_s))

    def _found(self, found: Looked) -> None:
        was, self._last = self._last, found
        self._tell(*crowding_events(was.over, found.over, {**was.keys, **found.keys}, found.found.most))
        since = min((it.last_transition for it in self.conditions), default=time.time())
        told = crowding_condition(found.found, found.over, found.keys)
        self.conditions = tuple(replace(it, last_transition=since) for it in told)
        if (now := crowding(found.over)) != self._crowding:
            self._crowding = now
            self._take(now)
