"""The daemon is killed at every point of Attach, Detach, repair and start, and started again: nothing is lost and
nothing leaks.

The points are found by going on until there is no next one: before the first call that changes something, before the
second, and so on, in the middle of a batch too, and after the last. What kinds of step lie between them is taken from
the plans that were carried out; these must be all kinds that there are.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import get_args

import pytest

from netplumb.models import kernel
from netplumb.models.kernel import KernelObject
from netplumb.models.nft import NftHooks, NftSet
from netplumb.models.steps import Verb
from netplumb.models.tc import IngressQdisc
from tests.e2e.conftest import NODE_V4, MakeHost
from tests.e2e.echoes import serving
from tests.e2e.faults import Fault, Journal, Kind
from tests.e2e.faultydaemons import WITHIN_S, FaultyDaemon
from tests.e2e.hosts import Host, temporary
from tests.e2e.scenarios import SCENARIOS, Act, Scenario, attach_web, declare_made, detach_web, drop_made
from tests.e2e.sites import Picture, Site, comes_to, opened, picture
from tests.e2e.streams import open_socket
from tests.e2e.waiting import STEP_S, until
from tests.sweeps import swept_points

pytestmark = pytest.mark.timeout(900)

SOME = 5  # of so many points one
ONE_OF_MANY = "only a node among others has it; test_ways_deaths.py has its points"

NEVER: dict[tuple[Verb, type], str] = {
    (Verb.ADD, kernel.FdbEntry): ONE_OF_MANY,
    (Verb.CHANGE, kernel.FdbEntry): ONE_OF_MANY,
    (Verb.REMOVE, kernel.FdbEntry): ONE_OF_MANY,
    (Verb.CHANGE, kernel.LinkUp): "it has no field beside its key",
    (Verb.REMOVE, kernel.LinkUp): "a link that is up is never set down",
    (Verb.ADD, kernel.Sysctl): "a switch that is not there cannot be set",
    (Verb.REMOVE, kernel.Sysctl): "a switch stays as it is",
    (Verb.CHANGE, IngressQdisc): "it has no field beside its key",
    (Verb.CHANGE, NftSet): "a table with a set of another kind is made anew",
    (Verb.ADD, NftHooks): "the kernel lets nobody else take it; a start makes it, and has points of its own",
    (Verb.CHANGE, NftHooks): "it has no field beside its key",
    (Verb.REMOVE, NftHooks): "it ends with the daemon",
}
"""Kinds of step that no plan has."""

OTHER_STEPS = {
    "store commit": "a change of desired state",
    "mount": "a namespace that gets its name",
    "umount2": "a namespace that loses it",
    "link name": "a name that is taken",
    "unlink name": "a name that is given back",
    "nft_run_cmd_from_buffer": "a transaction of nftables",
    "netfilter 0/16": "one of elements alone",
    "RTM_DELLINK": "links that are removed, one alone or several by their group",
}
"""What is done beside the steps of plans."""


@pytest.fixture
async def site(node: Host, make_host: MakeHost, directory: Path) -> AsyncIterator[Site]:
    async with opened(node, make_host, directory) as site:
        yield site


async def _acted(site: Site, scenario: Scenario, expected: Picture) -> None:
    """What was asked for is done, and no later than a call is answered the kernel is as expected."""
    await scenario.act(site)
    await comes_to(site, expected, scenario.name, within_s=0 if scenario.answered else WITHIN_S)


async def _survives(site: Site, scenario: Scenario, fault: Fault, expected: Picture) -> Journal:
    """Acts with the fault armed, and starts the daemon anew when it died of it. Returns what it did up to there."""
    known = set(site.addresses.get("web", ()))
    site.daemon.faults.arm(fault)
    acting = asyncio.ensure_future(_acted(site, scenario, expected))
    try:
        died = await site.daemon.died(unless=lambda: acting.done() and not site.daemon.faults.journal().met)
        site.daemon.faults.disarm()
        journal = site.daemon.faults.journal()
        if died:
            given = site.given("web")
            await site.daemon.start()
            await acting
            assert given <= known | set(site.addresses.get("web", ())), "what the workload had was given up"
        await acting
    finally:
        acting.cancel()
    return journal


@pytest.mark.parametrize(("scenario", "every"), swept_points(SCENARIOS, lambda scenario: scenario.kind, every=SOME))
async def test_a_death_at_any_point_loses_and_leaks_nothing(site: Site, scenario: Scenario, every: int) -> None:
    """Killed before, between and after all calls that change something, and started again: the client's call, asked
    again, has its answer, the kernel is as if nothing had happened, and when all is undone it is as it was before."""
    before, held = site.picture(), await site.held_addresses()
    await scenario.prepare(site)
    await scenario.act(site)
    await site.settles()
    expected = site.picture()
    await scenario.undo(site)
    await comes_to(site, before, "undone", within_s=0)

    async def survives(fault: Fault) -> Journal:
        await scenario.prepare(site)
        journal = await _survives(site, scenario, fault, expected)
        await site.settles()
        where = f"{fault.kind} number {fault.at} ({journal.met})"
        await comes_to(site, expected, where, within_s=0)
        await scenario.undo(site)
        await comes_to(site, before, f"{where}, undone", within_s=0)
        assert await site.held_addresses() == held
        return journal

    at = 1
    while (journal := await survives(Fault(Kind.DIE_BEFORE, at))).met:
        at += every
    print(f"{scenario}: died before calls of these, one of {every}: {', '.join(journal.changes)}")
    assert at > 1
    # What comes together may come in fewer batches another time.
    while not (await survives(Fault(Kind.DIE_AFTER, at - 1))).met:
        at -= 1


FORSAKEN = {
    (attach_web, detach_web): "attached, then detached",
    (declare_made, drop_made): "declared with a namespace to make, then not any more",
}


@pytest.mark.parametrize(
    ("wish", "withdraw", "every"), swept_points(FORSAKEN, lambda _: "a wish", FORSAKEN.__getitem__, every=SOME)
)
async def test_a_wish_that_is_withdrawn_after_a_death_leaves_nothing(
    site: Site, wish: Act, withdraw: Act, every: int
) -> None:
    """Killed at every point on the way to a wish that nobody has any more when the daemon starts again: nothing of it
    is left, and its addresses are free."""
    before, held = site.picture(), await site.held_addresses()
    for at in count(1, every):
        site.daemon.faults.arm(Fault(Kind.DIE_BEFORE, at))
        wishing = asyncio.ensure_future(wish(site))
        died = await site.daemon.died(unless=wishing.done)
        site.daemon.faults.disarm()
        if not died:
            break
        wishing.cancel()
        await site.daemon.start()
        await withdraw(site)
        await site.settles()
        await comes_to(site, before, f"after {site.daemon.faults.journal().met}, number {at}", within_s=0)
        assert await site.held_addresses() == held
    assert at > 1
    await withdraw(site)  # a namespace that it made would be there for the next test


async def test_a_flow_that_outlived_its_mapping_is_forgotten_at_the_next_start(site: Site, outside: Host) -> None:
    """Killed when a port is mapped already and the flows to it are not forgotten yet: a sender who has sent to the
    port before, and does not stop, reaches the workload."""
    with open_socket(outside, NODE_V4, socket.SOCK_DGRAM) as sender, serving(site.web, 81):
        sender.connect((NODE_V4, 8081))
        sender.send(b"?")
        site.daemon.faults.arm(Fault(Kind.DIE_AFTER, 2))
        attaching = asyncio.ensure_future(attach_web(site))
        assert await site.daemon.died(unless=attaching.done)
        site.daemon.faults.disarm()
        assert site.daemon.faults.journal().met == "netfilter 0/16"
        sender.settimeout(STEP_S)

        def answered() -> bool:
            with suppress(OSError):
                sender.send(b"?")
                return sender.recv(64).startswith(b"web")
            return False

        assert not answered()
        await site.daemon.start()
        await attaching
        await until(answered, "the workload answers", within_s=WITHIN_S)


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.sweep), SOME])
async def test_a_death_at_any_point_of_a_start_is_made_good(directory: Path, every: int) -> None:
    """Killed before each call that changes something on a bare node, or every so manieth, and started again: the node
    has all that it needs, and a purge gives it back as it was."""
    expected: Picture = frozenset()
    for at in count(0, every):
        with temporary("bare") as bare:
            bare.ip("link set lo up")
            before = picture(bare, names={})
            daemon = FaultyDaemon(bare, directory / str(at))
            daemon.faults.arm(Fault(Kind.DIE_BEFORE, at) if at else Fault())
            try:
                died = await _starts(daemon)
                assert picture(bare, names={}) == expected or not at
                expected = picture(bare, names={})
                daemon.terminate()
                done = daemon.purge(answer="y\n")
                assert done.returncode == 0, done.stderr
                assert picture(bare, names={}) == before
            finally:
                daemon.end()
            journal = daemon.faults.journal()
        if not at:
            assert {"store commit", "sysctl write", "RTM_NEWADDR", "nft_run_cmd_from_buffer"} <= set(journal.changes)
        elif not died:
            break
    assert at > every


async def _starts(daemon: FaultyDaemon) -> bool:
    """Starts it until it is ready; whether it died on the way."""
    daemon.spawn()
    ready = asyncio.ensure_future(_ready(daemon))
    if died := await daemon.died(unless=ready.done):
        daemon.faults.disarm()
        await daemon.start()
    await ready
    return died


async def _ready(daemon: FaultyDaemon) -> None:
    async with daemon.client(timeout_s=WITHIN_S) as client:

        async def ready() -> bool:
            return (await client.status()).ready

        await until(ready, "the node has what it needs", within_s=WITHIN_S)


async def test_every_kind_of_step_has_its_points(site: Site) -> None:
    """The scenarios, at every point of which the daemon is killed, take all kinds of step that a plan can have, each
    through calls that a fault can meet, and all that is done beside plans."""
    taken: set[tuple[str, str]] = set()
    calls: set[str] = set()
    for scenario in SCENARIOS:
        await scenario.prepare(site)
        site.daemon.faults.arm(Fault())
        await scenario.act(site)
        await site.settles()
        assert site.daemon.terminate() == 0  # what threads of their own still do is let finish
        site.daemon.faults.disarm()
        journal = site.daemon.faults.journal()
        await site.daemon.start()
        await scenario.undo(site)
        calls |= set(journal.changes)
        for plan in journal.plans:
            taken |= set(plan.steps)
            assert len(plan.changes) >= _calls_at_least(plan.steps), f"{scenario}: {plan}"
    kinds = {(verb.name, kind.__name__) for verb in Verb for kind in get_args(KernelObject)}
    assert taken == kinds - {(verb.name, kind.__name__) for verb, kind in NEVER}
    assert OTHER_STEPS.keys() <= calls


def _calls_at_least(steps: Sequence[tuple[str, str]]) -> int:
    """Each step takes a call, but that all of nftables go in one transaction, and that the ends of a pair are made
    together."""
    single = [step for step in steps if not step[1].startswith("Nft") and step != ("ADD", "Link")]
    return len(single) + any(step[1].startswith("Nft") for step in steps) + (("ADD", "Link") in steps)
