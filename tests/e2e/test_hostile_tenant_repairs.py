"""A workload that gives netplumb ever more to repair in its namespace costs the node little and others nothing."""

from __future__ import annotations

import asyncio

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e.conftest import MakeHost
from tests.e2e.hosts import Host
from tests.e2e.tenants import renewing
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, condition

FIGHT_S = 4.0
MOST_PASSES = 24  # those that go through at once, what pauses of 0.1, 0.2, 0.4 s and so on let through, and a resync


@pytest.fixture
def mallory(make_host: MakeHost) -> Host:
    return make_host("mallory")


async def _passes(client: AsyncClient) -> int:
    return (await client.status()).counters.passes


async def test_ever_new_objects_do_not_get_around_the_pause(client: AsyncClient, web: Host, mallory: Host) -> None:
    """A hundred new routes a second with netplumb's mark are taken away in a few passes, the fight is told of, and
    another's repair does not wait. When no more come, the last are taken away and nothing is said any more."""
    for host in (web, mallory):
        await client.attach(attach(host))

    async def named() -> bool:
        return condition(await client.get("mallory"), "Fighting") is not None

    async def over() -> bool:
        return (await client.check("mallory")).in_sync and not await named()

    before = await _passes(client)
    with renewing(mallory):
        await until(named, "the fight is named", within_s=20)
        await asyncio.sleep(FIGHT_S)
        passes = await _passes(client) - before
        web.ip("-4 route delete default")
        await until(lambda: web.default_route(4) is not None, "another's route is repaired", within_s=2)
        assert condition(await client.get("web"), "Fighting") is None
    print(f"{passes} passes")
    assert passes <= MOST_PASSES
    await until(over, "what came last is taken away, and the fight is over", within_s=40)
