"""Each kind of damage to the ways to other nodes is repaired because of what the kernel tells, or of a look where it
tells nothing: these daemons resync once an hour. And a daemon that resyncs repairs the kinds of which nobody tells."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.damage.table import Damage, Noticed
from tests.damage.ways import WAYS
from tests.damage.waysvictims import words_between
from tests.e2e.hosts import Host, kernel_state
from tests.e2e.nodes import DEVICE, Lan, lan
from tests.e2e.waiting import comes_true, until
from tests.e2e.wishes import v4, v6

REPAIRED_WITHIN_S = 10.0
UNHEARD_S = 0.3  # events would have been answered by then


@dataclass(frozen=True, slots=True)
class Ground:
    """Two nodes with a workload on the other, and what is damaged on the one."""

    site: Lan
    reached: tuple[str, str]

    @property
    def host(self) -> Host:
        return self.site.machines[0].host

    def words(self) -> dict[str, str]:
        return words_between(*self.site.machines)

    def look(self) -> set[str]:
        """All that the kernel holds of it, without what a remade object may have anew."""
        found = {_without_index(line) for line in kernel_state(self.host) if "stray" not in line}
        if self.site.mode == "vxlan":
            found |= set(self.host.run(f"bridge fdb show dev {DEVICE}").splitlines())
            switches = [f"net/ipv{version}/conf/{DEVICE}/forwarding" for version in (4, 6)]
            switches.append(f"net/ipv6/conf/{DEVICE}/disable_ipv6")
            found |= {f"{name} = {self.host.sysctl(name)}" for name in switches}
        return found

    def is_as(self, before: set[str]) -> bool:
        try:
            return self.look() == before
        except (AssertionError, FileNotFoundError):
            return False  # something that is looked at is not there

    async def repairs(self) -> int:
        async with self.site.machines[0].client() as client:
            return sum((await client.status()).counters.repairs.values())


def _without_index(line: str) -> str:
    host, _, text = line.partition(": ")
    entry = json.loads(text)
    for name in ("ifindex", "link_index", "flags"):
        entry.pop(name, None)
    return f"{host}: {json.dumps(entry, sort_keys=True)}"


@pytest.fixture(scope="module")
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    """Of one mode, for all kinds that are damage to it, so that each meets what the one before it left."""
    with TemporaryDirectory(prefix="np-") as name, lan(2, request.param, Path(name)) as site:

        async def started() -> Ground:
            site.tell()
            for it in site.machines:
                await it.daemon.start()
            await site.settled()
            _, has = await site.machines[1].attach("db")
            return Ground(site, (v4(has), v6(has)))

        yield asyncio.run(started())


HEARD = [(mode, it) for mode, damages in WAYS.items() for it in damages if it.noticed is not Noticed.RESYNC]
UNHEARD = [(mode, it) for mode, damages in WAYS.items() for it in damages if it.noticed is Noticed.RESYNC]


def words_of(case: object) -> str:
    return case.name if isinstance(case, Damage) else str(case)


@pytest.mark.parametrize(("ground", "damage"), HEARD, ids=words_of, indirect=["ground"])
async def test_damage_to_a_way_is_repaired_before_the_resync(ground: Ground, damage: Damage) -> None:
    """Everything is as it was before, says `ip`; the daemon says that it repaired, and the other node is reached."""
    await ground.site.settled()
    before, repairs = ground.look(), await ground.repairs()
    for line in damage.lines(ground.words()):
        ground.host.run(line)

    async def whole() -> bool:
        return ground.is_as(before) and await ground.repairs() > repairs

    if not await comes_true(whole, within_s=REPAIRED_WITHIN_S):
        now = ground.look()
        raise AssertionError("\n".join([*sorted(before - now), "became", *sorted(now - before)]))
    for line in damage.undo_lines(ground.words()):
        ground.host.run(line)
    await ground.site.settled()
    assert all(map(ground.host.ping, ground.reached))


@pytest.mark.parametrize(("ground", "damage"), UNHEARD, ids=words_of, indirect=["ground"])
async def test_damage_to_a_way_that_nobody_tells_of_is_repaired_by_the_next_resync(
    ground: Ground, damage: Damage
) -> None:
    """Nothing is done before; then everything is as it was."""
    await ground.site.settled()
    before = ground.look()
    for line in damage.lines(ground.words()):
        ground.host.run(line)
    await asyncio.sleep(UNHEARD_S)
    assert not ground.is_as(before)
    ground.site.machines[0].daemon.reload()
    await until(lambda: ground.is_as(before), "the resync is over", within_s=REPAIRED_WITHIN_S)
