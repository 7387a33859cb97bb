"""`python -m tests.bench damage`: how long each kind of damage of the table lasts, many attachments being in place.

The daemon resyncs once an hour, so what is repaired is repaired because it was noticed. Victims are drawn at random.
The time is taken here, from the word that lets a waiting shell do the damage until a read of the kernel shows all as
before; so it has the start of `ip` or `nft` in it (1 to 3 ms) and half a poll, and is rather too long than too short.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from tests.bench import waysdamage
from tests.bench.eyes import Eyes, eyes
from tests.bench.objects import NODE_ADDRESSES, POOLS
from tests.damage import measured
from tests.damage.table import DAMAGES, Damage, Group, Noticed, Place
from tests.damage.victims import Poised, Victim, police, victim, wish
from tests.damage.ways import WAYS
from tests.e2e.daemons import INSTALLED, Daemon
from tests.e2e.hosts import Host, temporary

AIM_MS = 100.0
POLL_S = 0.0005
POLL_ALL_S = 0.003  # a look at the whole node takes as long itself
FIRST_PORT = 20_000
GIVE_UP_S = 30.0
QUIET_S = 1.5  # between the turns of kinds that share an object, or the daemon takes the bench for a fighting tool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--attachments", type=int, default=500, help="attachments in place (%(default)s)")
    parser.add_argument("--samples", type=int, default=200, help="samples of each kind (%(default)s)")
    parser.add_argument("--only", default="", help="only kinds with this in their name")
    parser.add_argument("--missing", action="store_true", help="only kinds of which no numbers are kept, or later ones")
    parser.add_argument("--record", action="store_true", help="keep the numbers for docs/damage.md")


async def _attached(daemon: Daemon, workloads: Sequence[Host]) -> list[Victim]:
    """Every eighth has ports, limits and policies."""
    await police(daemon)
    v4, v6 = map(str, NODE_ADDRESSES)
    ports = (0 if number % 8 else FIRST_PORT + number for number in range(len(workloads)))
    async with daemon.client(timeout_s=60) as client:
        return [
            victim(daemon.node, workload, await client.attach(wish(workload, port)), node_v4=v4, node_v6=v6)
            for workload, port in zip(workloads, ports, strict=True)
        ]


def _drawn(damage: Damage, victims: Sequence[Victim]) -> Victim:
    return random.choice([victim for victim in victims if victim.port] if damage.of_features else victims)


def _rounds(kinds: Sequence[Damage], samples: int) -> Iterator[Damage]:
    """Each kind once a round. Kinds that share an object follow each other, the others stand between those groups."""
    by_group = defaultdict(list)
    for kind in kinds:
        by_group[kind.group].append(kind)
    shared = [group for group in Group if group is not Group.ATTACHMENT]
    touched_at: dict[Group, float] = {}
    for _ in range(samples):
        apart = by_group[Group.ATTACHMENT]
        random.shuffle(apart)
        part = len(apart) // len(shared) + 1
        for position, group in enumerate(shared):
            if by_group[group]:
                touched = Group.TABLE if group is Group.POLICIES else group
                time.sleep(max(0.0, touched_at.get(touched, 0.0) + QUIET_S - time.monotonic()))
                yield from by_group[group]
                touched_at[touched] = time.monotonic()
            yield from apart[position * part : (position + 1) * part]


def _sample(damage: Damage, hit: Victim, eyes: Eyes) -> float:
    """How long one damage lasted, in seconds."""
    before = eyes.see(damage, hit)
    assert before, f"{damage.id}: nothing is seen"
    words = hit.words(damage)
    poised = Poised(hit.host(damage), damage.lines(words))
    started = time.perf_counter()
    poised.strike()
    while not before <= eyes.see(damage, hit):
        if time.perf_counter() - started > GIVE_UP_S:
            missing = sorted(map(str, before - eyes.see(damage, hit)))
            raise AssertionError(f"{damage.id}: not repaired within {GIVE_UP_S} s: {missing}")
        time.sleep(POLL_S if damage.group is Group.ATTACHMENT else POLL_ALL_S)
    took = time.perf_counter() - started
    while before != eyes.see(damage, hit) and not damage.undo:
        time.sleep(POLL_S)  # what was added to ours
        took = time.perf_counter() - started
    hit.undo(damage)
    return took


def measure(
    directory: Path, kinds: Sequence[Damage], attachments: int, samples: int
) -> tuple[Mapping[str, list[float]], list[float]]:
    """How long each damage lasted, by kind; and how long the kernel took meanwhile for a request that does nothing."""
    found: dict[str, list[float]] = defaultdict(list)
    idle: list[float] = []
    with ExitStack() as stack:
        node = stack.enter_context(temporary("node"))
        node.ip("link set lo up")
        workloads = [stack.enter_context(temporary(f"workload-{number}")) for number in range(attachments)]
        flags = "--log-level=info --log-format=text"
        daemon = Daemon(node, directory, pools=POOLS, flags=flags, program=INSTALLED)
        asyncio.run(daemon.start())
        stack.callback(daemon.end)
        victims = asyncio.run(_attached(daemon, workloads))
        seeing = stack.enter_context(eyes(node))
        idle.extend(seeing.idle_request() for _ in range(samples))
        for damage in _rounds(kinds, samples):
            idle.append(seeing.idle_request())
            found[damage.id].append(_sample(damage, _drawn(damage, victims), seeing))
    return found, idle


def run(given: argparse.Namespace) -> int:
    """Exits with 1 when a kind's p99 is beyond the aim."""
    table = (*DAMAGES, *chain(*WAYS.values()))
    kinds = [damage for damage in table if damage.noticed is not Noticed.RESYNC if given.only in damage.id]
    kept = measured.recorded()
    if given.missing:
        again = kept.later.kinds if kept.later is not None else ()
        kinds = [damage for damage in kinds if damage.id not in kept.kinds or damage.id in again]
    load_before = os.getloadavg()[0]
    with TemporaryDirectory(prefix="np-", dir="/run") as directory:
        of_node = [damage for damage in kinds if damage.place is not Place.WAYS]
        # Where only ways are damaged, one attachment is there for what is measured of the machine.
        attachments = given.attachments if of_node else 1
        found, idle = measure(Path(directory) / "node", of_node, attachments, given.samples)
        found = {**found, **waysdamage.measure(Path(directory), kinds, given.samples)}
    spreads = {name: measured.spread(seconds) for name, seconds in found.items()}
    came = measured.Measured(measured.machine(load_before), given.attachments, measured.spread(idle), spreads)
    Console(highlight=False).print(measured.shown(came))
    if given.record:
        measured.record(measured.completed(kept, came) if given.missing else came)
    slow = [name for name, spread in spreads.items() if spread.p99_ms > AIM_MS]
    for name in slow:
        print(f"{name}: p99 is above {AIM_MS:g} ms")
    return 1 if slow else 0
