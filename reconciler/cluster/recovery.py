"""What is done once etcd has gone back in time: nothing, until an administrator accepts that. Then this node first
claims again what it holds, gives up what it lost since then, and waits for the claims of the others."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress

import structlog

from netplumb.reconciler.cluster.etcd.client import Client
from netplumb.reconciler.cluster.etcd.errors import EtcdError
from netplumb.reconciler.cluster.gate import Gate
from netplumb.reconciler.cluster.keys import Layout
from netplumb.reconciler.cluster.lineage import Lineage, WentBack
from netplumb.reconciler.cluster.mirror import Mirror
from netplumb.reconciler.cluster.prefixes import Prefixes
from netplumb.reconciler.cluster.presence import Presence
from netplumb.reconciler.cluster.standing import Standing

SETTLE_S = 10.0
"""How long after an etcd that went back was accepted its content is taken for what holds: until then every node may say
again what it holds. They ask twice in that time."""

log = structlog.get_logger(__name__)


class Answers:
    """The keys by which somebody accepted that etcd went back. One that comes while not all of etcd was found to be
    what was followed may be the answer to what is yet to be found, so it is known once that is confirmed."""

    def __init__(self, layout: Layout, keys: Iterable[str]) -> None:
        self._first = layout.accepted.first
        self._came: set[str] = set()
        self.known: set[str] = set()
        self.came(keys)
        self.confirm()

    def came(self, keys: Iterable[str]) -> None:
        self._came |= {key for key in keys if key.startswith(self._first)}

    def confirm(self) -> None:
        self.known |= self._came
        self._came.clear()


class Recovery:
    """What reads of etcd and what writes to it goes through these gates, which are open as long as it is trusted."""

    def __init__(
        self,
        client: Client,
        layout: Layout,
        lineage: Lineage,
        standing: Standing,
        presence: Presence,
        prefixes: Prefixes,
        mirrors: Collection[Mirror],
        answers: Answers,
        *,
        settle_s: float = SETTLE_S,
    ) -> None:
        self._client = client
        self._layout = layout
        self._lineage = lineage
        self._standing = standing
        self._presence = presence
        self._prefixes = prefixes
        self._mirrors = mirrors
        self._answers = answers
        self._settle_s = settle_s
        self._went_back = asyncio.Event()
        self._is_another = False
        self.reading, self.writing = Gate(), Gate()

    def stop_at(self, error: WentBack) -> None:
        self.reading.close()  # also what found nothing amiss, since of what is told from now on nothing counts
        self.writing.close()
        self._presence.forget()
        if not self._went_back.is_set():
            log.error("etcd went back in time; nothing is taken from it", cause=str(error))
        self._standing.troubles.went_back = str(error)
        self._went_back.set()

    async def run(self) -> None:
        """Asks for nothing but a token that was not known, which no backup can hold, and whether the etcd that was
        followed is there again, in whose place another stood."""
        while True:
            await self._went_back.wait()
            await self._until_done(self._is_over)
            if self._is_another:
                await self._settle()
            self._went_back.clear()
            self._standing.troubles.went_back = ""
            self.writing.open()
            self.reading.open()

    async def _is_over(self) -> bool:
        asked = self._client.connection.stubs()
        self._is_another = await self._is_accepted()
        if self._is_another or await self._is_as_it_was():
            return True
        self._client.connection.leave(asked)  # one endpoint may lead to another etcd than all others do
        return False

    async def _is_as_it_was(self) -> bool:
        try:
            found = [await mirror.check() for mirror in self._mirrors]
        except WentBack:
            return False
        if is_so := any(found):
            log.info("etcd is the one that was followed again")
        return is_so

    async def _settle(self) -> None:
        """This node says again what it holds, and time passes in which the others do, before what is missing counts as
        gone. It says so once more at the end, since what another node had to give up first is free by then."""
        log.warning("etcd is accepted as it is")
        self._lineage.accept()
        for mirror in self._mirrors:
            mirror.read_anew()
        await self._until_done(self._has_said_again)
        await asyncio.sleep(self._settle_s)
        await self._until_done(self._has_said_again)

    async def _until_done(self, done: Callable[[], Awaitable[bool]]) -> None:
        while True:
            with suppress(EtcdError):
                if await done():
                    return
            await asyncio.sleep(random.uniform(self._settle_s / 4, self._settle_s / 2))

    async def _is_accepted(self) -> bool:
        answer = await self._client.read(self._layout.accepted)
        return bool(answer.entries.keys() - self._answers.known)

    async def _has_said_again(self) -> bool:
        self.writing.open()  # each time: an answer from before may have come late, and stopped everything once more
        if self._standing.name_is_ours:
            if not self._presence.is_held:
                return False
            await self._prefixes.say_again({it.cidr: it.pool for it in self._standing.held})
        return True
