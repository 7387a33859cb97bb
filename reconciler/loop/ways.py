"""The ways to other nodes (routes, or VXLAN): their passes, in a thread of their own, and what wakes these.

A peer that changes, or whose objects another program touched, gets a pass by itself, which asks for its objects one by
one. Everything is read anew if more may differ: at the start, at a resync, after a change of a link that ways use, and
when what all ways depend on has changed. Before there is a view of the cluster nothing is done, and only a view removes
a way.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import structlog

from netplumb.models.cluster import ClusterView
from netplumb.models.errors import StepError
from netplumb.models.kernel import Link
from netplumb.models.network import Node
from netplumb.models.nodenetwork import NodeNetwork
from netplumb.models.status import WAYS_FAILED, Condition
from netplumb.models.steps import Step, Verb
from netplumb.reconciler.converge.waypass import Done, Work, compare, converge
from netplumb.reconciler.converge.ways import WaysKernel
from netplumb.reconciler.decide.ways import Device, Ground, Way, ground, way_conditions
from netplumb.reconciler.history.lasting import Lasted, Lasting
from netplumb.reconciler.kernel.rtnetlink.listener import Event
from netplumb.reconciler.loop.workthread import WorkThread
from netplumb.reconciler.pacing.backoff import backoff_s
from netplumb.reconciler.pacing.fights import Fights, part_of, subject_of
from netplumb.reconciler.status.outcomes import worst_of
from netplumb.reconciler.status.statuses import timed
from netplumb.reconciler.watch.waydevice import watch_ipv6
from netplumb.reconciler.watch.ways import Marks, WayHints

RETRY_FIRST_S = 0.1
RETRY_MOST_S = 10.0
SHAKEN_S = 2.0
"""For so long after a foreign link went, came or lost an address, missing routes are taken for removed by the
kernel."""

PAUSES_A_PASS = 4  # the pause after a pass over all ways, in multiples of the work it took

log = structlog.get_logger(__name__)


class Ways:
    """`node` is what rendering knows of the node and `known` what was seen of its network; nothing is made before the
    node `is_ready`. `repaired` is told what was put right, for how long it had been so, and what the pass took;
    `conditions` tell which ways cannot be made, and why."""

    def __init__(
        self,
        device: Device,
        kernel: WaysKernel,
        *,
        node: Callable[[], Node],
        known: Callable[[], NodeNetwork],
        is_ready: Callable[[], bool],
        repaired: Callable[[Sequence[Step], Lasted, float], None] = lambda *_: None,
    ) -> None:
        self._device = device
        self._kernel = kernel
        self._node = node
        self._known = known
        self._is_ready = is_ready
        self._repaired = repaired
        self._view: ClusterView | None = None
        self._ground: Ground | None = None
        self._base = Way()
        self._made: dict[str, Way] = {}
        self._indexes: dict[str, int] = {}
        self._hints = WayHints(device.name)
        self._all_due = True
        self._due: set[str] = set()
        self._settled = False
        self._failures = 0
        self._cause: StepError | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._resting = False
        self._fights: Fights[str] = Fights()
        self._shaken_at: dict[str, float] = {}
        self._lasting: Lasting[None] = Lasting()
        self._thread = WorkThread("ways")
        self.conditions: tuple[Condition, ...] = ()

    # What wakes it.

    def take(self, view: ClusterView) -> None:
        """Another view of the cluster holds from now on."""
        before, self._view = self._view, view
        if before is None:
            self.compare()
            return
        names = before.peers.keys() | view.peers.keys()
        self._due.update(it for it in names if before.peers.get(it) != view.peers.get(it))
        self._thread.wake()

    def compare(self) -> None:
        """All is to be read anew."""
        self._all_due = True
        self._thread.wake()

    def looked_around(self) -> None:
        """What ways follow from may be another: the node, or what is known of its network."""
        self._thread.wake()

    def heard(self, event: Event) -> None:
        """Something changed on the node."""
        self._mark(self._hints.heard(event))

    def _mark(self, marks: Marks) -> None:
        if marks:
            self._lasting.noticed(None, time.monotonic())
            self._due |= marks.peers
            self._all_due |= marks.all
            if marks.shaken:
                self._shaken_at[marks.shaken] = time.monotonic()
            self._thread.wake()

    def _device_with_ipv6(self) -> str:
        return next((it.name for it in self._base.things if isinstance(it, Link) and it.ipv6), "")

    def _switched_off(self) -> None:
        self._lasting.noticed(None, time.monotonic())
        self.compare()

    # The passes.

    async def run(self) -> None:
        """Runs until cancelled; what runs in the thread then is let finish."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._thread.run(self._turn))
                tasks.create_task(watch_ipv6(self._device_with_ipv6, self._switched_off))
        finally:
            self._kernel.close()

    async def _turn(self) -> None:
        if (view := self._view) is not None and self._is_ready():
            await self._pass(view)

    async def _pass(self, view: ClusterView) -> None:
        on = ground(view, self._device, self._node(), self._known())
        is_whole, due = self._all_due or on != self._ground, self._due
        if is_whole and self._resting:
            return
        self._ground, self._all_due, self._due = on, False, set()
        if is_whole:
            work = Work(on, view.peers.values())
        elif due:
            peers = [view.peers[it] for it in due if it in view.peers]
            work = Work(on, peers, [self._made[it] for it in due if it in self._made], self._indexes)
        else:
            return
        began = time.monotonic()
        self._hints.passing()
        done = await self._thread.do(partial(converge, work, self._kernel, self._is_held))
        self._finish(done, None if is_whole else due, time.monotonic() - began)
        self._mark(self._hints.passed())
        if is_whole and not _has_changed_a_link(done):
            self._rest(done.cost_s * PAUSES_A_PASS)

    def _rest(self, pause_s: float) -> None:
        """Makes no pass over all ways for so long; single peers still get theirs."""
        self._resting = True
        asyncio.get_running_loop().call_later(pause_s, self._rested)

    def _rested(self) -> None:
        self._resting = False
        self._thread.wake()

    def _is_held(self, step: Step) -> bool:
        """Whether a repair has to wait, since another program undoes each at once."""
        return self._settled and self._fights.held_s(part_of(step), time.monotonic()) > 0

    def _finish(self, done: Done, due: set[str] | None, took_s: float) -> None:
        """`due` are the peers that the pass was for, None for all."""
        if done.seen is not None:
            repairs = self._repairs(done, self._made if due is None else due)
            self._learn(done, due)
            self._count(repairs, right=not done.errors and not done.held, took_s=took_s)
            # What a link that was made or changed took with it is found by reading all.
            self._all_due |= _has_changed_a_link(done)
            if self._all_due:
                self._thread.wake()
        elif not done.errors:
            self._base = done.base  # nothing was read, and this says why
        self._cause = worst_of(done.errors) if done.errors else None
        self._failures = self._failures + 1 if done.errors else 0
        if due is None and not done.errors:
            self._settled = True
        self._look_again()
        self._tell()

    def _repairs(self, done: Done, passed: Iterable[str]) -> list[Step]:
        """Those that put right what somebody else changed; the others follow from another view or another ground."""
        if not (self._settled and done.steps):
            return []
        ways = [self._base, *(self._made[it] for it in passed if it in self._made)]
        was = {thing.key: thing for way in ways for thing in way.things}
        now = {thing.key for way in (done.base, *done.ways.values()) for thing in way.things}

        def is_repair(step: Step) -> bool:
            wanted = was.get(step.thing.key)
            if step.verb is Verb.REMOVE or wanted is None:
                return step.verb is Verb.REMOVE and (wanted is None or step.thing.key in now)
            return wanted == step.thing

        return [step for step in done.steps if is_repair(step)]

    def _learn(self, done: Done, due: set[str] | None) -> None:
        assert done.seen is not None
        for peer in self._made.keys() | done.ways.keys() if due is None else due:
            now = done.ways.get(peer, Way())
            self._hints.learn(peer, self._made.pop(peer, Way()), now)
            if peer in done.ways:
                self._made[peer] = now
        if due is None or done.seen.indexes.keys() - self._indexes.keys():
            self._base, self._indexes = done.base, dict(done.seen.indexes)
            self._hints.learn_links(self._indexes, done.base)

    def _count(self, repairs: Sequence[Step], *, right: bool, took_s: float) -> None:
        now = time.monotonic()
        for step in repairs:
            if self._is_of_a_shaken_link(step, now):
                continue  # nobody undid it
            self._fights.repaired(part_of(step), [subject_of(step.thing)], now)
        lasted = self._lasting.looked(None, now, right=right)
        if repairs:
            self._repaired(repairs, lasted, took_s)

    def _is_of_a_shaken_link(self, step: Step, now: float) -> bool:
        link = getattr(step.thing, "link", "")
        return step.verb is Verb.ADD and now - self._shaken_at.get(link, -SHAKEN_S) < SHAKEN_S

    def _look_again(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        retry_s = backoff_s(RETRY_FIRST_S, RETRY_MOST_S, self._failures - 1) if self._failures else None
        waits = (retry_s, self._fights.next_look_s(time.monotonic()))
        if (wait_s := min((it for it in waits if it is not None), default=None)) is not None:
            self._retry = asyncio.get_running_loop().call_later(wait_s, self.compare)

    def _tell(self) -> None:
        found = [*way_conditions(it for way in (self._base, *self._made.values()) for it in way.troubles)]
        if self._cause is not None:
            found.append(Condition(WAYS_FAILED, True, self._cause.reason, str(self._cause)))
        elif fights := self._fights.fights(time.monotonic()):
            found.append(Condition(WAYS_FAILED, True, "KeepsChanging", "; ".join(map(str, fights))))
        told = {it.type: it.message for it in self.conditions}
        for each in found:
            if told.get(each.type) != each.message:
                log.warning("a way to other nodes is not as it should be", condition=each.type, cause=each.message)
        self.conditions = timed(tuple(found), self.conditions)

    async def differences(self) -> Sequence[Step]:
        """What is not as it should be now, by a read of all. Raises Retryable."""
        if (view := self._view) is None:
            return ()
        work = Work(ground(view, self._device, self._node(), self._known()), view.peers.values())
        return (await self._thread.do(partial(compare, work, self._kernel))).steps


def _has_changed_a_link(done: Done) -> bool:
    return not done.errors and any(isinstance(step.thing, Link) for step in done.steps)
