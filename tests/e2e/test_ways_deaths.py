"""The daemon is killed at every point at which it makes, changes or removes the ways to other nodes, and started again:
what the view says is in the kernel, and nothing that it does not say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest

from netplumb.models.kernel import FdbEntry, LinkUp
from netplumb.models.steps import Verb
from tests.e2e.daemons import under_unit_rights
from tests.e2e.faults import Fault, Kind
from tests.e2e.faultydaemons import WITHIN_S, FaultyDaemon
from tests.e2e.forks import ForkServer
from tests.e2e.hosts import Host, kernel_state
from tests.e2e.nodes import DEVICE, POOLS
from tests.e2e.waiting import until

pytestmark = pytest.mark.timeout(600)

FAULTY_TOLD = ForkServer("tests.e2e.faultytold", rights=under_unit_rights())
OWN = {"underlay": ["192.0.2.1", "2001:db8::1"], "prefixes": ["10.128.1.0/24", "fd80:0:0:1::/64"]}
ONE = {"underlay": ["192.0.2.2", "2001:db8::2"], "prefixes": ["10.128.2.0/24", "fd80:0:0:2::/64"]}
MOVED = {"underlay": ["192.0.2.99", "2001:db8::99"], "prefixes": ["10.128.2.0/24", "fd80:0:0:9::/64"]}
OTHER = {"underlay": ["192.0.2.3", "2001:db8::3"], "prefixes": ["10.128.3.0/24"]}
Peers = Mapping[str, Mapping[str, Any]]
NOBODY: Peers = {}
COURSE: tuple[Peers, ...] = (NOBODY, {"one": ONE, "other": OTHER}, {"one": MOVED, "other": OTHER}, NOBODY)
"""Views of which each follows the one before: all kinds of step that there are lie between them."""


class FaultyTold(FaultyDaemon):
    """On the node of the fixture, which is told of its peers by a file."""

    def __init__(self, node: Host, directory: Path, mode: str) -> None:
        super().__init__(node, directory)
        self._server = FAULTY_TOLD
        self._mode = mode
        pools = [{"cidr": cidr} for cidr in POOLS]
        cluster = {"endpoints": ["http://127.0.0.1:1"], "node_name": "own", "mode": mode, "pools": pools}
        self.configure(pools=(), cluster=cluster)

    @property
    def view(self) -> Path:
        return self.directory / "cluster-view.json"

    def tell(self, peers: Peers) -> None:
        told = {"node": "own", "mode": self._mode, "pools": list(POOLS), **OWN, "peers": peers}
        draft = self.view.with_suffix(".draft")
        draft.write_text(json.dumps(told))
        draft.replace(self.view)

    def arguments(self) -> list[str]:
        directory, *rest = super().arguments()
        return [directory, str(self.view), *rest]

    def picture(self) -> set[str]:
        """What the kernel holds of the node, less the indexes of what may be made anew."""
        found = set()
        for line in kernel_state(self.node):
            entry = json.loads(line.partition(": ")[2])
            for name in ("ifindex", "flags"):
                entry.pop(name, None)
            found.add(json.dumps(entry, sort_keys=True))
        if DEVICE in self.node.links():
            found |= set(self.node.run(f"bridge fdb show dev {DEVICE}").splitlines())
        return found

    async def as_told(self) -> set[str]:
        async with self.client(timeout_s=WITHIN_S) as client:

            async def in_sync() -> bool:
                return not (await client.plan()).changes

            await until(in_sync, "the view is in the kernel", within_s=WITHIN_S)
        return self.picture()


@pytest.fixture
def faulty(node: Host, directory: Path, request: pytest.FixtureRequest) -> Iterator[FaultyTold]:
    daemon = FaultyTold(node, directory, request.param)
    yield daemon
    daemon.end()


MODES = [pytest.param(mode, marks=pytest.mark.sweep) for mode in ("routes", "vxlan")]


@pytest.mark.parametrize("faulty", MODES, indirect=True)
async def test_a_death_at_any_point_of_a_change_of_the_view_is_made_good(faulty: FaultyTold) -> None:
    """Killed before each call that changes something, and started again: the kernel is as if nothing had happened."""
    faulty.tell(NOBODY)
    await faulty.start()
    for before, after in pairwise(COURSE):
        was = await _becomes(faulty, before)
        expected = await _becomes(faulty, after)
        for at in count(1):
            assert await _becomes(faulty, before) == was
            if not await _dies(faulty, after, at):
                break
            assert await faulty.as_told() == expected, f"number {at}"
        assert at > 2


async def _becomes(faulty: FaultyTold, peers: Peers) -> set[str]:
    faulty.tell(peers)
    await asyncio.sleep(0.1)  # until the file was looked at
    return await faulty.as_told()


async def _dies(faulty: FaultyTold, peers: Peers, at: int) -> bool:
    """Whether there was such a call; the daemon runs again then."""
    faulty.faults.arm(Fault(Kind.DIE_BEFORE, at))
    try:
        changing = asyncio.ensure_future(_becomes(faulty, peers))
        died = await faulty.died(unless=changing.done)
    finally:
        faulty.faults.disarm()
        changing.cancel()
        await asyncio.gather(changing, return_exceptions=True)
    if died:
        await faulty.start()
    return died


@pytest.mark.parametrize("faulty", ["vxlan"], indirect=True)
async def test_every_kind_of_step_of_a_way_has_its_points(faulty: FaultyTold) -> None:
    """The views that follow each other take all kinds of step that a device's entries can have, each through a call
    that a fault can meet."""
    faulty.tell(NOBODY)
    await faulty.start()
    faulty.faults.arm(Fault())
    for peers in COURSE:
        await _becomes(faulty, peers)
    faulty.faults.disarm()
    plans = faulty.faults.journal().plans
    taken = {step for plan in plans for step in plan.steps}
    assert {(verb.name, FdbEntry.__name__) for verb in Verb} <= taken
    assert {("ADD", "Neighbour"), ("REMOVE", "Neighbour"), ("ADD", "Route"), ("REMOVE", "Route")} <= taken
    for plan in plans:
        assert len(plan.changes) >= len([step for step in plan.steps if step[1] not in ("Link", LinkUp.__name__)])
