"""Errors of the kernel at every call of a start: the daemon starts all the same, or says why not and changes nothing.

A call meets an error once, and then all goes well again. A daemon that ended is started anew, as systemd does.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path

import pytest

from netplumb.api.client.errors import ClientError
from tests.e2e.conftest import MakeHost
from tests.e2e.faults import Fault
from tests.e2e.faultydaemons import WITHIN_S
from tests.e2e.hosts import Host
from tests.e2e.kernelerrors import ERRORS, EXIT_STRANDED, in_turn, is_lie, offsets, told_in
from tests.e2e.scenarios import NAME, attach_web
from tests.e2e.sites import Picture, Site, comes_to, opened
from tests.e2e.waiting import comes_true

pytestmark = pytest.mark.timeout(900)

ANSWERS_WITHIN_S = 0.5


@pytest.fixture
async def site(node: Host, make_host: MakeHost, directory: Path) -> AsyncIterator[Site]:
    async with opened(node, make_host, directory) as site:
        await attach_web(site)
        await site.settles()
        yield site


def nothing_happens(_: Site) -> None:
    """All is in place, and is to stay."""


def all_is_lost(site: Site) -> None:
    """What the daemon finds is to be made anew."""
    site.node.ip(f"link delete {NAME}")
    site.node.run("nft delete table inet netplumb")
    site.node.ip("address delete 169.254.77.1/32 dev lo")
    site.node.set_sysctl("net/ipv4/ip_forward", "0")


def the_store_is_lost(site: Site) -> None:
    """Desired state is to be rebuilt from the kernel's marks."""
    for file in site.daemon.data_dir.glob("netplumb.db*"):
        file.unlink()


MEANWHILE = (nothing_happens, all_is_lost, the_store_is_lost)


async def _starts_or_ends(site: Site) -> bool:
    """Starts the daemon; whether it came to serve with all as desired, and did not end before."""

    async def settled() -> bool:
        try:
            async with asyncio.timeout(ANSWERS_WITHIN_S):  # or it would wait for one that has ended
                return (await site.client.status()).ready and await site.settled()
        except (ClientError, TimeoutError):
            return False

    site.daemon.spawn()
    assert await comes_true(lambda: not site.daemon.running or settled(), within_s=WITHIN_S), (
        f"it neither serves nor ends:\n{site.daemon.logged()}"
    )
    return site.daemon.running


async def _meets(site: Site, meanwhile: Callable[[Site], None], fault: Fault, expected: Picture) -> str:
    """Starts the daemon with the fault armed. Returns the call that met it."""
    site.daemon.terminate()
    meanwhile(site)
    found = site.picture()
    logged = len(site.daemon.logged())
    site.daemon.faults.arm(fault)
    serves = await _starts_or_ends(site)
    site.daemon.faults.disarm()
    met = site.daemon.faults.journal().met
    where = f"{fault.kind} {errno.errorcode.get(fault.code, '')} of call {fault.at}, {met}"
    if not serves:
        said = site.daemon.logged()[logged:]
        assert site.daemon.process.returncode in (1, EXIT_STRANDED), f"{where}: {said}"
        assert told_in(said, fault), f"{where}: {said}"
        if site.daemon.process.returncode == 1:
            assert site.picture() == found, f"{where}: it did not start, and yet changed something"
        await site.daemon.start()
    if is_lie(fault):
        site.daemon.reload()
    await comes_to(site, expected, where)
    await site.settles()
    return met


async def _desired(site: Site) -> dict[str, tuple[str, str, tuple[str, ...]]]:
    """What is known of each attachment that no start may forget."""
    return {each.workload_id: (each.phase, each.netns_path, tuple(each.addresses)) for each in await site.all()}


SWEEPS = [
    pytest.param(meanwhile, offset, 1, id=f"{meanwhile.__name__}-{offset}", marks=pytest.mark.sweep)
    for number, meanwhile in enumerate(MEANWHILE)
    for offset in offsets((number * 3,))
]
SOME = pytest.param(nothing_happens, 0, len(ERRORS) + 1, id="nothing_happens-some")
"""Every tenth call, each with another error than the one before."""


@pytest.mark.parametrize(("meanwhile", "offset", "every"), [SOME, *SWEEPS])
async def test_an_error_of_any_call_of_a_start_loses_nothing(
    site: Site, meanwhile: Callable[[Site], None], offset: int, every: int
) -> None:
    """Whatever error any single call meets, the daemon comes to serve with the kernel as desired, or it ends, tells the
    error, has changed nothing, and the next start is as any other. No address changes."""
    expected, desired = site.picture(), await _desired(site)
    met = []
    for at in count(1, every):
        if not (call := await _meets(site, meanwhile, in_turn(at, offset), expected)):
            break
        met.append(call)
        assert await _desired(site) == desired, call
    print(f"{meanwhile.__name__}: an error of each of {len(met)} calls: {', '.join(met)}")
    assert met
    for words in ("Traceback", "internal error"):
        assert words not in site.daemon.logged()
