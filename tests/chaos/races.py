"""Rounds of deeds at the same time while all is compared with the kernel again and again, by threads that are late.
After each round nothing is compared any more, and yet the kernel has to equal desired state."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from random import Random
from types import MappingProxyType

from netplumb.api.client.asynchronous import AsyncClient
from tests.chaos import verdicts
from tests.chaos.damages import ATTACHMENT_DAMAGES, MARKS, NODE_DAMAGES, UNTOLD
from tests.chaos.latedaemons import LateDaemon
from tests.chaos.peers import MTU, PEERS
from tests.chaos.policies import POLICIES
from tests.chaos.wishes import ALTERNATE, DECLARED, FILES, LIMITS, POOLS, PORTS, STATICS, WORKLOADS, Declared, Wish
from tests.chaos.world import World

INTERFACES = ("eth0", "eth1", "eth2")
DEEDS = (
    *("attach",) * 4,
    *("detach", "detach", "declare", "undeclare", "police", "police", "meet", "remake"),
    *("damage", "damage node", "restart", "pools", "settings"),
)
SETTINGS: tuple[Mapping[str, object], ...] = (
    {},
    {"masquerade": False},
    {"isolate_node": True},
    {"mtu": 1400},
)
ROUND_S = 0.25
COMPARED_WITHIN_S = 0.08
TOLD_DAMAGES = tuple(it for it in ATTACHMENT_DAMAGES if it.name not in UNTOLD)


class LateWorld(World):
    """One whose daemon is late."""

    daemon: LateDaemon
    settings: Mapping[str, object] = MappingProxyType({})

    def _made_daemon(self, directory: Path, flags: str) -> LateDaemon:
        return LateDaemon(self.node, directory, flags=flags, share=0.4, most_s=0.04, is_told=bool(self.mode))

    def set(self, settings: Mapping[str, object]) -> None:
        self.settings = settings
        self.mtu = MTU[self.mode] if "mtu" not in settings else int(str(settings["mtu"]))
        self.configure(self.pools)

    def _write_settings(self, pools: tuple[str, ...]) -> None:
        super()._write_settings(pools)
        self.daemon.config.write_text(json.dumps(json.loads(self.daemon.config.read_text()) | dict(self.settings)))

    def end(self) -> None:
        if self.daemon.running:
            self.daemon.kill9()


class Races:
    """`story` tells what was done in the last round."""

    def __init__(self, world: LateWorld, client: AsyncClient, random: Random) -> None:
        self._world = world
        self._client = client
        self._random = random
        self._starting = asyncio.Lock()
        self.story: list[str] = []

    async def round(self) -> None:
        self.story = []
        comparing = asyncio.create_task(self._compare())
        try:
            async with asyncio.TaskGroup() as deeds:
                for _ in range(self._random.randint(4, 14)):
                    deeds.create_task(self._deed(self._random.choice(DEEDS)))
        finally:
            comparing.cancel()
        await verdicts.quiet(self._world, self._client)

    async def _compare(self) -> None:
        while True:
            await asyncio.sleep(self._random.uniform(0, COMPARED_WITHIN_S))
            self._world.daemon.resync()

    async def _deed(self, deed: str) -> None:
        world, random = self._world, self._random
        await asyncio.sleep(random.uniform(0, ROUND_S))
        wish, name = self._wish(), random.choice(FILES)
        match deed:
            case "attach":
                world.wishes.doubt(wish.key, wish)
                if world.running:
                    code = await world.attach(self._client, wish)
                    self.story.append(f"attach {wish}: {code}")
            case "detach":
                world.wishes.doubt(wish.key, None)
                if world.running:
                    self.story.append(f"detach {wish.key}: {await world.detach(self._client, wish.key)}")
            case "declare":
                declared = self._declared()
                self.story.append(f"{name} declares {declared}")
                world.declare(name, declared)
            case "undeclare":
                self.story.append(f"{name} is removed")
                world.remove_file(name)
            case "police":
                policies = frozenset(it for it in POLICIES if random.random() < 0.5)
                self.story.append(f"policies {sorted(it.name for it in policies)}")
                world.police(policies)
            case "meet":
                others = frozenset(it for it in PEERS if random.random() < 0.5)
                self.story.append(f"other nodes {sorted(map(str, others))}")
                world.meet(others)
            case "remake" if wish.netns in world.namespaces:
                self.story.append(f"namespace {wish.netns} is made anew")
                world.remove_namespace(wish.netns)
                world.make_namespace(wish.netns)
            case "damage" if victims := world.victims():
                victim, damage = random.choice(victims), random.choice(TOLD_DAMAGES)
                self.story.append(f"damage to {victim}: {damage}: {world.damage(victim, damage, MARKS)}")
            case "damage node":
                number = random.randrange(len(NODE_DAMAGES))
                self.story.append(f"damage to the node: {NODE_DAMAGES[number]}")
                await asyncio.to_thread(world.damage_node, number)
            case "restart":
                async with self._starting:
                    self.story.append("killed and started")
                    await world.kill_and_start()
            case "pools" if world.running:
                self.story.append("other pools")
                world.configure(random.choice(POOLS))
                world.daemon.reload()
            case "settings" if world.running:
                world.set(random.choice(SETTINGS))
                self.story.append(f"settings {dict(world.settings)}")
                world.daemon.reload()
            case _:
                pass

    def _wish(self) -> Wish:
        random = self._random
        workload_id = random.choice(WORKLOADS)
        moves = workload_id in WORKLOADS[:2] and random.random() < 0.3
        return Wish(
            workload_id,
            random.choice(INTERFACES),
            workload_id + ALTERNATE if moves else workload_id,
            tuple(random.sample(STATICS, random.choice((0, 0, 1)))),
            random.choice((0, 0, 0, 1400)),
            random.choice(("", "one", "two")),
            tuple(random.sample(PORTS, random.choice((0, 1, 2)))),
            random.choice(LIMITS),
            random.random() < 0.3,
        )

    def _declared(self) -> list[Declared]:
        workloads = self._random.sample((*WORKLOADS, *DECLARED), self._random.randint(1, 3))
        return [Declared(it, self._random.choice(("", "", *STATICS))) for it in workloads]
