"""The node's network beside what is ours: as the kernel tells it, and what follows from that for workloads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from netplumb.models.base import IPAddress, IPNetwork
from netplumb.models.kernel import RT_TABLE_MAIN, Link
from netplumb.models.policy import ForeignRule


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """An address of the node. `network` is what it reaches without a gateway: of a point-to-point link the far end.
    `since` is when the kernel was given it, in hundredths of a second since the boot. Nothing is sent from one that is
    not `usable`: another host may have it."""

    ip: IPAddress
    network: IPNetwork
    index: int
    ours: bool = False
    since: int = 0
    usable: bool = True


@dataclass(frozen=True, slots=True)
class Hop:
    """One of a route's ways: an interface, and the gateway behind it unless the destination itself is there."""

    index: int
    gateway: IPAddress | None = None


@dataclass(frozen=True, slots=True)
class NodeRoute:
    """A unicast route of the node that is not ours. `connected` is one that the kernel made of an address; `mtu` is 0
    unless the route has one of its own; `src` is whose packets it is for, where not all (`from`)."""

    dst: IPNetwork
    hops: tuple[Hop, ...]
    table: int
    source: IPAddress | None = None
    metric: int = 0
    mtu: int = 0
    connected: bool = False
    src: IPNetwork | None = None

    @property
    def rank(self) -> int:
        """The metric, which counts for nothing where a route is for some senders: the kernel asks that before any other
        to its destination, and gives the other senders none of these."""
        return self.metric if self.src is None else 0


@dataclass(frozen=True, slots=True)
class EndingRoute:
    """Somebody's route that ends the way: a `blackhole`, `unreachable` or `prohibit`, or a `throw`, which does so in
    its table alone. One that stands `behind` a route of ours ends nothing while that is there. `nexthop` is the number
    of the next hop object that makes it one, if any."""

    type: str
    dst: IPNetwork
    table: int
    metric: int = 0
    behind: bool = field(default=False, compare=False)
    src: IPNetwork | None = None
    nexthop: int = 0

    @property
    def rank(self) -> int:
        """As that of a `NodeRoute`."""
        return self.metric if self.src is None else 0

    @property
    def heal(self) -> str:
        """The command that takes it away. Of one by a next hop object the kernel knows no type."""
        flag = " -6" if self.dst.version == 6 else ""
        return f"ip{flag} route del {str(self).removeprefix(f'{self.type} ') if self.nexthop else self}"

    def __str__(self) -> str:
        """As `ip route` takes it."""
        nexthop = f" nhid {self.nexthop}" if self.nexthop else ""
        src = f" from {self.src}" if self.src is not None else ""
        table = f" table {self.table}" if self.table != RT_TABLE_MAIN else ""
        metric = f" metric {self.metric}" if self.metric else ""
        return f"{self.type} {self.dst if self.dst.prefixlen else 'default'}{src}{nexthop}{table}{metric}"


@dataclass(frozen=True, slots=True)
class EndedWay:
    """An ending route, and the rule by which what workloads send comes to it."""

    route: EndingRoute
    rule: ForeignRule

    @property
    def is_in_main(self) -> bool:
        return self.route.table == RT_TABLE_MAIN

    @property
    def heal(self) -> str:
        """The command that takes it away."""
        return self.route.heal


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """What was read of the node's network. `local` are whole prefixes that the node takes for its own, with their
    links' indexes, `aside` routes of tables that no rule leads to, `ending` those that end the way, `outdoing` those to
    single addresses that the main table has before ours, `link_locals` each interface's IPv6 address for its link
    alone. Not `complete` where a table was too large to be read to its end."""

    addresses: tuple[NodeAddress, ...] = ()
    routes: tuple[NodeRoute, ...] = ()
    local: tuple[tuple[IPNetwork, int], ...] = ()
    rules: tuple[ForeignRule, ...] = ()
    aside: tuple[NodeRoute, ...] = ()
    ending: tuple[EndingRoute, ...] = ()
    outdoing: tuple[NodeRoute, ...] = ()
    links: Mapping[int, Link] = field(default_factory=dict)
    complete: bool = True
    link_locals: Mapping[int, IPAddress] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Connected:
    """A network that the node reaches without a gateway. One `of_address` has a network and a broadcast address."""

    network: IPNetwork
    link: str
    of_address: bool


@dataclass(frozen=True, slots=True)
class Source:
    """Whose address the node itself sends from, by this link to this destination, where it is not the one that
    masquerading would choose. None stands for that one, inside a destination with another. A link-local one stands for
    all that a node can send from which has no other: without it the kernel would take that of a pool."""

    link: str
    dst: IPNetwork
    ip: IPAddress | None


@dataclass(frozen=True, slots=True)
class Overlap:
    """Something of the node's inside a pool, or around it. One that `cuts` makes a network unreachable as soon as
    workloads have the pool's addresses. One that `covers` makes all of the pool the node's own."""

    pool: str
    what: str
    cuts: bool
    covers: bool = False


@dataclass(frozen=True, slots=True)
class Crossing:
    """A route of somebody else's to some of the cluster's addresses, in words too."""

    dst: IPNetwork
    rank: int
    words: str


@dataclass(frozen=True, slots=True)
class Uplink:
    """An interface of a way out, as people want to see it."""

    name: str
    addresses: tuple[IPAddress, ...] = ()
    mtu: int = 0


@dataclass(frozen=True, slots=True)
class Gateway:
    """The next hop of a way out that workloads' packets take."""

    ip: IPAddress
    link: str
    index: int

    def __str__(self) -> str:
        return f"{self.ip} on {self.link}"


@dataclass(frozen=True, slots=True)
class NodeNetwork:
    """What follows. `own` and `next_hops` are addresses with the words that tell whose they are, `since` when the node
    came to have each of its own, `foreign` those that others gave it and that it can send from, with their links;
    `ended` are those to which the node's routes end the way, `outdone` those to which another route goes before ours,
    and `before` are prefixes with routes in the local table that lead nobody here; each with words for it;
    `ending_rules` are those that end what workloads send, or some of it, `ended_ways` the routes that end all of it;
    `leading_rules` lead all of it past an uplink of the main table; `taken` are, by pool, the stretches of addresses
    (as numbers, first and last) that are not the pool's to give.
    `uplinks` are the interfaces of the ways out, `ways` the same with the IP version of each, `best` those of the
    lowest metric, `gateways` the next hops of these, `uplink_mtu` the smallest MTU of those in use, None where there is
    none; `shown_uplinks` is for people. For the `ways` that are `without_source` the node has no address of its own
    at all; of the IP versions of `unused_main` the main table has the way out, and no rule leads there. `narrow_ways`
    are the pools for which all ways out are other senders' alone, each with one of these in words. In a cluster,
    `crossing` are routes of others to its addresses, and `mtus` are those of the links that have an address."""

    own: Mapping[IPAddress, str] = field(default_factory=dict)
    since: Mapping[IPAddress, int] = field(default_factory=dict)
    foreign: frozenset[tuple[IPAddress, str]] = frozenset()
    local: tuple[tuple[IPNetwork, str], ...] = ()
    next_hops: Mapping[IPAddress, str] = field(default_factory=dict)
    ended: frozenset[IPAddress] = frozenset()
    outdone: Mapping[IPAddress, str] = field(default_factory=dict)
    before: tuple[tuple[IPNetwork, str], ...] = ()
    ending_rules: tuple[ForeignRule, ...] = ()
    leading_rules: tuple[ForeignRule, ...] = ()
    ended_ways: tuple[EndedWay, ...] = ()
    connected: tuple[Connected, ...] = ()
    overlaps: tuple[Overlap, ...] = ()
    taken: Mapping[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    sources: tuple[Source, ...] = ()
    uplinks: frozenset[str] = frozenset()
    ways: frozenset[tuple[str, int]] = frozenset()
    best: frozenset[tuple[str, int]] = frozenset()
    without_source: frozenset[tuple[str, int]] = frozenset()
    unused_main: tuple[int, ...] = ()
    narrow_ways: Mapping[IPNetwork, str] = field(default_factory=dict)
    gateways: tuple[Gateway, ...] = ()
    uplink_mtu: int | None = None
    shown_uplinks: tuple[Uplink, ...] = ()
    complete: bool = True
    crossing: tuple[Crossing, ...] = ()
    mtus: Mapping[str, int] = field(default_factory=dict)

    @property
    def covered(self) -> Mapping[str, str]:
        """The pools that are the node's own altogether, each with what makes them so."""
        return {overlap.pool: overlap.what for overlap in self.overlaps if overlap.covers}
