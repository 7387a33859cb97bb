"""Passes over the node's own objects: when one is due, how long the damage it found had lasted, and what is reported.

What a pass changes is decided by `node`. Passes run on the event loop's thread, before those over attachments.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from netplumb.models.status import Condition
from netplumb.models.words import kind_of
from netplumb.reconciler.converge.linux import LinuxKernel
from netplumb.reconciler.history.lasting import Lasting
from netplumb.reconciler.history.outcomes import Repair, fight_events, repaired
from netplumb.reconciler.loop.node import NodeWide
from netplumb.reconciler.status.results import Results

_TAKE_ROUTES_WITH_THEM = {"address", "link_up"}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Came:
    """What a pass over the node means for the attachments."""

    routes_may_be_gone: bool
    """The kernel may have removed their routes together with what was repaired."""
    is_another: bool
    """What is known of the node has changed, so all of them need a pass."""
    has_other_policies: bool
    """Other policies are in force, so those with a pass under way need another."""
    holds_others: bool
    """Lost policies hold other workloads than before, so all of them need a pass."""


class NodePasses:
    """`wake` asks for a turn of the loop, in which what is `due` is converged."""

    def __init__(self, nodewide: NodeWide, results: Results, kernel: LinuxKernel, wake: Callable[[], None]) -> None:
        self._nodewide = nodewide
        self._results = results
        self._kernel = kernel
        self._wake = wake
        self._marked = True
        self._retry: asyncio.TimerHandle | None = None
        self._fighting: Condition | None = None
        self._lasting: Lasting[None] = Lasting()

    def mark_damaged(self) -> None:
        """Damage was reported; the next pass looks for it."""
        self._lasting.noticed(None, time.monotonic())
        self.mark()

    def mark(self) -> None:
        self._marked = True
        self._wake()

    @property
    def due(self) -> bool:
        return self._marked or self._nodewide.is_outdated

    def add_chains(self) -> bool:
        """Whether it was enough to add the chains of new combinations of policies."""
        return not self._marked and self._nodewide.add_chains(self._kernel)

    def converge(self) -> Came:
        self._marked = False
        before, was_ready = self._nodewide.node, self._nodewide.ready
        began = time.monotonic()
        steps = self._nodewide.converge(self._kernel)
        ended, tally = time.monotonic(), self._results.tally
        fighting = self._nodewide.fighting()
        lasted = self._lasting.looked(None, ended, right=not self._nodewide.cause and fighting is None)
        tally.repair((step.thing for step in steps), lasted.heard_s or ended - began)
        tally.passing_node.observe(ended - began)
        tally.passes += 1
        if (after_s := self._nodewide.retry_after_s) is not None:
            log.warning("the node is not in sync", cause=self._nodewide.cause, retry_after_s=after_s)
        node = self._nodewide.node
        if steps:
            self._results.tell(repaired(None, Repair(steps, lasted)))
        self._results.tell(*fight_events(None, self._fighting, fighting))
        self._fighting = fighting
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if (look_s := self._nodewide.next_look_s) is not None:
            self._retry = asyncio.get_running_loop().call_later(look_s, self.mark_damaged)
        return Came(
            routes_may_be_gone=any(kind_of(step.thing) in _TAKE_ROUTES_WITH_THEM for step in steps),
            is_another=node != before or self._nodewide.ready != was_ready,
            has_other_policies=node.policies is not before.policies,
            holds_others=node.policies.held != before.policies.held,
        )
