"""A workload that changes something all the time is not listened to, and others do not wait for it."""

from __future__ import annotations

from typing import Literal

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e.conftest import MakeHost
from tests.e2e.hosts import Host
from tests.e2e.paces import attach_s, repair_s
from tests.e2e.tenants import flooding
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, condition, v4

MOST_LONGER = 5.0
"""How many times as long an Attach may take. One processor of the machine is the flooder's, and each of its changes
holds the kernel's lock for links and routes."""
REPAIRED_WITHIN_S = 2.0
"""What others change in their workloads is heard on the same socket, behind what is there already."""


@pytest.fixture
def mallory(make_host: MakeHost) -> Host:
    return make_host("mallory")


async def _muted(client: AsyncClient) -> bool:
    told = condition(await client.get("mallory"), "Throttled")
    return told is not None and told.reason == "TooManyEvents"


@pytest.mark.parametrize(("what", "a_second"), [("route", 80_000), ("link", 20_000)])
async def test_a_flood_of_events_is_not_listened_to(
    client: AsyncClient, web: Host, db: Host, mallory: Host, what: Literal["route", "link"], a_second: int
) -> None:
    """Eighty thousand changes a second, or fewer of what the kernel has more to tell of: it is told that they are not
    listened to, and others are attached and repaired as quickly as before. What is damaged in the namespace that floods
    is repaired all the same, a little later; and when it is quiet it is listened to again."""
    address = v4(await client.attach(attach(web)))
    await client.attach(attach(mallory))
    quiet = await attach_s(client, db), await repair_s(web, address)
    with flooding(mallory, a_second, what=what):
        await until(lambda: _muted(client), "the flood is told", within_s=20)
        busy = await attach_s(client, db), await repair_s(web, address)
        mallory.ip("-4 route delete default")
        await until(lambda: mallory.default_route(4) is not None, "it is looked at all the same", within_s=70)
    print(f"{busy[0] / quiet[0]:.1f} times an Attach, {busy[1] / quiet[1]:.1f} times a repair")
    assert busy[0] / quiet[0] <= MOST_LONGER
    assert busy[1] <= REPAIRED_WITHIN_S

    async def heard_again() -> bool:
        return not await _muted(client)

    await until(heard_again, "it is listened to again", within_s=90)
    assert (await client.check("mallory")).in_sync
