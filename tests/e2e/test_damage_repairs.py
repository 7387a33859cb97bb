"""Each kind of damage in the table is repaired because of what the kernel tells, or a look at what it does not tell:
this daemon resyncs once an hour."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from tests.damage.altered import PROGRAMS
from tests.damage.marks import marks
from tests.damage.table import DAMAGES, Damage, Noticed
from tests.damage.victims import Victim, police, victim, wish
from tests.e2e.daemons import Daemon, daemon_alone
from tests.e2e.hosts import temporary
from tests.e2e.waiting import comes_true, until
from tests.e2e.wishes import attach
from tests.sweeps import swept

PORT = 8080
HEARD = [damage for damage in DAMAGES if damage.noticed is not Noticed.RESYNC]
REPAIRED_WITHIN_S = 10.0  # how long it takes is for the benchmark to tell; an hour it is not


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """One for all kinds, so that each meets what the one before it left. It does not take them for a fight."""
    with daemon_alone(PROGRAMS["relentless"]) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def attached(daemon: Daemon) -> Iterator[Victim]:
    """A workload, and beside it one that nobody damages."""
    with ExitStack() as stack:
        web, bystander = (stack.enter_context(temporary(name)) for name in ("web", "bystander"))

        async def attach_both() -> Victim:
            async with daemon.client() as client:
                await police(daemon)
                await client.attach(attach(bystander))
                return victim(daemon.node, web, await client.attach(wish(web, PORT)))

        yield asyncio.run(attach_both())


async def _repairs(client: AsyncClient) -> int:
    return sum((await client.status()).counters.repairs.values())


async def _healed(daemon: Daemon, client: AsyncClient) -> None:
    """What the kind before left unrepaired has failed that kind's test, and is not to fail this one's."""

    async def in_sync() -> bool:
        return (await client.check("web")).in_sync

    if not await in_sync():
        daemon.reload()
        await until(in_sync, "a resync repairs what an event did not")


@pytest.mark.parametrize(
    "damage", swept(HEARD, lambda damage: (damage.place, damage.group), lambda damage: damage.id, marked=marks)
)
async def test_damage_is_repaired_by_its_event(daemon: Daemon, attached: Victim, damage: Damage) -> None:
    """Everything is as it was before, says `ip`; the daemon says that it repaired and that nothing differs."""
    async with daemon.client() as client:
        await _healed(daemon, client)
        before = attached.look()
        repairs = await _repairs(client)
        attached.inflict(damage)

        async def whole() -> bool:
            return attached.is_as(before) and await _repairs(client) > repairs

        if not await comes_true(whole, within_s=REPAIRED_WITHIN_S):
            assert attached.look() == before
            raise AssertionError("all is as before, but nothing was counted as repaired")
        found = await client.check("web")
        assert not found.differences
        assert found.in_sync or damage.undo, "nothing of another is in the way"
        assert (await client.check("bystander")).in_sync
        assert (await client.get("bystander")).phase == "Attached"
        attached.undo(damage)
        assert attached.node.ping(attached.v4)
        assert attached.node.ping(attached.v6)
