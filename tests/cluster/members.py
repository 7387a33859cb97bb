"""Nodes without a kernel: the real membership, on a real etcd, and what it was told of a node around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from zlib import crc32

from netplumb.models.base import IPNetwork
from netplumb.models.cluster import ClusterView
from netplumb.models.clustersettings import ClusterSettings
from netplumb.models.nodenetwork import Connected, NodeNetwork
from netplumb.models.status import Condition
from netplumb.reconciler.cluster.known import KnownFile
from netplumb.reconciler.cluster.membership import Membership
from netplumb.reconciler.cluster.records import Identity
from netplumb.reconciler.cluster.standing import Fullness, Itself, Surroundings
from tests.cluster.etcds import Etcd
from tests.e2e.waiting import until

V4 = {"cidr": "10.200.0.0/16"}
SETTLE_S = 1.0


@dataclass(slots=True)
class Node:
    """`used` are addresses in use, by prefix; a pool has as many free as are not. It is reached at an `address` of its
    own, unless it is said to have another's, and has a network `on_link` beside."""

    settings: ClusterSettings
    name: str
    place: Path
    boot: str = "boot-1"
    machine: str = ""
    address: str = ""
    used: dict[IPNetwork, int] = field(default_factory=dict)
    on_link: IPNetwork | None = None
    views: list[ClusterView] = field(default_factory=list)
    network: NodeNetwork = field(init=False)
    membership: Membership = field(init=False)
    _task: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.address = self.address or _address_of(self.name)
        self.network = NodeNetwork(
            foreign=frozenset({(ip_address(self.address), "eth0")}),
            connected=() if self.on_link is None else (Connected(self.on_link, "eth1", of_address=True),),
            uplinks=frozenset({"eth0"}),
        )
        itself = Itself(self.name, Identity(boot=self.boot, machine=self.machine or f"machine-of-{self.name}"), "1.0")
        around = Surroundings(lambda: self.network, self._fullness, self._users)
        self.membership = Membership(
            self.settings, itself, KnownFile(self.place / self.name), around, self._changed, settle_s=SETTLE_S
        )

    def _changed(self) -> None:
        self.views.append(self.view)

    def _fullness(self) -> dict[IPNetwork, Fullness]:
        found = {}
        for pool in self.membership.standing.pools:
            size = pool.cidr.num_addresses - 3
            found[pool.cidr] = Fullness(size - self.used.get(pool.cidr, 0), size)
        return found

    def _users(self, prefixes: Collection[IPNetwork]) -> dict[IPNetwork, list[str]]:
        return {it: [f"w{number}/eth0" for number in range(self.used[it])] for it in prefixes if self.used.get(it)}

    def start(self) -> Node:
        self._task = asyncio.ensure_future(self.membership.run())
        return self

    async def stop(self) -> None:
        """As a daemon that is told to."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def leave(self, etcd: Etcd) -> None:
        """Stops for so long that others take it for away."""
        await self.stop()
        key = self.membership._layout.presence(self.name)
        await until(lambda: key not in etcd.key_names(key), f"{self.name} is away", within_s=20)

    def again(self, **changed: str) -> Node:
        """The daemon of the same node, started anew."""
        boot, machine = changed.get("boot", self.boot), changed.get("machine", self.machine)
        return Node(self.settings, self.name, self.place, boot, machine, self.address, self.used)

    @property
    def view(self) -> ClusterView:
        return self.membership.standing.view

    @property
    def prefixes(self) -> list[str]:
        """Those that it gives addresses from."""
        return [it.prefix for it in self.membership.standing.pools]

    @property
    def conditions(self) -> dict[str, Condition]:
        return {it.type: it for it in self.membership.standing.conditions()}

    @property
    def is_well(self) -> bool:
        """It follows etcd, and has a prefix of each pool."""
        return not self.conditions and len(self.prefixes) >= len(self.settings.pools)


def _address_of(name: str) -> str:
    return str(ip_address("198.18.0.0") + crc32(name.encode()) % (1 << 17))


@asynccontextmanager
async def nodes(etcd: Etcd, place: Path, *names: str, **settings: object) -> AsyncIterator[list[Node]]:
    """Started, and well."""
    made = [Node(etcd.settings(**{"pools": [V4], **settings}), name, place).start() for name in names]
    try:
        for node in made:
            await until(lambda node=node: node.is_well, f"{node.name} is well", within_s=20)  # type: ignore[misc]
        yield made
    finally:
        for node in made:
            await node.stop()
