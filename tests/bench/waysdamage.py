"""How long damage to the ways to other nodes lasts, as `python -m tests.bench damage` measures it: on a node that knows
a hundred others, of which one is real."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from netplumb.models.kernel import KernelObject, Link
from netplumb.reconciler.converge.ways import WaysKernel
from tests.damage.table import Damage
from tests.damage.victims import Poised
from tests.damage.ways import WAYS
from tests.damage.waysvictims import words_between
from tests.e2e.nodes import DEVICE, UNDERLAY, Lan, lan

OTHERS = 100
POLL_S = 0.003  # a look at all of them takes as long itself
GIVE_UP_S = 30.0
IN_A_ROW, QUIET_S = 6, 1.5  # or the daemon takes the bench for a fighting tool
APART_S = 0.25  # each damage on its own: after a read of all ways the daemon rests before the next

Sight = frozenset[KernelObject]


def others(count: int) -> dict[str, Any]:
    """Nodes that nobody plays."""
    return {
        f"node-{number}": {
            "underlay": [f"192.0.2.{number}", f"2001:db8::{number}"],
            "prefixes": [f"10.128.{number}.0/24", f"fd80:0:0:{number}::/64"],
        }
        for number in range(3, 3 + count - 1)
    }


class Looker:
    """Sees all ways of one node, by a socket of its own."""

    def __init__(self, site: Lan) -> None:
        self._device = DEVICE if site.mode == "vxlan" else ""
        with site.machines[0].host.enter():
            self._kernel = WaysKernel()

    def see(self) -> Sight:
        found = self._kernel.read_all(self._device, [UNDERLAY]).objects.values()
        return frozenset(replace(it, index=0) if isinstance(it, Link) else it for it in found)

    def close(self) -> None:
        self._kernel.close()


@contextmanager
def _ground(mode: str, directory: Path) -> Iterator[tuple[Lan, Looker]]:
    with ExitStack() as stack:
        directory.mkdir()
        site = stack.enter_context(lan(2, mode, directory))

        async def started() -> None:
            site.tell(peers=others(OTHERS))
            await site.machines[0].daemon.start()
            await site.settled(site.machines[0])

        asyncio.run(started())
        looker = Looker(site)
        stack.callback(looker.close)
        stack.enter_context(site.machines[0].host.enter())
        yield site, looker


def _sample(damage: Damage, site: Lan, looker: Looker, before: Sight) -> float:
    """How long one damage lasted, in seconds."""
    words, host = words_between(*site.machines), site.machines[0].host
    poised = Poised(host, damage.lines(words))
    started = time.perf_counter()
    poised.strike()
    while looker.see() != before:
        if time.perf_counter() - started > GIVE_UP_S:
            raise AssertionError(f"{damage.id}: not repaired within {GIVE_UP_S} s")
        time.sleep(POLL_S)
    took = time.perf_counter() - started
    for line in damage.undo_lines(words):
        host.run(line)
    return took


def measure(directory: Path, kinds: Sequence[Damage], samples: int) -> Mapping[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for mode, damages in WAYS.items():
        if not (wanted := [it for it in damages if it in kinds]):
            continue
        with _ground(mode, directory / mode) as (site, looker):
            before = looker.see()
            for number, damage in enumerate(it for _ in range(samples) for it in wanted):
                time.sleep(APART_S if number % IN_A_ROW else QUIET_S)
                found[damage.id].append(_sample(damage, site, looker, before))
    return found
