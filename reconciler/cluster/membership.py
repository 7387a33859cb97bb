"""What runs for as long as this node is a member of its cluster: its presence, the mirrors of what all nodes share and
of what is this node's alone, and the claiming of prefixes. A part that fails is started again after a pause.

What they find out goes to `Standing`, and then `changed` is called. An etcd that went back in time is only asked
whether an administrator has accepted it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from functools import partial

import structlog

from netplumb.models.clustersettings import ClusterSettings
from netplumb.models.status import WatchEvent
from netplumb.reconciler.cluster.endpoints import Endpoints
from netplumb.reconciler.cluster.etcd.client import Client
from netplumb.reconciler.cluster.etcd.connection import Connection
from netplumb.reconciler.cluster.etcd.entries import Entry, Keys
from netplumb.reconciler.cluster.etcd.errors import EtcdError
from netplumb.reconciler.cluster.gate import Gate
from netplumb.reconciler.cluster.keeping import Keeping
from netplumb.reconciler.cluster.keys import Layout
from netplumb.reconciler.cluster.known import Known, KnownFile
from netplumb.reconciler.cluster.lineage import Lineage, WentBack
from netplumb.reconciler.cluster.mirror import Kept, Mirror
from netplumb.reconciler.cluster.prefixes import Prefixes
from netplumb.reconciler.cluster.presence import NameTaken, Presence
from netplumb.reconciler.cluster.records import NodeRecord
from netplumb.reconciler.cluster.recovery import SETTLE_S, Answers, Recovery
from netplumb.reconciler.cluster.standing import Itself, Standing, Surroundings
from netplumb.reconciler.cluster.stillness import Stillness
from netplumb.reconciler.cluster.taking import Taking
from netplumb.reconciler.cluster.telling import Telling
from netplumb.reconciler.cluster.wanted import Wanted

RETRY_FIRST_S, RETRY_MOST_S = 0.2, 5.0
APART_S, APART_MOST_S = 0.005, 10.0
"""Daemons that start at the same moment, as after an upgrade of all, spread their first requests to etcd: so far apart
on average, times the number of nodes that a daemon knows. Until then what it knows holds. One that knows none does not
wait."""

LESSON_PAUSE_S = 0.02
CATCH_UP_S = 0.05

log = structlog.get_logger(__name__)


class Membership:
    def __init__(
        self,
        settings: ClusterSettings,
        itself: Itself,
        file: KnownFile,
        surroundings: Surroundings,
        changed: Callable[[], None],
        *,
        settle_s: float = SETTLE_S,
        looks_only: bool = False,
    ) -> None:
        """With `looks_only` it only shows what was last known, as for a command beside a daemon, and is never run."""
        self._settings = settings
        self._itself = itself
        self._changed = changed
        self._layout = Layout(settings.prefix)
        layout = self._layout
        self._kept = kept = Keeping(file, layout, itself, looks_only=looks_only)
        self.standing = Standing(settings, itself, surroundings, kept.known, kept.shared, kept.shared.position)
        self.standing.former_name = kept.former_name
        self._lineage = Lineage(kept.latest)
        self._connection = Connection(settings)
        self._client = Client(self._connection)
        pools = [it.cidr for it in settings.pools]
        self.endpoints = Endpoints(layout, itself.node, kept.others, pools)
        self.endpoints.seen(self.standing.peers)
        self._shared = self._mirror(layout.shared, self._kept.shared, self._shared_changed)
        self._own = self._mirror(layout.attachments(itself.node), self._kept.own, self._own_changed)
        self._wanted = Wanted(layout, itself.node, kept.own, kept.shared)
        self._others = self._mirror(layout.endpoints, kept.others, self.endpoints.said)
        self._presence = Presence(
            self._client,
            self._layout,
            itself.node,
            itself.identity,
            settings.lease_s,
            self._record,
            self._name_is_ours,
            partial(self._went_well, "presence"),
            self._shared.check,
        )
        self._stillness = Stillness(max(settings.lease_s, 2 * RETRY_MOST_S))
        prefixes = Prefixes(self._client, self._layout, itself.node, self._presence.fence, self._lineage)
        self._taking = Taking(settings, self.standing, prefixes, self._presence, self._shared, self._taken)
        self._telling: Telling | None = None
        self._learn = asyncio.Event()
        self._learnt = asyncio.Event()  # set once what all nodes share is known
        if self._shared.is_known:
            self._learnt.set()
        self._unlearnt: set[str] = set()
        self._answers = Answers(layout, kept.shared)
        self._first_s = 0.0
        self._recovery = Recovery(
            self._client,
            self._layout,
            self._lineage,
            self.standing,
            self._presence,
            prefixes,
            (self._shared, self._own, self._others),
            self._answers,
            settle_s=settle_s,
        )

    def _mirror(self, keys: Keys, entries: Kept, changed: Callable[[Collection[str]], None]) -> Mirror:
        return Mirror(
            self._client,
            keys,
            self._lineage,
            changed,
            self._heard,
            reread_s=self._settings.reread_s,
            entries=entries,
        )

    @property
    def client(self) -> Client:
        return self._client

    @property
    def is_known_by_name(self) -> bool:
        """Whether anything is known of this node under its present name. Until then, what exists stays."""
        return self._learnt.is_set() and not self.standing.other_name

    @property
    def is_loaded(self) -> bool:
        """Whether it is known, now or from before, what the cluster wants of this node, and which others there are."""
        return self.is_known_by_name and self._own.is_known and self._others.is_known

    @property
    def documents(self) -> tuple[Mapping[str, Entry], Mapping[str, Entry]]:
        """The documents for this node, and those for every node, by name. The same objects until something changes."""
        return self._wanted.documents

    def report(self, watch: Callable[[], AsyncIterator[WatchEvent]]) -> None:
        """Called before it runs: `watch` yields the attachments whose state is written to etcd."""
        self._telling = Telling(
            self._client,
            self._layout,
            self._itself.node,
            self._presence,
            watch,
            self._went_well,
            again_s=self._settings.reread_s,
        )

    def wants_more(self) -> bool:
        """Whether another prefix is wanted; if so, one is claimed at once."""
        wanted = any(self.standing.wants(pool) for pool in self._settings.pools)
        if wanted:
            self._taking.look()
        return wanted

    async def caught_up(self) -> bool:
        """After this daemon stood still, waits until it is known what became of its prefixes meanwhile, or etcd is
        away. Returns whether it stood still."""
        if not self._stillness.look():
            return False
        node = self._itself.node
        with suppress(EtcdError):
            while True:
                said = await self._client.read(self._layout.prefixes_of(node))
                if {self._layout.prefix_of(node, it.cidr) for it in self.standing.held} <= said.entries.keys():
                    break
                await asyncio.sleep(CATCH_UP_S)  # the watch reports it in a moment
        self._stillness.is_behind = False
        return True

    def _record(self) -> NodeRecord:
        """What is written with each keep-alive."""
        self._stillness.look()
        return self.standing.record

    def network_changed(self) -> None:
        """The node's own addresses may have changed."""
        self._presence.changed.set()

    # What is found out

    @property
    def _is_followed(self) -> bool:
        return self._shared.following and self._own.following and self._others.following

    def _heard(self) -> None:
        standing = self.standing
        standing.heard_at = time.time()
        if not self._is_followed:
            return
        self._answers.confirm()
        if standing.troubles.away is not None:
            log.info("etcd is followed", endpoint=self._connection.stubs().endpoint, revision=self._shared.position)
            standing.troubles.followed()
            self._kept.changed()
            self._taking.look()
            self._changed()

    def _name_is_ours(self) -> None:
        if self._telling is not None:
            self._telling.named()
        if self.standing.name_is(ours=True):
            self._changed()
        self._taking.look()

    def _shared_changed(self, keys: Collection[str]) -> None:
        self._unlearnt |= set(keys)
        self._wanted.shared_changed(keys)
        self._answers.came(keys)
        if self._is_followed:
            self._answers.confirm()
        self._learn.set()

    async def _learn_again_and_again(self) -> None:
        """Takes over what all nodes share whenever it changes; changes of the same moment are taken together."""
        while True:
            await self._learn.wait()
            self._learn.clear()
            unlearnt, self._unlearnt = self._unlearnt, set()
            try:
                await self._learn_of(unlearnt)
            except Exception:
                self._unlearnt |= unlearnt
                self._learn.set()
                raise
            await asyncio.sleep(LESSON_PAUSE_S)

    async def _learn_of(self, unlearnt: Collection[str]) -> None:
        held = self.standing.held
        entries = self._kept.shared
        if (own := self._layout.presence(self._itself.node)) in unlearnt and own not in entries:
            self._presence.forget()  # this node was removed, but still runs: it announces itself again
            self._tell_anew()  # with the state of its workloads
        about = self.standing.learnt({key: entries.get(key) for key in unlearnt}, self._shared.position)
        self.endpoints.seen({name: self.standing.peers.get(name) for name in about})
        self._learnt.set()
        if self.standing.held != held:
            self._changed()  # from now on no address of a lost prefix is given out
            cidrs = [it.cidr for it in self.standing.held]
            await self._kept.save(self._as_known())
            self.standing.wrote(cidrs)
        self._kept.changed()
        self._taking.look()
        self._changed()

    def _own_changed(self, _: Collection[str]) -> None:
        self._wanted.own_changed()
        self._taken()

    def _taken(self) -> None:
        self._kept.changed()
        self._changed()

    def _went_well(self, what: str) -> None:
        if self.standing.troubles.went_well(what):
            self._changed()

    def _failed(self, what: str, error: EtcdError) -> None:
        self.standing.troubles.failed(what, error, is_followed=self._is_followed)
        self._changed()

    def _broke(self, what: str, error: Exception) -> None:
        self.standing.troubles.broke(what, error)
        self._changed()

    # What runs

    async def run(self) -> None:
        """Runs until cancelled. The presence then ends with its lease, and the prefixes stay held."""
        writing, reading = self._recovery.writing, self._recovery.reading
        self._first_s = random.uniform(0, min(APART_MOST_S, APART_S * len(self.standing.peers)))
        self._kept.save_now(self._as_known())  # it says whose the shelves are
        tasks = [
            asyncio.ensure_future(each)
            for each in (
                self._again_and_again("presence", self._hold_presence, writing),
                self._again_and_again("shared", self._shared.follow, reading),
                self._again_and_again("own", self._own.follow, reading),
                self._again_and_again("others", self._follow_others, reading),
                self.keep_running("policies' endpoints", self.endpoints.run),
                self._again_and_again("prefixes", self._taking.run, reading),
                self._again_and_again("status", self._tell_states, reading),
                self._again_and_again("endpoints", self._tell_endpoints, writing),
                self.keep_running("learning", self._learn_again_and_again),
                self.keep_running("recovery", self._recovery.run),
                self.keep_running("keeping", partial(self._kept.run, self._as_known)),
            )
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._connection.close()
            self._kept.save_now(self._as_known())
            self._kept.close()

    async def _again_and_again(self, what: str, does: Callable[[], Awaitable[None]], gate: Gate) -> None:
        """Runs a part again whenever it ends, after random pauses: nodes that lost etcd at the same moment, or start at
        the same moment, must not all return at once."""
        wait_s = RETRY_FIRST_S
        await asyncio.sleep(self._first_s)
        while True:
            await gate.opened()
            self._stillness.look()
            began = time.monotonic()
            try:
                await gate.through(does)
            except WentBack as error:
                self._recovery.stop_at(error)
                self._taking.forget_claims()
                self._tell_anew()
                self._changed()
            except NameTaken as error:
                self._went_well(what)
                if self.standing.name_is(ours=False, why_not=str(error)):
                    self._changed()
            except EtcdError as error:
                self._failed(what, error)
            except Exception as error:
                self._broke(what, error)
            if time.monotonic() - began > RETRY_MOST_S:
                wait_s = RETRY_FIRST_S
            await asyncio.sleep(random.uniform(wait_s / 4, wait_s))
            wait_s = min(RETRY_MOST_S, wait_s * 2)

    async def keep_running(self, what: str, does: Callable[[], Awaitable[None]]) -> None:
        """Runs a part that ends in nothing but a bug, and again after that."""
        while True:
            try:
                await does()
            except Exception as error:
                self._broke(what, error)
            await asyncio.sleep(RETRY_MOST_S)

    async def _hold_presence(self) -> None:
        await self._learnt.wait()
        if other := self.standing.other_name:
            raise NameTaken(
                f"this machine is {other} and holds prefixes under that name: say `node_name: {other}` again, or, once "
                f"nothing that runs here has addresses of these, `netplumb cluster remove {other}`"
            )
        await self._presence.hold()

    async def _follow_others(self) -> None:
        """Waits for what all nodes share, which says whose an address is."""
        await self._learnt.wait()
        await self._others.follow()

    async def _tell_states(self) -> None:
        if self._telling is not None and self._is_followed:
            await self._telling.tell_states()

    async def _tell_endpoints(self) -> None:
        """Also writes to an etcd that was accepted but is not yet read from: other nodes would miss the endpoints."""
        if self._telling is not None:
            await self._telling.tell_endpoints()

    def _tell_anew(self) -> None:
        if self._telling is not None:
            self._telling.begin_anew()

    def _as_known(self) -> Known | None:
        """What is to be saved. None while the file may belong to another name, under which this machine holds its
        prefixes."""
        is_called_so = self.standing.former_name == self._itself.node
        if not is_called_so and (not self._learnt.is_set() or self.standing.other_name):
            return None
        latest = self._lineage.known
        return Known(
            prefix=self._settings.prefix,
            node=self._itself.node,
            identity=self._itself.identity,
            cluster=latest.cluster,
            revision=latest.revision,
            lost={str(cidr): why for cidr, why in self.standing.lost.items()},
            heard_at=self.standing.heard_at,
        )
