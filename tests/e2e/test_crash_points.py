"""The daemon is killed at every point of Attach, Detach and repair, and started again: nothing is lost, nothing leaks.

The points are found by going on until there is no next one: before the first call that changes something, before the
second, and so on, in the middle of batches too, and after the last. Which kinds of step lie between them is taken from
the plans that were carried out, and must be all that there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from itertools import count
from pathlib import Path
from typing import get_args

import pytest

from models import kernel
from models.kernel import KernelObject, Verb
from tests.e2e.conftest import MakeHost
from tests.e2e.faults import Fault, Journal, Kind
from tests.e2e.hosts import Host
from tests.e2e.scenarios import SCENARIOS, Scenario
from tests.e2e.sites import WITHIN_S, FaultyDaemon, Picture, Site, comes_to, opened

MOST_POINTS = 200


@pytest.fixture
async def site(node: Host, make_host: MakeHost, directory: Path) -> AsyncIterator[Site]:
    daemon = FaultyDaemon(node, directory)
    try:
        async with opened(node, make_host("web"), make_host("spare"), make_host("keeper"), daemon) as site:
            yield site
    finally:
        daemon.end()


async def _uninjured(site: Site, scenario: Scenario) -> Picture:
    """How the kernel looks when nothing comes in between."""
    await scenario.act(site)
    if not scenario.answered:
        await site.settles()
    return site.picture()


async def _acted(site: Site, scenario: Scenario, expected: Picture) -> None:
    """Done, and no later than a call was answered the kernel is as expected."""
    await scenario.act(site)
    await comes_to(site, expected, scenario.name, within_s=0 if scenario.answered else WITHIN_S)


async def _survives(site: Site, scenario: Scenario, fault: Fault, expected: Picture) -> Journal:
    """Acts with the fault armed, and starts the daemon anew when it died of it. Returns what it did up to there."""
    known = set(site.addresses.get("web", ()))
    site.daemon.faults.arm(fault)
    acting = asyncio.ensure_future(_acted(site, scenario, expected))
    try:
        died = await site.daemon.died(unless=acting.done)
        site.daemon.faults.disarm()
        journal = site.daemon.faults.journal()
        assert died == bool(journal.met), f"it died of something else:\n{site.daemon.logged()}"
        if died:
            given = site.given("web")
            await site.daemon.start()
            await acting
            assert given <= known | set(site.addresses.get("web", ())), "what the workload had was given up"
        await acting
    finally:
        acting.cancel()
    return journal


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
async def test_a_death_at_any_point_loses_and_leaks_nothing(site: Site, scenario: Scenario) -> None:
    """Killed before, between and after all calls that change something, and started again: the client's call, asked
    again, has its answer, the kernel is as if nothing had happened, and when all is undone it is as it was before."""
    before, held = site.picture(), await site.held_addresses()
    await scenario.prepare(site)
    expected = await _uninjured(site, scenario)
    await scenario.undo(site)
    assert site.picture() == before
    points = 0
    for at in count(1):
        assert at < MOST_POINTS
        await scenario.prepare(site)
        journal = await _survives(site, scenario, Fault(Kind.DIE_BEFORE, at), expected)
        await site.settles()
        await comes_to(site, expected, f"after a death before {journal.met}", within_s=0)
        await scenario.undo(site)
        await comes_to(site, before, f"after a death before {journal.met}, undone", within_s=0)
        assert await site.held_addresses() == held
        if not journal.met:
            break
        points += 1
    print(points, journal.changes)
    assert points
