"""A daemon that hears of nothing repairs each kind of damage in the table by its next resync."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.damage.altered import PROGRAMS
from tests.damage.marks import marks
from tests.damage.table import DAMAGES, Damage
from tests.damage.victims import Victim, police, victim, wish
from tests.e2e.daemons import Daemon, daemon_alone
from tests.e2e.hosts import temporary
from tests.e2e.waiting import comes_true, until
from tests.sweeps import swept

UNHEARD_S = 0.3  # events would have been answered by then
PORT = 8080
REPAIRED_WITHIN_S = 10.0
PASSES = 2  # of a resync here: one over the node, one over the attachment


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """One that is deaf, and resyncs when it is told to."""
    with daemon_alone(PROGRAMS["deaf"]) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def attached(daemon: Daemon) -> Iterator[Victim]:
    with temporary("web") as web:

        async def attach_one() -> Victim:
            async with daemon.client() as client:
                await police(daemon)
                return victim(daemon.node, web, await client.attach(wish(web, PORT)))

        yield asyncio.run(attach_one())


@pytest.mark.parametrize(
    "damage", swept(DAMAGES, lambda damage: (damage.place, damage.group), lambda damage: damage.id, marked=marks)
)
async def test_damage_is_repaired_by_the_next_resync(daemon: Daemon, attached: Victim, damage: Damage) -> None:
    """Nothing is repaired while nothing is heard; with the resync everything is as it was before, says `ip`."""
    before = attached.look()
    attached.inflict(damage)

    await asyncio.sleep(UNHEARD_S)
    assert not attached.is_as(before), "this daemon is not as deaf as it should be"
    async with daemon.client() as client:

        async def passes() -> int:
            return (await client.status()).counters.passes

        passes_before = await passes()
        daemon.reload()
        if not await comes_true(lambda: attached.is_as(before), within_s=REPAIRED_WITHIN_S):
            assert attached.look() == before
        found = await client.check("web")
        assert not found.differences
        assert found.in_sync or damage.undo, "nothing of another is in the way"

        async def is_over() -> bool:
            return await passes() >= passes_before + PASSES

        await until(is_over, "the resync is over, so that it does not see the next damage")
        attached.undo(damage)
        if damage.undo:
            daemon.reload()

        async def in_sync() -> bool:
            return (await client.check("web")).in_sync

        await until(in_sync, "what was another's is not in the way any more")
