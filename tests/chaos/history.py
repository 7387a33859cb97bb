"""One history in one world: how it begins, how it ends, and what its rules have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import ExitStack
from traceback import format_exception
from typing import Any, TypeVar

import grpc
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from netplumb.api.client.asynchronous import AsyncClient
from tests.chaos import verdicts
from tests.chaos.damages import ATTACHMENT_DAMAGES, LINES, MARKS, UNTOLD
from tests.chaos.drawn import wishes
from tests.chaos.peers import MODES
from tests.chaos.wishes import OTHER_POOLS, Wish
from tests.chaos.world import World

Code = grpc.StatusCode
T = TypeVar("T")

RESYNC_OFTEN_S, RESYNC_NEVER_S = 1, 3600
TOLD_DAMAGES = tuple(damage for damage in ATTACHMENT_DAMAGES if damage.name not in UNTOLD)


class History(RuleBasedStateMachine):
    """A new world for each. `story` tells what was done, for the one who has to find out why it failed.

    What is drawn and which rule may come next must not depend on what the kernel did, or hypothesis could not repeat
    it: so rules choose by a number, and do nothing where there is nothing to choose.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.runner = self.stack.enter_context(asyncio.Runner())
        self.story: list[str] = []
        self.failed = False

    @initialize(
        resync_s=st.sampled_from((RESYNC_NEVER_S, RESYNC_OFTEN_S)),
        mode=st.sampled_from(MODES),
        population=st.lists(wishes(), min_size=2, max_size=5, unique_by=lambda wish: wish.key),
    )
    def begin(self, resync_s: int, mode: str, population: list[Wish]) -> None:
        self.world = World(self.stack, resync_s, mode)
        self.client: AsyncClient = self.world.open_client()
        self.tell(f"resync every {resync_s} s, ways to other nodes: {mode or 'none'}")
        self.do(self.client.__aenter__())
        self.do(self.world.start())
        for wish in population:
            self.do(self._attach(wish))
        self.do(self._look())

    def tell(self, words: str) -> None:
        self.story.append(words)

    def do(self, deed: Coroutine[Any, Any, T]) -> T:
        try:
            return self.runner.run(deed)
        except BaseException as error:
            if not self.failed:
                # Hypothesis tries again what failed; it may not fail the second time, or otherwise.
                print("what was done:", *self.story, "and then:", *format_exception(error), sep="\n")
            self.failed = True
            raise

    @property
    def running(self) -> bool:
        return self.world.running

    async def _attach(self, wish: Wish) -> None:
        code = await self.world.attach(self.client, wish)
        self.tell(f"attach {wish}: {code.name if code else 'OK'}")
        if code is None:
            self.world.wishes.rpc[wish.key] = wish
        else:
            assert code in self._refusals(wish), f"{wish} was refused with {code}"

    def _refusals(self, wish: Wish) -> set[Code]:
        if wish.netns not in self.world.namespaces:
            return {Code.FAILED_PRECONDITION}
        allowed = set()
        if self.world.wishes.may_be_claimed(wish.key) or wish.addresses or wish.ports:
            allowed.add(Code.ALREADY_EXISTS)
        if self.world.pools == OTHER_POOLS:
            allowed.add(Code.RESOURCE_EXHAUSTED)
        return allowed

    def _damage(self, chosen: int, kind: int) -> None:
        damages = ATTACHMENT_DAMAGES if self.world.resyncs else TOLD_DAMAGES
        if victims := self.world.victims():
            victim = victims[chosen % len(victims)]
            if kind < len(LINES):
                victim.endure(LINES[kind])
                self.tell(f"damage to {victim}: {LINES[kind]}")
                return
            damage = damages[kind % len(damages)]
            done = self.world.damage(victim, damage, MARKS)
            self.tell(f"damage to {victim}: {damage}: {done}")

    @rule()
    def a_moment(self) -> None:
        """Nothing, for a moment. Hypothesis begins with a history of the rule whose name comes first."""
        self.do(asyncio.sleep(0.05))

    @rule()
    def look(self) -> None:
        self.tell("look")
        self.do(self._look())

    async def _look(self) -> None:
        if not self.running:
            await self.world.start()
        await verdicts.quiet(self.world, self.client)

    def teardown(self) -> None:
        with self.stack:
            try:
                if hasattr(self, "client"):
                    self._end()
            finally:
                if hasattr(self, "client") and self.world.daemon.running:
                    self.world.daemon.kill9()

    def _end(self) -> None:
        if self.failed:
            print(*self.world.daemon.logged().splitlines()[-80:], sep="\n")
        else:
            self.tell("the end")
            for name in tuple(self.world.hidden):
                self.world.reveal_namespace(name)
            self.do(self._look())
            self.do(verdicts.empty(self.world, self.client))
            self.world.stop()
        self.runner.run(self.client.__aexit__(None, None, None))
