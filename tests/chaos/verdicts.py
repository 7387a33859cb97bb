"""What must hold in a world when all is quiet, and nothing but it."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator, Sequence

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.v1 import netplumb_pb2 as pb
from tests import namespaces
from tests.chaos import expectations, peers, policies
from tests.chaos.readings import Reading, read
from tests.chaos.wishes import DECLARED
from tests.chaos.world import World
from tests.e2e.hosts import Host
from tests.footprint import Footprint, footprint

QUIET_WITHIN_S = 45.0
LOOK_AGAIN_S = 0.1
# Beyond what a daemon holds when it is first quiet: gRPC's and asyncio's threads, connections under way, Python's heap.
FREE = Footprint(rss_kib=32 << 10, fds=12, threads=12)


async def quiet(world: World, client: AsyncClient) -> None:
    """Waits until everything is as was asked for."""
    assert world.daemon.running, f"the daemon ended by itself:\n{world.daemon.logged()}"
    ends = asyncio.get_running_loop().time() + QUIET_WITHIN_S
    while problems := await _problems(world, client):
        if asyncio.get_running_loop().time() > ends:
            raise AssertionError(f"not quiet within {QUIET_WITHIN_S} s:\n  " + "\n  ".join(problems))
        await asyncio.sleep(LOOK_AGAIN_S)
    world.marks_taken.clear()
    world.wishes.lately.clear()
    assert not world.witness.seen, "\n".join(world.witness.seen)
    _assert_has_not_grown(world)
    assert "Traceback" not in world.daemon.logged(), "the daemon logged an unexpected error"


async def _problems(world: World, client: AsyncClient) -> list[str]:
    listed = [each async for each in client.list()]
    trial = copy.deepcopy(world.wishes)
    by_rpc = {(each.workload_id, each.if_name): each for each in listed if each.source == "rpc"}
    problems = [*trial.resolve(by_rpc), *trial.differences(listed, world.namespaces, frozenset(world.hidden))]
    problems += expectations.in_list(listed)
    problems += [f"planned: {each.verb} {each.words}" for each in (await client.plan()).changes]
    told = await client.policies()
    try:
        problems += await asyncio.to_thread(lambda: list(_differences(world, listed)))
        wished = world.wishes.policies
        problems += await asyncio.to_thread(lambda: list(policies.differences(world.node, listed, wished, told)))
    except (AssertionError, LookupError) as error:  # something that is read is not there
        problems.append(str(error))
    if not problems:
        world.wishes, world.listed = trial, listed
    return problems


def _differences(world: World, listed: Sequence[pb.Attachment]) -> Iterator[str]:
    """The kernel against the list."""
    node = read(world.node)
    yield from expectations.on_node(node, listed, world.pools, world.mtu)
    yield from expectations.in_table(world.node, listed)
    yield from peers.differences(world.node, node, world.mode, world.wishes.peers)
    yield from world.foreigners["node"].missing(node)
    created = {path.name for path in namespaces.NETNS_DIR.iterdir()} & set(DECLARED)
    claimed = {each.workload_id for each in world.wishes.claims().values() if each.is_created}
    yield from (f"the namespace {name} is left over" for name in sorted(created - claimed))
    for name in sorted(world.namespaces | created):
        reading = read(Host(name))
        mine = [each for each in listed if each.netns_path == Host(name).path and each.phase == "Attached"]
        yield from expectations.in_workload(name, reading, mine, listed, world.mtu)
        if name in world.foreigners:
            yield from world.foreigners[name].missing(reading)
        yield from _missing_visitors(world, name, reading)


def _missing_visitors(world: World, name: str, reading: Reading) -> Iterator[str]:
    for (netns, link, index), visitors in world.visitors.items():
        if netns == name and reading.links.get(link, {}).get("ifindex") == index:
            for address in sorted(visitors - reading.addresses_on(link)):
                yield f"{name}: foreign address {address} is gone from {link}"


def _assert_has_not_grown(world: World) -> None:
    pid = world.daemon.process.pid
    held = footprint(pid)
    first = world.first_held.setdefault(pid, held)
    assert held.rss_kib <= first.rss_kib + FREE.rss_kib, f"memory: {first} at first, {held} now"
    assert held.fds <= first.fds + FREE.fds, f"descriptors: {first} at first, {held} now"
    assert held.threads <= first.threads + FREE.threads, f"threads: {first} at first, {held} now"


async def empty(world: World, client: AsyncClient) -> None:
    """Takes every wish back; nothing of ours may be left over but what the node has anyway."""
    for name in tuple(world.wishes.files):
        world.remove_file(name)
    world.police(frozenset())
    world.meet(frozenset())
    await quiet(world, client)
    for key in tuple(world.wishes.rpc):
        assert await world.detach(client, key) is None
        del world.wishes.rpc[key]
    await quiet(world, client)
    assert not world.listed
    held = {pool.name: pool.held for pool in (await client.status()).pools}
    assert set(held.values()) == {0}, f"addresses are still held: {held}"
