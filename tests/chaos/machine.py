"""The state machine: deeds in any order, some at the same time, and now and then a look whether all came right."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import ExitStack
from dataclasses import replace
from traceback import format_exception
from typing import Any, TypeVar

import grpc
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from api.client import Client
from tests.chaos.damages import ATTACHMENT_DAMAGES, LINES, MARKS, NODE_DAMAGES, UNTOLD
from tests.chaos.wishes import (
    ALTERNATE,
    DECLARED,
    FILES,
    INTERFACES,
    LIMITS,
    OTHER_POOLS,
    POOLS,
    PORTS,
    STATICS,
    WORKLOADS,
    Declared,
    Key,
    Wish,
)
from tests.chaos.world import World

Code = grpc.StatusCode
T = TypeVar("T")

RESYNC_OFTEN_S, RESYNC_NEVER_S = 1, 3600
BROKEN = ("", "kind: [", "kind: Attachment\nworkload_id: w0\nnonsense: 1\n")
TOLD_DAMAGES = tuple(damage for damage in ATTACHMENT_DAMAGES if damage.name not in UNTOLD)

netns_names = st.sampled_from((*WORKLOADS[2:], *(name + ALTERNATE for name in WORKLOADS[:2])))
keys = st.tuples(st.sampled_from(WORKLOADS), st.sampled_from(INTERFACES))


@st.composite
def wishes(draw: st.DrawFn) -> Wish:
    workload_id, if_name = draw(keys)
    moves = workload_id in WORKLOADS[:2] and draw(st.booleans())
    return Wish(
        workload_id,
        if_name,
        workload_id + ALTERNATE if moves else workload_id,
        tuple(draw(st.lists(st.sampled_from(STATICS), max_size=1))),
        draw(st.sampled_from((0, 0, 1400))),
        draw(st.sampled_from(("", "one", "two"))),
        tuple(draw(st.lists(st.sampled_from(PORTS), max_size=2, unique=True))),
        draw(st.sampled_from(LIMITS)),
        draw(st.booleans()),
    )


declarations = st.lists(
    st.builds(Declared, st.sampled_from((*WORKLOADS, *DECLARED)), st.sampled_from(("", "", *STATICS))),
    min_size=1,
    max_size=3,
    unique_by=lambda declared: declared.key,
)
BURST = ("attach", "attach", "detach", "damage", "node", "declare", "undeclare", "remake", "read")
bursts = st.lists(
    st.tuples(st.sampled_from(BURST), wishes(), declarations, st.integers(0, 199)), min_size=2, max_size=8
)


class Chaos(RuleBasedStateMachine):
    """A new world for each history. `story` tells what was done, for the one who has to find out why it failed.

    What is drawn and which rule may come next must not depend on what the kernel did, or Hypothesis could not repeat
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
        population=st.lists(wishes(), min_size=2, max_size=5, unique_by=lambda wish: wish.key),
    )
    def begin(self, resync_s: int, population: list[Wish]) -> None:
        self.world = World(self.stack, resync_s)
        self.client: Client = self.world.open_client()
        self.tell(f"resync every {resync_s} s")
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

    # Wishes.

    @precondition(lambda self: self.running)
    @rule(wish=wishes())
    def attach(self, wish: Wish) -> None:
        self.do(self._attach(wish))

    @precondition(lambda self: self.running)
    @rule(other=wishes(), chosen=st.integers(0, 99), mtu=st.sampled_from((0, 1300)))
    def attach_again(self, other: Wish, chosen: int, mtu: int) -> None:
        """Other fields, the same namespace; an address that is left out stays."""
        if wished := sorted(self.world.wishes.rpc.items()):
            (workload_id, if_name), before = wished[chosen % len(wished)]
            same = replace(other, workload_id=workload_id, if_name=if_name, netns=before.netns)
            self.do(self._attach(replace(same, addresses=(), mtu=mtu)))

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
        if self.world.wishes.claimants(wish.key) or wish.addresses or wish.ports:
            allowed.add(Code.ALREADY_EXISTS)
        if self.world.pools == OTHER_POOLS:
            allowed.add(Code.RESOURCE_EXHAUSTED)
        return allowed

    @precondition(lambda self: self.running)
    @rule(key=keys, stale=st.booleans())
    def detach(self, key: Key, stale: bool) -> None:
        self.do(self._detach(key, stale=stale))

    async def _detach(self, key: Key, *, stale: bool) -> None:
        """A stale one names another namespace than the recorded one, and changes nothing."""
        wish = self.world.wishes.rpc.get(key)
        path = "/run/netns/stale" if stale else ""
        link = next((a.node_if_name for a in self.world.listed if (a.workload_id, a.if_name) == key), "")
        code = await self.world.detach(self.client, key, path)
        self.tell(f"detach {key}{' stale' if stale else ''}: {code.name if code else 'OK'}")
        if stale:
            assert code is None
            return
        claimants = self.world.wishes.claimants(key)
        if wish is None and claimants:
            assert code in (None, Code.FAILED_PRECONDITION)
            return
        assert code is None, f"{key} could not be detached: {code}"
        self.world.wishes.rpc.pop(key, None)
        if not claimants:
            assert link not in self.world.node.links(), f"{key} was said to be detached, and {link} is there"

    @rule(name=st.sampled_from(FILES), declared=declarations)
    def declare(self, name: str, declared: list[Declared]) -> None:
        self.tell(f"{name} declares {declared}")
        self.world.declare(name, declared)

    @rule(name=st.sampled_from(FILES))
    def undeclare(self, name: str) -> None:
        self.tell(f"{name} is removed")
        self.world.remove_file(name)

    @rule(name=st.sampled_from(FILES), content=st.sampled_from(BROKEN))
    def break_file(self, name: str, content: str) -> None:
        self.tell(f"{name} is broken: {content!r}")
        self.do(self._settled_files())
        self.world.break_file(name, content)

    async def _settled_files(self) -> None:
        """What a file said last is what the daemon has read; what it never had a chance to read counts for nothing."""
        if not self.running:
            await self.world.start()
        await self.world.quiet(self.client)

    # Damage, and others.

    @rule(chosen=st.integers(0, 99), kind=st.integers(0, 199))
    def damage(self, chosen: int, kind: int) -> None:
        self._damage(chosen, kind)

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

    @rule(kind=st.integers(0, len(NODE_DAMAGES) - 1))
    def damage_node(self, kind: int) -> None:
        self.tell(f"damage to the node: {NODE_DAMAGES[kind]}")
        self.world.damage_node(kind)

    @rule(chosen=st.integers(0, 99), number=st.integers(1, 9))
    def visit(self, chosen: int, number: int) -> None:
        if victims := self.world.victims():
            victim = victims[chosen % len(victims)]
            self.tell(f"a foreign address {number} in {victim.workload.name}")
            self.world.visit(victim, number)

    @rule(kind=st.integers(0, 9), chosen=st.integers(0, 99))
    def add_foreign_object(self, kind: int, chosen: int) -> None:
        names = sorted(self.world.foreigners)
        name = names[chosen % len(names)]
        self.tell(f"a foreign object {kind} in {name}")
        self.world.foreigners[name].add(kind)

    @rule(name=netns_names)
    def remove_or_make_namespace(self, name: str) -> None:
        if name in self.world.namespaces:
            self.tell(f"namespace {name} is removed")
            self.world.remove_namespace(name)
        else:
            self.tell(f"namespace {name} is made")
            self.world.make_namespace(name)

    @rule(chosen=st.integers(0, 99))
    def remake_namespace(self, chosen: int) -> None:
        names = sorted(self.world.namespaces)
        name = names[chosen % len(names)]
        self.tell(f"namespace {name} is made anew")
        self.world.remove_namespace(name)
        self.world.make_namespace(name)

    # The daemon.

    @precondition(lambda self: self.running)
    @rule()
    def kill(self) -> None:
        self.tell("the daemon is killed")
        self.world.kill()

    @precondition(lambda self: not self.running)
    @rule()
    def start(self) -> None:
        self.tell("the daemon is started")
        self.do(self.world.start())

    @precondition(lambda self: self.running)
    @rule()
    def restart(self) -> None:
        self.tell("the daemon is restarted")
        self.world.stop()
        self.do(self.world.start())

    @rule(pools=st.sampled_from(POOLS))
    def change_pools(self, pools: tuple[str, ...]) -> None:
        self.tell(f"pools {pools}")
        if self.running:
            self.do(self.world.reload(self.client, pools))
        else:
            self.world.configure(pools)

    # Many at the same time.

    @precondition(lambda self: self.running)
    @rule(burst=bursts, kill=st.booleans())
    def burst(self, burst: list[tuple[str, Wish, list[Declared], int]], kill: bool) -> None:
        """All at once, maybe with the daemon killed in the middle; then a look."""
        self.do(self._burst(burst, kill=kill))

    async def _burst(self, burst: list[tuple[str, Wish, list[Declared], int]], *, kill: bool) -> None:
        self.tell(f"at the same time{', with the daemon killed' if kill else ''}:")
        async with asyncio.TaskGroup() as deeds:
            for deed, wish, declared, number in burst:
                deeds.create_task(self._deed(deed, wish, declared, number))
            if kill:
                deeds.create_task(self.world.kill_and_start())
        await self.world.quiet(self.client)

    async def _deed(self, deed: str, wish: Wish, declared: list[Declared], number: int) -> None:
        world = self.world
        await asyncio.sleep(number % 10 / 200)  # some begin a little later
        match deed:
            case "attach":
                world.wishes.doubt(wish.key, wish)
                code = await world.attach(self.client, wish)
                self.tell(f"- attach {wish}: {code.name if code else 'OK'}")
                assert code in (None, *BURST_REFUSALS), f"{wish} was refused with {code}"
            case "detach":
                world.wishes.doubt(wish.key, None)
                code = await world.detach(self.client, wish.key)
                self.tell(f"- detach {wish.key}: {code.name if code else 'OK'}")
                assert code in (None, Code.FAILED_PRECONDITION, Code.ABORTED), f"{wish.key}: {code}"
            case "damage":
                self._damage(number, number)
            case "node":
                self.tell("- damage to the node")
                await asyncio.to_thread(world.damage_node, number)
            case "declare":
                self.tell(f"- {FILES[number % 2]} declares {declared}")
                world.declare(FILES[number % 2], declared)
            case "undeclare":
                self.tell(f"- {FILES[number % 2]} is removed")
                world.remove_file(FILES[number % 2])
            case "remake":
                if wish.netns in world.namespaces:
                    self.tell(f"- namespace {wish.netns} is made anew")
                    world.remove_namespace(wish.netns)
                    world.make_namespace(wish.netns)
            case "read":
                await self.client.plan()
                await self.client.status()

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
        await self.world.quiet(self.client)

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
            self.do(self._look())
            self.do(self.world.empty(self.client))
            self.world.stop()
        self.runner.run(self.client.__aexit__(None, None, None))


BURST_REFUSALS = (
    Code.ALREADY_EXISTS,
    Code.FAILED_PRECONDITION,
    Code.RESOURCE_EXHAUSTED,
    Code.ABORTED,  # another of the burst came later
)
