"""A node with the real daemon, workloads and foreigners, and the deeds that are done to them.

Deeds are coroutines, so that several can be done at the same time; what blocks is done in a thread.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.client.errors import ClientError
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.models.kernel import Scope
from tests import namespaces
from tests.chaos import peers
from tests.chaos.damages import NODE_DAMAGES, Victim
from tests.chaos.foreigners import Foreigners
from tests.chaos.peers import Peer
from tests.chaos.policies import FILE, Policy
from tests.chaos.wishes import ALTERNATE, DECLARED, USUAL_POOLS, VISITORS, WORKLOADS, Declared, Key, Wish, Wishes
from tests.chaos.witness import Witness
from tests.contract.damages import Damage
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host, temporary
from tests.e2e.nodes import TOLD, VIEW, ToldDaemon
from tests.e2e.statefiles import declare, document
from tests.e2e.waiting import until
from tests.e2e.wishes import detach
from tests.footprint import Footprint

CALL_WITHIN_S = 30.0
QUIET_WITHIN_S = 45.0
LOOK_AGAIN_S = 0.1
GRACE_S = 1
# Beyond what a daemon holds when it is first quiet: gRPC's and asyncio's threads, connections under way, Python's heap.
FREE = Footprint(rss_kib=32 << 10, fds=12, threads=12)

FLUSHES = frozenset({"addresses flushed"})


class World:
    """Everything that the chaos is about. Only the machine's own thread is to use it."""

    def __init__(self, stack: ExitStack, resync_s: int, mode: str) -> None:
        self._stack = stack
        self.resyncs = resync_s < QUIET_WITHIN_S
        self.node = stack.enter_context(temporary("node"))
        self.node.ip("link set lo up")
        peers.settle(self.node)
        self.mode, self.mtu = mode, peers.MTU[mode]
        self.foreigners = {"node": Foreigners(self.node, on_node=True)}
        self.foreigners["node"].settle()
        self.hidden: dict[str, tuple[Foreigners, int]] = {}
        stack.callback(self._remove_namespaces)
        for name in (*WORKLOADS, *(name + ALTERNATE for name in WORKLOADS[:2])):
            self.make_namespace(name)
        directory = stack.enter_context(TemporaryDirectory(prefix="np-"))
        self.pools: tuple[str, ...] = USUAL_POOLS
        self.daemon = self._made_daemon(Path(directory), f"--resync-s={resync_s}")
        self.running = False  # as it should be
        self.wishes = Wishes()
        self.meet(frozenset())
        self.listed: list[pb.Attachment] = []
        self.witness = Witness(self.node)
        self.witness.start()
        stack.callback(self.witness.stop)
        self.visitors: dict[tuple[str, str, int], set[str]] = {}
        self.marks_taken: set[Key] = set()
        self.first_held: dict[int, Footprint] = {}

    def _made_daemon(self, directory: Path, flags: str) -> Daemon:
        if self.mode:
            return ToldDaemon(self.node, directory, flags=flags, server=TOLD)
        return Daemon(self.node, directory, flags=flags)

    def open_client(self) -> AsyncClient:
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
        for visited in [visited for visited in self.visitors if visited[0] == name]:
            del self.visitors[visited]
        Host(name).remove()

    def hide_namespace(self, name: str) -> None:
        """Takes the path away, while somebody holds the namespace: what is attached there lives on."""
        path = namespaces.NETNS_DIR / name
        self.hidden[name] = (self.foreigners.pop(name), os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        Host(name).remove()

    def reveal_namespace(self, name: str) -> None:
        """The same namespace is at its path again."""
        foreigners, fd = self.hidden.pop(name)
        path = namespaces.NETNS_DIR / name
        path.touch()
        namespaces.mount(f"/proc/self/fd/{fd}", path, "none", namespaces.MS_BIND)
        os.close(fd)
        self.foreigners[name] = foreigners

    def _remove_namespaces(self) -> None:
        for _, fd in self.hidden.values():
            os.close(fd)
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
        self._write_settings(pools)

    def _write_settings(self, pools: tuple[str, ...]) -> None:
        cluster = {"cluster": peers.settings(self.mode)} if self.mode else {}
        self.daemon.configure(pools=pools, netns_gone_grace_s=GRACE_S, **cluster)

    async def reload(self, client: AsyncClient, pools: tuple[str, ...]) -> None:
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

    async def attach(self, client: AsyncClient, wish: Wish) -> grpc.StatusCode | None:
        """The code of the refusal; None is success."""
        try:
            answer = await client.attach(wish.request())
        except ClientError as error:
            return error.code
        assert wish.is_listed_as(answer.attachment), f"asked for {wish}, got {answer.attachment}"
        return None

    async def detach(self, client: AsyncClient, key: Key, path: str = "") -> grpc.StatusCode | None:
        workload_id, if_name = key
        try:
            await client.detach(detach(workload_id, path, if_name=if_name))
        except ClientError as error:
            return error.code
        return None

    async def collect_garbage(self, client: AsyncClient, alive: Sequence[Key]) -> None:
        """Takes all RPCs' attachments away but these."""
        gone = self.wishes.rpc.keys() - set(alive)
        removed = {(each.workload_id, each.if_name) for each in await client.gc(alive)}
        # What a file claims is handed over to it. What lost its namespace a moment ago may still be there, as garbage.
        kept = {key for key in gone - removed if not self.wishes.may_be_claimed(key)}
        assert not kept, f"not removed: {kept}"
        assert not removed & set(alive), f"alive and removed: {removed & set(alive)}"
        for key in gone:
            del self.wishes.rpc[key]

    async def refused_reload(self) -> None:
        """Settings with a mistake change nothing."""
        self._write_settings(("203.0.113.0/24", "fd15::/64"))  # the first is a foreign route's
        refusals = self.daemon.logged().count("settings were not reloaded")
        self.daemon.reload()
        refused = lambda: self.daemon.logged().count("settings were not reloaded") > refusals  # noqa: E731
        await until(refused, "the settings are refused", within_s=CALL_WITHIN_S)
        self.configure(self.pools)

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
        self.wishes.declare(name, *declared)
        declare(self.daemon, name, *documents)

    def break_file(self, name: str, content: str) -> None:
        """What the file said last stays in force."""
        (self.daemon.state_files / name).write_text(content)

    def remove_file(self, name: str) -> None:
        self.wishes.declare(name)
        (self.daemon.state_files / name).unlink(missing_ok=True)

    def police(self, policies: frozenset[Policy]) -> None:
        self.wishes.policies = policies
        if policies:
            declare(self.daemon, FILE, *(it.manifest for it in sorted(policies, key=lambda it: it.name)))
        else:
            (self.daemon.state_files / FILE).unlink(missing_ok=True)

    def meet(self, others: frozenset[Peer]) -> None:
        """These are the other nodes from now on, each of them once."""
        by_name = {it.name: it for it in sorted(others, key=lambda it: it.moved)}
        self.wishes.peers = frozenset(by_name.values()) if self.mode else frozenset()
        file = self.daemon.directory / VIEW
        draft = file.with_suffix(".draft")
        draft.write_text(peers.view(self.mode or "none", self.wishes.peers))
        draft.replace(file)

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
            if key in self.marks_taken:
                return False
            self.marks_taken.add(key)
        if damage.scope is Scope.WORKLOAD and damage.name in FLUSHES:
            self.visitors.clear()
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
        visited = self.visitors.setdefault((victim.workload.name, name, link["ifindex"]), set())
        if address not in visited:
            victim.workload.ip(f"address add {address}/32 dev {name}")
            visited.add(address)
