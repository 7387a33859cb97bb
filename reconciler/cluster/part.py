"""The cluster as the rest of the daemon sees it: the one object that `wiring` connects.

Nothing takes effect where it arrives from etcd: it wakes `run`, which passes on the node's pools, the view of the other
nodes and the documents as they are by then.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import TypeAdapter, ValidationError

from netplumb.models.base import IPNetwork
from netplumb.models.cluster import ClusterView
from netplumb.models.clustersettings import ClusterSettings, NodeName
from netplumb.models.errors import NetplumbError, StoreUnwritable
from netplumb.models.nodenetwork import NodeNetwork
from netplumb.models.settings import Settings
from netplumb.models.status import Condition, WatchEvent
from netplumb.reconciler.cluster.documents import ClusterDocuments
from netplumb.reconciler.cluster.endpoints import Endpoints
from netplumb.reconciler.cluster.etcd.entries import Entry
from netplumb.reconciler.cluster.known import KnownFile
from netplumb.reconciler.cluster.membership import Membership
from netplumb.reconciler.cluster.records import Identity
from netplumb.reconciler.cluster.standing import Fullness, Itself, Surroundings
from netplumb.reconciler.desired.ipam import Allocator
from netplumb.reconciler.sources.declared import DeclaredFiles
from netplumb.reconciler.status.statuses import timed

log = structlog.get_logger(__name__)

AGAIN_S = 2.0
MORE_S = 3.0
"""How long who asks for an address waits for a further prefix, which takes etcd some milliseconds."""

MACHINE_ID = Path("/etc/machine-id")
GATHER_S = 3.0


class NoNodeName(NetplumbError):
    """The node's host name cannot be its name in the cluster."""


@dataclass(frozen=True, slots=True)
class _Joined:
    allocator: Allocator
    network: Callable[[], NodeNetwork]
    pools_changed: Callable[[], None]
    view: Callable[[ClusterView], None]
    loaded: Callable[[], None]


class ClusterPart:
    """`boot` names boot and node namespace, as the store's. Who `looks_only`, beside a daemon, never runs it. Raises
    NoNodeName."""

    def __init__(self, settings: Settings, boot: str, version: str, *, looks_only: bool = False) -> None:
        assert settings.cluster is not None
        itself = Itself(node_name(settings.cluster), Identity(boot=boot, machine=_machine_id()), version)
        surroundings = Surroundings(self._network, self._fullness, self._users)
        file = KnownFile(settings.data_dir)
        self._membership = Membership(settings.cluster, itself, file, surroundings, self._wake, looks_only=looks_only)
        self._standing = self._membership.standing
        self._joined: _Joined | None = None
        self._documents: ClusterDocuments | None = None
        self._pools = self._standing.pools
        self._changed = asyncio.Event()
        self._grown = asyncio.Event()  # another one each time that there are other pools
        self._woken = asyncio.Event()
        self._conditions: tuple[Condition, ...] = ()

    def with_pools(self, settings: Settings) -> Settings:
        """The given settings with the pools that the cluster gives this node now."""
        return settings.model_copy(update={"pools": (*settings.pools, *self._standing.pools)})

    @property
    def view(self) -> ClusterView:
        """What is known of other nodes; if nothing is, what the settings say of the cluster."""
        return self._standing.view

    @property
    def endpoints(self) -> Endpoints:
        """Workloads of other nodes."""
        return self._membership.endpoints

    @property
    def prefixes(self) -> frozenset[str]:
        """The cluster's pools: what they overlap is reported, and none of it is given out."""
        return frozenset(it.prefix for it in self._standing.pools)

    def join(
        self,
        allocator: Allocator,
        network: Callable[[], NodeNetwork],
        pools_changed: Callable[[], None],
        view: Callable[[ClusterView], None],
        declared: DeclaredFiles,
        loaded: Callable[[], None],
        watch: Callable[[], AsyncIterator[WatchEvent]],
    ) -> None:
        """From now on `pools_changed` is called when `with_pools` has others to give, and `view` with what is known of
        other nodes, at first what was known before. Documents go to `declared`, and `loaded` is called once they have;
        what `watch` tells is written back."""
        self._joined = _Joined(allocator, network, pools_changed, view, loaded)
        self._documents = ClusterDocuments(declared)
        self._membership.report(watch)
        if self._membership.is_known_by_name:
            view(self._standing.view)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """With the time since when, for those that do not tell it themselves."""
        found = (*self._standing.conditions(), *self._membership.endpoints.conditions)
        untimed = timed(tuple(it for it in found if not it.last_transition), self._conditions)
        self._conditions = (*untimed, *(it for it in found if it.last_transition))
        return self._conditions

    async def more(self) -> bool:
        """Asks for a further prefix where what the node has is full; whether it came soon."""
        if self._standing.troubles.away is not None or not self._membership.wants_more():
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(MORE_S):
                await self._grown.wait()
                return True
        return False

    async def caught_up(self) -> None:
        """Before an address is given: after a time in which this daemon did not run, it may be another node's."""
        if await self._membership.caught_up() and self._pools != self._standing.pools:
            with suppress(TimeoutError):
                async with asyncio.timeout(MORE_S):
                    await self._grown.wait()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._membership.run())
            tasks.create_task(self._membership.keep_running("handing on", self._hand_on))
            tasks.create_task(self._membership.keep_running("documents", self._declare))

    async def _hand_on(self) -> None:
        joined = self._joined
        assert joined is not None
        view = None
        while True:
            await self._woken.wait()
            self._woken.clear()
            if self._standing.pools != self._pools:
                if not self._pools:
                    await self._gathered()
                self._pools = self._standing.pools
                try:
                    joined.pools_changed()
                except NetplumbError as error:
                    log.error("the cluster's pools were not taken", cause=str(error))
                self._grown.set()
                self._grown = asyncio.Event()
            if self._membership.is_known_by_name and (seen := self._standing.view) != view:
                view = seen
                joined.view(view)

    async def _declare(self) -> None:
        joined, documents = self._joined, self._documents
        assert joined is not None
        assert documents is not None
        last: tuple[Mapping[str, Entry], Mapping[str, Entry]] | None = None
        while True:
            await self._changed.wait()
            self._changed.clear()
            if not self._membership.is_loaded or (found := self._membership.documents) == last:
                continue
            try:
                await documents.take(*found)
            except StoreUnwritable as error:
                log.warning("the cluster's documents are not taken", cause=str(error))
                await asyncio.sleep(AGAIN_S)
                self._changed.set()
                continue
            last = found
            joined.loaded()

    async def _gathered(self) -> None:
        """First prefixes are taken one after the other, and who is attached is given an address of each at once."""
        with suppress(TimeoutError):
            async with asyncio.timeout(GATHER_S):
                while not self._standing.has_of_each_pool:
                    await self._woken.wait()
                    self._woken.clear()

    def _wake(self) -> None:
        self._woken.set()
        self._changed.set()

    def looked_around(self) -> None:
        """The node's own network was looked at: what others are told of it may be other than before."""
        self._membership.network_changed()
        self._wake()

    def _network(self) -> NodeNetwork:
        return self._joined.network() if self._joined is not None else NodeNetwork()

    def _fullness(self) -> Mapping[IPNetwork, Fullness]:
        if self._joined is None:
            return {}
        usage = {it.name: Fullness(it.size - it.held, it.size) for it in self._joined.allocator.usage()}
        return {it.cidr: usage[it.prefix] for it in self._standing.pools if it.prefix in usage}

    def _users(self, prefixes: Collection[IPNetwork]) -> Mapping[IPNetwork, Collection[str]]:
        if self._joined is None:
            return dict.fromkeys(prefixes, ())
        held = self._joined.allocator.held_in(prefixes)
        users = {cidr: {str(key) for address, key in held.items() if address in cidr} for cidr in prefixes}
        return {cidr: sorted(names) for cidr, names in users.items() if names}


def node_name(settings: ClusterSettings) -> str:
    """Raises NoNodeName."""
    if settings.node_name is not None:
        return settings.node_name
    host = platform.node()
    try:
        return TypeAdapter[str](NodeName).validate_python(host)
    except ValidationError:
        raise NoNodeName(f"cluster: the host name {host!r} cannot be a node's name; say node_name") from None


def _machine_id() -> str:
    try:
        return MACHINE_ID.read_text().strip()
    except OSError:
        return ""
