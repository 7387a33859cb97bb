"""Looks whether the gateways of the node's ways out answer, now and then: the kernel tells of neighbours to those alone
who hear of all of them.

One counts as silent where the kernel got no answer by one look and none until the next, between which it asks again
whether or not somebody sends there. A gateway that nobody uses is left alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from netplumb.models.errors import StepError
from netplumb.models.nodenetwork import Gateway
from netplumb.models.status import Condition
from netplumb.reconciler.history.history import Tell
from netplumb.reconciler.history.node import gateway_condition, gateway_events
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.nexthops import SILENT
from netplumb.reconciler.kernel.rtnetlink import encode
from netplumb.reconciler.kernel.rtnetlink.routelookups import neighbour_state

LOOK_AGAIN_S = 5.0  # the kernel tries for 3 s
GATEWAYS_MOST = 32

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Looked:
    """The gateways that did not answer until this look, and those of them that did not by the look before it."""

    unanswered: frozenset[Gateway] = frozenset()
    silent: frozenset[Gateway] = frozenset()


def look(gateways: Sequence[Gateway], before: _Looked) -> _Looked:
    """Raises StepError, OSError."""
    with Channel() as node:
        states = {it: neighbour_state(node, it.index, it.ip) for it in gateways[:GATEWAYS_MOST]}
        # The kernel forgets a neighbour that did not answer.
        found = frozenset(it for it in states if states[it] in SILENT or (it in before.unanswered and not states[it]))
        node.transact([encode.ask_neighbour(it.index, it.ip.packed) for it in found])
    return _Looked(found, found & before.unanswered)


class GatewayWatch:
    """`gateways` tells those of the ways out in use. `conditions` are what the last look found."""

    def __init__(self, gateways: Callable[[], Sequence[Gateway]], tell: Tell) -> None:
        self._gateways = gateways
        self._tell = tell
        self._last = _Looked()
        self.conditions: tuple[Condition, ...] = ()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            try:
                self._take(look(self._gateways(), self._last))
            except (StepError, OSError) as error:
                log.warning("the gateways cannot be looked at", cause=str(error))

    def _take(self, found: _Looked) -> None:
        was, self._last = self._last.silent, found
        if found.silent != was:
            self._tell(*gateway_events(was, found.silent, self._gateways()))
            since = min((it.last_transition for it in self.conditions), default=time.time())
            self.conditions = tuple(replace(it, last_transition=since) for it in gateway_condition(found.silent))
