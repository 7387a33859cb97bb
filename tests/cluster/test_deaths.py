"""The daemon is killed at every point at which what etcd says becomes so, and started again: nothing of it is lost and
nothing of it leaks. The ways to other nodes have their points in tests/e2e/test_ways_deaths.py."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from itertools import count, pairwise
from pathlib import Path

import pytest

from tests.cluster.sites import Site, held, site
from tests.cluster.test_documents import POLICY, document
from tests.e2e.faults import Fault, Kind
from tests.e2e.faultydaemons import FaultyDaemon
from tests.e2e.hosts import Host, kernel_state
from tests.e2e.nodes import Machine
from tests.e2e.waiting import until

LONG_S = 40.0

pytestmark = pytest.mark.timeout(600)

Documents = Mapping[str, str]
ADDRESSES = ["10.128.0.50", "fd80::50"]
WEB, NOBODY = "nodes/node-1/attachments/web", "shared/documents/nobody"
NOTHING: Documents = {}
COURSE: tuple[Documents, ...] = (
    NOTHING,
    {WEB: document("web", addresses=ADDRESSES)},
    {WEB: document("web", addresses=ADDRESSES, mtu=1400), NOBODY: POLICY},
    NOTHING,
)
"""What etcd says, one after the other: all that a document can come to lies between."""


def picture(node: Host, web: Host) -> set[str]:
    """What the kernel holds of both, less the indexes of what may be made anew, and of the table all but counts."""
    found = {line for line in node.ruleset().splitlines() if "handle" not in line}
    for line in kernel_state(node, web):
        host, _, text = line.partition(": ")
        entry = json.loads(text)
        for name in ("ifindex", "link_index", "flags", "link_netnsid"):
            entry.pop(name, None)
        found.add(f"{host}: {json.dumps(entry, sort_keys=True)}")
    return found


async def says(it: Site, documents: Documents) -> None:
    for name in (WEB, NOBODY):
        words = ("put", f"/netplumb/{name}", documents[name]) if name in documents else ("del", f"/netplumb/{name}")
        await asyncio.to_thread(it.etcd.ctl, *words)


async def is_so(machine: Machine, documents: Documents) -> bool:
    async with machine.client() as client:
        listed = {found.workload_id: found async for found in client.list()}
        policies = [found.name for found in await client.policies()]
        in_sync = not (await client.plan()).changes
    wanted = json.loads(documents[WEB]) if WEB in documents else None
    if wanted is None:
        return in_sync and not listed and not policies
    found = listed.get("web")
    as_wished = found is not None and found.phase == "Attached" and found.mtu == wanted.get("mtu", 0)
    return in_sync and as_wished and policies == (["nobody"] if NOBODY in documents else [])


async def becomes(it: Site, documents: Documents) -> None:
    (machine,) = it.machines
    await says(it, documents)
    await until(lambda: is_so(machine, documents), "it is as etcd says", within_s=LONG_S)


async def dies(it: Site, documents: Documents, at: int) -> bool:
    """Whether there was such a call before it was so; the daemon runs again then."""
    daemon = it.machines[0].daemon
    assert isinstance(daemon, FaultyDaemon)
    daemon.faults.arm(Fault(Kind.DIE_BEFORE, at))
    try:
        becoming = asyncio.ensure_future(becomes(it, documents))
        died = await daemon.died(unless=becoming.done)
    finally:
        daemon.faults.disarm()
        becoming.cancel()
        await asyncio.gather(becoming, return_exceptions=True)
    if died:
        await daemon.start()
        await becomes(it, documents)
    return died


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.sweep), 4])
async def test_a_death_at_any_point_of_a_document_is_made_good(directory: Path, every: int) -> None:
    """Killed before each call that changes something, or every so manieth: what etcd says is so after the next start,
    with the addresses that were given, and when it says nothing any more nothing of it is left."""
    async with site(1, directory, daemon=FaultyDaemon) as it:
        (machine,) = it.machines
        web = machine.workload("web")
        await becomes(it, COURSE[1])  # what stays in a namespace, as its loopback that is up, is there from now on
        for before, after in pairwise(COURSE):
            await becomes(it, before)
            was = picture(machine.host, web)
            await becomes(it, after)
            expected = picture(machine.host, web)
            for at in count(1, every):
                await becomes(it, before)
                assert picture(machine.host, web) == was, f"before number {at}"
                if not await dies(it, after, at):
                    break
                assert picture(machine.host, web) == expected, f"number {at}"
            assert at > 1
        await becomes(it, NOTHING)
        assert "eth0" not in web.links()
        assert not [name for name in machine.host.links() if name.startswith("np")]


async def _leaves(daemon: FaultyDaemon, has_left: Callable[[], Awaitable[bool]]) -> None:
    await daemon.ready()
    await until(has_left, "it has left", within_s=LONG_S)


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.sweep), 6])
async def test_a_death_while_a_node_leaves_is_made_good(directory: Path, every: int) -> None:
    """Killed before each call that changes something while it takes away what its cluster left, or every so manieth:
    the next start takes away the rest, and a node that joins again has its prefixes."""
    async with site(2, directory, mode="vxlan", daemon=FaultyDaemon) as it:
        one, other = it.machines
        daemon = one.daemon
        assert isinstance(daemon, FaultyDaemon)
        mine, theirs = await held(one), await held(other)
        settings = daemon.config.read_text()

        async def has_left() -> bool:
            async with one.client() as client:
                in_sync = not (await client.plan()).changes
            gone = "np-vxlan" not in one.host.links() and not any(map(one.host.route, theirs))
            return in_sync and gone and not (daemon.data_dir / "cluster.json").exists()

        async def is_back() -> bool:
            return await held(one) == mine and all(map(one.host.route, theirs))

        for at in count(1, every):
            daemon.terminate()
            daemon.configure(pools=["10.213.0.0/24"])
            daemon.faults.arm(Fault(Kind.DIE_BEFORE, at))
            daemon.spawn()
            leaving = asyncio.ensure_future(_leaves(daemon, has_left))
            died = await daemon.died(unless=leaving.done)
            daemon.faults.disarm()
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            if died:
                await daemon.start()
            await until(has_left, f"it has left, number {at}", within_s=LONG_S)
            daemon.terminate()
            daemon.config.write_text(settings)
            await daemon.start(ready=False)
            await until(is_back, "it has joined again", within_s=LONG_S)
            if not died:
                break
        assert at > every
