"""What a node knows of its cluster: the other nodes, and the ways to them. It is what the loop is given; how it was
learnt is the business of `netplumb.reconciler.cluster`.

A view is complete as of its revision, or it is the last that was known: a peer is missing from it only where the
cluster said so. Whether a peer is present decides nothing about its routes, since its workloads may well live.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from netplumb.models.base import IPAddress, IPNetwork

KNOWN_FILE = "cluster.json"
SHELVES = ("shared.db", "own.db", "endpoints.db")
KEPT_FILES = (KNOWN_FILE, *(name + suffix for name in SHELVES for suffix in ("", "-wal", "-shm")))
"""What was last known of the cluster, in the daemon's directory: where it is, the node is in one, or was."""


class ClusterMode(StrEnum):
    """How a node reaches the workloads of the others."""

    ROUTES = "routes"
    VXLAN = "vxlan"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class HeldPrefix:
    """A prefix that a node holds of a cluster pool, which is known by its own prefix."""

    pool: IPNetwork
    cidr: IPNetwork


@dataclass(frozen=True, slots=True)
class Underlay:
    """Where other nodes reach a node: an address of each family that it has."""

    v4: IPAddress | None = None
    v6: IPAddress | None = None

    def of(self, version: int) -> IPAddress | None:
        return self.v4 if version == 4 else self.v6

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        return tuple(it for it in (self.v4, self.v6) if it is not None)

    def __str__(self) -> str:
        return ", ".join(map(str, self.addresses)) or "nowhere"


@dataclass(frozen=True, slots=True)
class Peer:
    """Another node, as it told of itself. `present` is whether its lease lives: it takes no part in comparison, and
    neither does what is for people alone. `vxlan` are the number and the UDP port of its VXLAN network."""

    node: str
    underlay: Underlay = Underlay()
    prefixes: tuple[HeldPrefix, ...] = ()
    mode: str = field(default="", compare=False)
    vxlan: tuple[int, int] | None = field(default=None, compare=False)
    boot_id: str = field(default="", compare=False)
    version: str = field(default="", compare=False)
    present: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The cluster as one node sees it. `pools` are the prefixes of all nodes together, between which nothing is
    translated; `peers` are the others, by name. `away_since` is when etcd was last heard of, in seconds since the
    epoch, None while it answers; that and the `revision` take no part in comparison, so that two views are equal where
    the same follows from them."""

    node: str
    mode: ClusterMode
    underlay: Underlay = Underlay()
    pools: tuple[IPNetwork, ...] = ()
    prefixes: tuple[HeldPrefix, ...] = ()
    peers: Mapping[str, Peer] = field(default_factory=lambda: MappingProxyType({}))
    revision: int = field(default=0, compare=False)
    away_since: float | None = field(default=None, compare=False)

    @property
    def of_the_node(self) -> tuple[ClusterMode, Underlay, tuple[IPNetwork, ...]]:
        """What the node's own objects follow from; the ways to peers are theirs."""
        return self.mode, self.underlay, self.pools

    def after(self, before: ClusterView | None) -> ClusterView:
        """This view, with the underlay of the one before where the node has none at the moment: an address that is away
        for a while is no other way to it."""
        if self.underlay.addresses or before is None:
            return self
        return replace(self, underlay=before.underlay)
