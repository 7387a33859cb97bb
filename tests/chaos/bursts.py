"""Many deeds at the same time, on the same few keys, maybe with the daemon killed in the middle."""

from __future__ import annotations

import asyncio

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.chaos import verdicts
from tests.chaos.drawn import bursts
from tests.chaos.history import Code, History
from tests.chaos.peers import PEERS
from tests.chaos.policies import POLICIES
from tests.chaos.wishes import FILES, Declared, Wish

BURST_REFUSALS = (
    Code.ALREADY_EXISTS,
    Code.FAILED_PRECONDITION,
    Code.RESOURCE_EXHAUSTED,
    Code.ABORTED,  # another of the burst came later
)


class Bursts(History):
    """What came of calls on one key at the same time is not known: the world's model doubts it until it looks."""

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
        await verdicts.quiet(self.world, self.client)

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
            case "police":
                chosen = frozenset(it for place, it in enumerate(POLICIES) if number >> place & 1)
                self.tell(f"- policies {sorted(it.name for it in chosen)}")
                world.police(chosen)
            case "meet":
                others = frozenset(it for place, it in enumerate(PEERS) if number >> place & 1)
                self.tell(f"- other nodes {sorted(it.name for it in others)}")
                world.meet(others)
            case "remake":
                if wish.netns in world.namespaces:
                    self.tell(f"- namespace {wish.netns} is made anew")
                    world.remove_namespace(wish.netns)
                    world.make_namespace(wish.netns)
            case "read":
                await self.client.plan()
                await self.client.status()
