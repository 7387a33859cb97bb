"""A node with the real daemon, workloads and foreigners, and the deeds that are done to them.

Deeds are coroutines, so that several can be done at the same time; what blocks is done in a thread.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc

from api.client import Client, ClientError
from api.v1 import netplumb_pb2 as pb
from models.kernel import Scope
from tests import namespaces
from tests.chaos import expectations
from tests.chaos.damages import NODE_DAMAGES, Victim
from tests.chaos.foreigners import Foreigners
from tests.chaos.readings import Reading, read
from tests.chaos.wishes import ALTERNATE, DECLARED, USUAL_POOLS, VISITORS, WORKLOADS, Declared, Key, Wish, Wishes
from tests.chaos.witness import Witness
from tests.contract.damages import Damage
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host, temporary
from tests.e2e.statefiles import declare, document
from tests.e2e.waiting import until
from tests.e2e.wishes import detach
from tests.footprint import Footprint, footprint

CALL_WITHIN_S = 30.0
QUIET_WITHIN_S = 45.0
LOOK_AGAIN_S = 0.1
GRACE_S = 1
# Beyond what a daemon holds when it is first quiet: gRPC's and asyncio's threads, connections under way, Python's heap.
FREE = Footprint(rss_kib=32 << 10, fds=12, threads=12)

FLUSHES = frozenset({"addresses flushed"})


class World:
    """Everything that the chaos is about. Only the machine's own thread is to use it."""

    def __init__(self, stack: ExitStack, resync_s: int) -> None:
        self._stack = stack
        self.resyncs = resync_s < QUIET_WITHIN_S
        self.node = stack.enter_context(temporary("node"))
        self.node.ip("link set lo up")
        self.foreigners = {"node": Foreigners(self.node, on_node=True)}
        self.foreigners["node"].settle()
        stack.callback(self._remove_namespaces)
        for name in (*WORKLOADS, *(name + ALTERNATE for name in WORKLOADS[:2])):
            self.make_namespace(name)
        directory = stack.enter_context(TemporaryDirectory(prefix="np-"))
        self.pools: tuple[str, ...] = USUAL_POOLS
        self.daemon = Daemon(self.node, Path(directory), flags=f"--resync-s={resync_s}")
        self.running = False  # as it should be
        self.wishes = Wishes()
        self.listed: list[pb.Attachment] = []
        self.witness = Witness(self.node)
        self.witness.start()
        stack.callback(self.witness.stop)
        self._visitors: dict[tuple[str, str, int], set[str]] = {}
        self._marks_taken: set[Key] = set()
        self._first_held: dict[int, Footprint] = {}

    def open_client(self) -> Client:
        return self.daemon.client(timeout_s=CALL_WITHIN_S)

    # Namespaces.

    @property
    def namespaces(self) -> frozenset[str]:
        """Those that were made here and live."""
        return frozenset(self.foreigners) - {"node"}

    def make_namespace(self, name: str) -> None:
        foreigners = Foreigners(Host(name).create())
        foreigners.settle()
        self.foreigners[name] = foreigners

    def remove_namespace(self, name: str) -> None:
        del self.foreigners[name]
        self.wishes.namespace_gone(name)
        for visited in [visited for visited in self._visitors if visited[0] == name]:
            del self._visitors[visited]
        Host(name).remove()

    def _remove_namespaces(self) -> None:
        for path in namespaces.NETNS_DIR.iterdir():
            if path.name == "node":
                continue
            try:
                namespaces.remove(path.name)
            except OSError:  # nothing is mounted there: the daemon was killed in the middle of a step
                path.unlink()

    # The daemon.

    async def start(self) -> None:
        self.configure(self.pools)
        await self.daemon.start()
        self.running = True

    def kill(self) -> None:
        assert self.daemon.running, f"the daemon ended by itself:\n{self.daemon.logged()}"
        self.daemon.kill9()
        self.running = False

    def stop(self) -> None:
        assert self.daemon.running, f"the daemon ended by itself:\n{self.daemon.logged()}"
        status = self.daemon.terminate()
        assert status == 0, f"the daemon ended with {status}"
        self.running = False

    def configure(self, pools: tuple[str, ...]) -> None:
        self.pools = pools
        self.daemon.configure(pools=pools, netns_gone_grace_s=GRACE_S)

    async def reload(self, client: Client, pools: tuple[str, ...]) -> None:
        """Other pools for what comes; waits until they are in force."""
        self.configure(pools)
        self.daemon.reload()

        async def in_force() -> bool:
            return {pool.name for pool in (await client.status()).pools} == set(pools)

        await until(in_force, f"the pools are {pools}", within_s=CALL_WITHIN_S)

    async def kill_and_start(self) -> None:
        self.kill()
        await asyncio.sleep(0.05)
        await self.start()

    # Wishes.

    async def attach(self, client: Client, wish: Wish) -> grpc.StatusCode | None:
        """The code of the refusal; None is success."""
        try:
            answer = await client.attach(wish.request())
        except ClientError as error:
            return error.code
        assert wish.is_listed_as(answer.attachment), f"asked for {wish}, got {answer.attachment}"
        return None

    async def detach(self, client: Client, key: Key, path: str = "") -> grpc.StatusCode | None:
        workload_id, if_name = key
        try:
            await client.detach(detach(workload_id, path, if_name=if_name))
        except ClientError as error:
            return error.code
        return None

    def declare(self, name: str, declared: Sequence[Declared]) -> None:
        documents = [
            document(
                each.workload_id,
                each.workload_id if each.is_created else Host(each.workload_id),
                addresses=[each.address] if each.address else [],
                create=each.is_created,
            )
            for each in declared
        ]
        self.wishes.files[name] = tuple(declared)
        declare(self.daemon, name, *documents)

    def break_file(self, name: str, content: str) -> None:
        """What the file said last stays in force."""
        (self.daemon.state_files / name).write_text(content)

    def remove_file(self, name: str) -> None:
        self.wishes.files.pop(name, None)
        (self.daemon.state_files / name).unlink(missing_ok=True)

    # Damage, and what others do.

    def victims(self) -> list[Victim]:
        """Who was attached when this was last looked at, and has a namespace."""
        names = self.namespaces | set(DECLARED)
        victims = [Victim(self.node, each) for each in self.listed if each.phase == "Attached"]
        return [victim for victim in victims if victim.workload.name in names]

    def damage(self, victim: Victim, damage: Damage, marks: frozenset[str]) -> bool:
        """Whether it was done. Of the marks by which a link is known as ours only one is taken between two repairs."""
        key = (victim.attachment.workload_id, victim.attachment.if_name)
        if damage.scope is Scope.NODE and damage.name in marks:
            if key in self._marks_taken:
                return False
            self._marks_taken.add(key)
        if damage.scope is Scope.WORKLOAD and damage.name in FLUSHES:
            self._visitors.clear()
        return victim.suffer(damage)

    def damage_node(self, kind: int) -> None:
        self.node.run(NODE_DAMAGES[kind % len(NODE_DAMAGES)], ok=False)

    def visit(self, victim: Victim, number: int) -> None:
        """Puts a foreign address on an interface of ours, where it is to stay as long as the interface lives."""
        name = victim.attachment.if_name
        link = victim.workload.links().get(name)
        if link is None:
            return
        address = f"{VISITORS}{number}"
        visited = self._visitors.setdefault((victim.workload.name, name, link["ifindex"]), set())
        if address not in visited:
            victim.workload.ip(f"address add {address}/32 dev {name}")
            visited.add(address)

    # What must hold when all is quiet.

    async def quiet(self, client: Client) -> None:
        """Waits until everything is as was asked for."""
        assert self.daemon.running, f"the daemon ended by itself:\n{self.daemon.logged()}"
        ends = asyncio.get_running_loop().time() + QUIET_WITHIN_S
        while problems := await self._problems(client):
            if asyncio.get_running_loop().time() > ends:
                raise AssertionError(f"not quiet within {QUIET_WITHIN_S} s:\n  " + "\n  ".join(problems))
            await asyncio.sleep(LOOK_AGAIN_S)
        self._marks_taken.clear()
        assert not self.witness.seen, "\n".join(self.witness.seen)
        self._assert_has_not_grown()
        assert "Traceback" not in self.daemon.logged(), "the daemon logged an unexpected error"

    async def _problems(self, client: Client) -> list[str]:
        listed = [each async for each in client.list()]
        trial = copy.deepcopy(self.wishes)
        by_rpc = {(each.workload_id, each.if_name): each for each in listed if each.source == "rpc"}
        problems = [*trial.resolve(by_rpc), *trial.differences(listed, self.namespaces)]
        problems += expectations.in_list(listed)
        problems += [f"planned: {each.verb} {each.words}" for each in (await client.plan()).changes]
        try:
            problems += await asyncio.to_thread(lambda: list(self._differences(listed)))
        except (AssertionError, LookupError) as error:  # something that is read is not there
            problems.append(str(error))
        if not problems:
            self.wishes, self.listed = trial, listed
        return problems

    def _differences(self, listed: Sequence[pb.Attachment]) -> Iterator[str]:
        """The kernel against the list."""
        node = read(self.node)
        yield from expectations.on_node(node, listed, self.pools)
        yield from expectations.in_table(self.node, listed)
        yield from self.foreigners["node"].missing(node)
        created = {path.name for path in namespaces.NETNS_DIR.iterdir()} & set(DECLARED)
        claimed = {each.workload_id for each in self.wishes.claims().values() if each.is_created}
        yield from (f"the namespace {name} is left over" for name in sorted(created - claimed))
        for name in sorted(self.namespaces | created):
            reading = read(Host(name))
            mine = [each for each in listed if each.netns_path == Host(name).path and each.phase == "Attached"]
            yield from expectations.in_workload(name, reading, mine)
            if name in self.foreigners:
                yield from self.foreigners[name].missing(reading)
            yield from self._missing_visitors(name, reading)

    def _missing_visitors(self, name: str, reading: Reading) -> Iterator[str]:
        for (netns, link, index), visitors in self._visitors.items():
            if netns == name and reading.links.get(link, {}).get("ifindex") == index:
                for address in sorted(visitors - reading.addresses_on(link)):
                    yield f"{name}: foreign address {address} is gone from {link}"

    def _assert_has_not_grown(self) -> None:
        pid = self.daemon.process.pid
        held = footprint(pid)
        first = self._first_held.setdefault(pid, held)
        assert held.rss_kib <= first.rss_kib + FREE.rss_kib, f"memory: {first} at first, {held} now"
        assert held.fds <= first.fds + FREE.fds, f"descriptors: {first} at first, {held} now"
        assert held.threads <= first.threads + FREE.threads, f"threads: {first} at first, {held} now"

    async def empty(self, client: Client) -> None:
        """Takes every wish back; nothing of ours may be left over but what the node has anyway."""
        for name in tuple(self.wishes.files):
            self.remove_file(name)
        await self.quiet(client)
        for key in tuple(self.wishes.rpc):
            assert await self.detach(client, key) is None
            del self.wishes.rpc[key]
        await self.quiet(client)
        assert not self.listed
        held = {pool.name: pool.held for pool in (await client.status()).pools}
        assert set(held.values()) == {0}, f"addresses are still held: {held}"
