"""The state machine: deeds in any order, some at the same time, and now and then a look whether all came right."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.chaos import verdicts
from tests.chaos.bursts import Bursts
from tests.chaos.damages import NODE_DAMAGES
from tests.chaos.drawn import declarations, keys, netns_names, peers, policies, wishes
from tests.chaos.history import Code
from tests.chaos.peers import Peer
from tests.chaos.policies import Policy
from tests.chaos.wishes import FILES, POOLS, Declared, Key, Wish

BROKEN = ("", "kind: [", "kind: Attachment\nworkload_id: w0\nnonsense: 1\n")


class Chaos(Bursts):
    """All rules together. Those here are done one after the other, without waiting for what comes of them."""

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
        claimed = self.world.wishes.may_be_claimed(key)
        if wish is None and claimed:
            assert code in (None, Code.FAILED_PRECONDITION)
            return
        assert code is None, f"{key} could not be detached: {code}"
        self.world.wishes.rpc.pop(key, None)
        if not claimed:
            assert link not in self.world.node.links(), f"{key} was said to be detached, and {link} is there"

    @precondition(lambda self: self.running)
    @rule(keep=st.sets(st.integers(0, 7), max_size=4))
    def collect_garbage(self, keep: set[int]) -> None:
        alive = [key for number, key in enumerate(sorted(self.world.wishes.rpc)) if number in keep]
        self.tell(f"all but {alive} is garbage")
        self.do(self.world.collect_garbage(self.client, alive))

    @rule(name=st.sampled_from(FILES), declared=declarations)
    def declare(self, name: str, declared: list[Declared]) -> None:
        self.tell(f"{name} declares {declared}")
        self.world.declare(name, declared)

    @rule(name=st.sampled_from(FILES))
    def undeclare(self, name: str) -> None:
        self.tell(f"{name} is removed")
        self.world.remove_file(name)

    @rule(chosen=policies)
    def police(self, chosen: frozenset[Policy]) -> None:
        self.tell(f"policies {sorted(it.name for it in chosen)}")
        self.world.police(chosen)

    @rule(others=peers)
    def meet(self, others: frozenset[Peer]) -> None:
        self.tell(f"other nodes {sorted((it.name, it.moved) for it in others)}")
        self.world.meet(others)

    @rule(name=st.sampled_from(FILES), content=st.sampled_from(BROKEN))
    def break_file(self, name: str, content: str) -> None:
        self.tell(f"{name} is broken: {content!r}")
        self.do(self._settled_files())
        self.world.break_file(name, content)

    async def _settled_files(self) -> None:
        """What a file said last is what the daemon has read; what it never had a chance to read counts for nothing."""
        if not self.running:
            await self.world.start()
        await verdicts.quiet(self.world, self.client)

    # Damage, and others.

    @rule(chosen=st.integers(0, 99), kind=st.integers(0, 199))
    def damage(self, chosen: int, kind: int) -> None:
        self._damage(chosen, kind)

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
        if name in self.world.hidden:
            self.tell(f"namespace {name} is at its path again")
            self.world.reveal_namespace(name)
        elif name in self.world.namespaces:
            self.tell(f"namespace {name} is removed")
            self.world.remove_namespace(name)
        else:
            self.tell(f"namespace {name} is made")
            self.world.make_namespace(name)

    @rule(name=netns_names)
    def hide_namespace(self, name: str) -> None:
        if name in self.world.namespaces:
            self.tell(f"namespace {name} lives, and its path is gone")
            self.world.hide_namespace(name)

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

    @precondition(lambda self: self.running)
    @rule()
    def mistake_settings(self) -> None:
        self.tell("settings with a mistake")
        self.do(self.world.refused_reload())
