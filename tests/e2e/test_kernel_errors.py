"""Errors of the kernel at every call: each is retried or reported, and none is lost.

A call meets an error once, and then all goes well again. So it may cost a client its answer, which then says what the
kernel said; but afterwards the kernel is as desired, and nobody had to do anything for that but, at most, ask again.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path

import grpc
import pytest

from netplumb.api.client.errors import ClientError
from tests.e2e.conftest import MakeHost
from tests.e2e.faults import Fault, Kind
from tests.e2e.faultydaemons import WITHIN_S, FaultyDaemon
from tests.e2e.hosts import Host
from tests.e2e.kernelerrors import ERRORS, EXIT_STRANDED, LIES, in_turn, is_lie, offsets, told_in
from tests.e2e.scenarios import SCENARIOS, Scenario, attach_web
from tests.e2e.sites import Picture, Site, comes_to, opened
from tests.e2e.waiting import STEP_S, comes_true
from tests.sweeps import swept_points

pytestmark = pytest.mark.timeout(900)

DUMP_TRIES = 20
ECHOES_S = 0.03  # in which the daemon hears of what it did itself
SOME = len(ERRORS) + 1  # of so many calls one, each with another error than the one before
SOME_DUMPS = 4  # of so many dumps one


@pytest.fixture
async def site(node: Host, make_host: MakeHost, directory: Path) -> AsyncIterator[Site]:
    async with opened(node, make_host, directory) as site:
        yield site


@asynccontextmanager
async def kept_alive(daemon: FaultyDaemon) -> AsyncIterator[None]:
    """The daemon is started anew when it ends itself, as systemd does."""

    async def keep() -> None:
        while True:
            if not daemon.running:
                assert daemon.process.returncode == EXIT_STRANDED, daemon.logged()
                daemon.faults.disarm()
                await daemon.start()
            await asyncio.sleep(STEP_S)

    keeping = asyncio.ensure_future(keep())
    try:
        yield
    finally:
        if not keeping.done():
            keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping


async def _meets(site: Site, scenario: Scenario, fault: Fault, expected: Picture) -> str:
    """Acts with the fault armed, and sees to it that nothing is lost. Returns the call that met it."""
    told: ClientError | None = None
    await scenario.prepare(site)
    site.daemon.faults.arm(fault)
    try:
        await scenario.act(site)
    except ClientError as error:
        told = error
    if not scenario.answered:
        await comes_true(lambda: site.daemon.faults.journal().met or site.picture() == expected, within_s=WITHIN_S)
        await asyncio.sleep(ECHOES_S)
    site.daemon.faults.disarm()
    met = site.daemon.faults.journal().met
    where = f"{fault.kind} {errno.errorcode.get(fault.code, '')} of call {fault.at}, {met}"
    believed = is_lie(fault)
    if told is not None:
        _is_report(told, fault, where)
        await scenario.act(site)
    if believed:
        await site.client.status()  # it may have been started anew, and must be there to be told
        site.daemon.reload()
    await comes_to(site, expected, where, within_s=0 if scenario.answered and not believed else WITHIN_S)
    await site.settles()
    await scenario.undo(site)
    return met


def _is_report(told: ClientError, fault: Fault, where: str) -> None:
    """A client learns what the kernel said; of a lie, perhaps only what followed from it."""
    codes = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.ALREADY_EXISTS)
    assert told.code in codes, f"{where}: {told.code}: {told.message}"
    if fault.code not in LIES:
        assert told_in(told.message, fault), f"{where}: {told.message}"


async def _sweep(site: Site, scenario: Scenario, fault_at: Callable[[int], Fault], every: int) -> None:
    """Acts again and again, each time with a later call meeting its fault, until there is no such call."""
    before = site.picture()
    await scenario.prepare(site)
    await scenario.act(site)
    await site.settles()
    expected = site.picture()
    await scenario.undo(site)
    met = []
    for at in count(1, every):
        fault = fault_at(at)
        async with kept_alive(site.daemon):
            if not (call := await _meets(site, scenario, fault, expected)):
                break
        met.append(call)
        await comes_to(site, before, f"{fault} ({call}), undone", within_s=0)
    print(f"{scenario}: an error of each of {len(met)} calls: {', '.join(met)}")
    assert met
    for words in ("Traceback", "internal error"):
        assert words not in site.daemon.logged()


SWEEPS = [
    (scenario, offset)
    for number, scenario in enumerate(SCENARIOS)
    for offset in (range(len(ERRORS)) if scenario.act is attach_web else offsets((number % len(ERRORS),)))
]
"""For Attach each call meets every error, always; for the others each call meets the next one of them."""


@pytest.mark.parametrize(
    ("scenario", "offset", "every"),
    swept_points(SWEEPS, lambda case: case[0].kind, lambda case: f"{case[0]}-{case[1]}", every=SOME),
)
async def test_an_error_of_any_call_is_retried_or_reported(
    site: Site, scenario: Scenario, offset: int, every: int
) -> None:
    """Whatever error any single call meets, the client has its answer or is told the error, and the kernel comes to be
    as desired."""
    await _sweep(site, scenario, partial(in_turn, offset=offset), every)


@pytest.mark.parametrize("times", [1, DUMP_TRIES + 1])
@pytest.mark.parametrize(
    ("scenario", "every"),
    swept_points([each for each in SCENARIOS if not each.answered], lambda scenario: scenario.kind, every=SOME_DUMPS),
)
async def test_a_dump_that_is_interrupted_is_never_used(site: Site, scenario: Scenario, every: int, times: int) -> None:
    """Any dump that the kernel marks as inconsistent, once or until the daemon gives up, is read again before anything
    follows from it."""
    await _sweep(site, scenario, lambda at: Fault(Kind.INTERRUPT, at=at, times=times), every)
