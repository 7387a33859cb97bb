"""PURE: how a node reaches the workloads of the other nodes, as kernel objects.

Peers are independent: what a peer's prefixes need follows from the peer and from the ground that all share, so that a
peer that changes touches only its own objects. With routes, the gateway of a prefix is the peer's underlay address,
which has to be on a link of the node; for IPv4 it may be an IPv6 address. With VXLAN one device leads to all peers: the
route names the prefix's first address as an on-link gateway, a permanent neighbour gives its MAC, which is derived from
the peer's name, and an FDB entry of the device gives the node at which that MAC is. Nothing is learnt or flooded.

What the node itself sends has its address in its own prefix as source, as towards its own workloads. A way that cannot
be made is told and the rest is made. One that is there already stays: that a link has lost its address for a moment is
no reason to forget where a peer is. Somebody else's route to a peer's prefix is told, and ours is not put before it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from netplumb.models.base import IPAddress, IPNetwork
from netplumb.models.cluster import ClusterMode, ClusterView, Peer
from netplumb.models.kernel import (
    ADDR_GEN_MODE_NONE,
    WAYS_GROUP,
    FdbEntry,
    KernelObject,
    Key,
    Link,
    LinkUp,
    Neighbour,
    Route,
    Scope,
    Tunnel,
)
from netplumb.models.naming import node_mac, ways_alias
from netplumb.models.network import Node
from netplumb.models.nodenetwork import Connected, Crossing, NodeNetwork
from netplumb.models.status import (
    FOREIGN_WAY,
    PEER_NOT_ON_LINK,
    PEER_WITHOUT_ADDRESS,
    UNDERLAY_MISSING,
    Condition,
)
from netplumb.models.steps import Step, Verb
from netplumb.models.words import several
from netplumb.reconciler.decide.plan import plan
from netplumb.reconciler.decide.render.hostroutes import HOST_ROUTE_METRIC_V6
from netplumb.reconciler.decide.uplinks import VXLAN_OVERHEAD

TOLD_MAX = 8


@dataclass(frozen=True, slots=True)
class Device:
    """How the VXLAN device is called, and what it has in common with those of the other nodes."""

    name: str
    network: int
    port: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a way cannot be made, under the condition that tells of it."""

    condition: str
    reason: str
    words: str


@dataclass(frozen=True, slots=True)
class Way:
    """What one peer, or the ground, is in the kernel. What is `withheld` of the objects stays if it is there as it
    should be or as it was, and is not made."""

    things: tuple[KernelObject, ...] = ()
    withheld: frozenset[Key] = frozenset()
    troubles: tuple[Trouble, ...] = ()


@dataclass(frozen=True, slots=True)
class Ground:
    """What the ways to all peers have in common. `local` is the underlay address that the device sends from, `adrift`
    why others do not reach this node, `own` what it holds of the cluster, `sources` are the node's addresses in it by
    IP version, `connected` what is on a link, the most specific first."""

    mode: ClusterMode
    node: str
    device: Device
    local: IPAddress | None = None
    mtu: int = 0
    ipv6: bool = True
    adrift: str = ""
    own: tuple[IPNetwork, ...] = ()
    sources: Mapping[int, bytes] = field(default_factory=dict)
    connected: tuple[Connected, ...] = ()
    crossing: tuple[Crossing, ...] = ()

    @property
    def is_blind(self) -> bool:
        """Whether it is not known what a device would be: then what is there stays as it is."""
        return self.mode is ClusterMode.VXLAN and self.local is None


def ground(view: ClusterView, device: Device, node: Node, known: NodeNetwork) -> Ground:
    own = tuple(held.cidr for held in view.prefixes)
    sources: dict[int, bytes] = {}
    for ip in node.node_addresses:
        if any(ip in cidr for cidr in own):
            sources.setdefault(ip.version, ip.packed)
    local = view.underlay.v4 or view.underlay.v6
    under = next((link for ip, link in known.foreign if ip == local), "")
    mtu = known.mtus.get(under, 0) - VXLAN_OVERHEAD[local.version] if local is not None and under else 0
    connected = sorted(known.connected, key=lambda it: it.network.prefixlen, reverse=True)
    with_vxlan = view.mode is ClusterMode.VXLAN
    return Ground(
        view.mode,
        view.node,
        device,
        local if with_vxlan else None,
        mtu if with_vxlan else 0,
        node.ipv6,
        _adrift(view, known),
        own,
        sources,
        () if with_vxlan else tuple(connected),
        known.crossing,
    )


def _adrift(view: ClusterView, known: NodeNetwork) -> str:
    """The device sends from one address; by routes others send to each that this node says to have."""
    addresses = view.underlay.addresses
    if view.mode is ClusterMode.NONE:
        return ""
    if not addresses:
        return "this node has no underlay address"
    own = {ip for ip, _ in known.foreign}
    sent_to = addresses[:1] if view.mode is ClusterMode.VXLAN else addresses
    missing = [ip for ip in sent_to if ip not in own]
    return f"no interface of this node has its underlay address {missing[0]}" if missing else ""


def render_ground(of: Ground) -> Way:
    """The device, where there is one."""
    troubles = (Trouble(UNDERLAY_MISSING, "NotOnThisNode", of.adrift),) if of.adrift else ()
    if of.mode is not ClusterMode.VXLAN or of.local is None:
        return Way(troubles=troubles)
    name = of.device.name
    link = Link(
        Scope.NODE,
        name,
        kind="vxlan",
        mac=node_mac(of.node),
        mtu=of.mtu or None,
        group=WAYS_GROUP,
        alias=ways_alias(of.node),
        addr_gen_mode=ADDR_GEN_MODE_NONE if of.ipv6 else None,
        forwarding_v4=True,
        forwarding_v6=True if of.ipv6 else None,
        ipv6=True if of.ipv6 else None,
        arp=True,
        master=0,
        tunnel=Tunnel(of.device.network, of.device.port, of.local.packed),
    )
    things: tuple[KernelObject, ...] = (link, LinkUp(Scope.NODE, name))
    if of.mtu:
        return Way(things)
    # Its MTU is not known, and what it sends would have an address that the node does not have.
    return Way(things, frozenset(it.key for it in things), troubles)


def render_peer(peer: Peer, of: Ground) -> Way:
    """A peer's objects, each prefix by itself."""
    if of.mode is ClusterMode.NONE:
        return Way()
    things: list[KernelObject] = []
    withheld: set[Key] = set()
    troubles: list[Trouble] = []
    through = _through_device if of.mode is ClusterMode.VXLAN else _by_routes
    prefixes = [held.cidr for held in peer.prefixes if of.ipv6 or held.cidr.version == 4]
    for route, more in through(peer, prefixes, of, troubles):
        things += more
        if route is None:
            continue
        things.append(route)
        if not route.link:
            withheld.add(route.key)
        elif foreign := _in_the_way(route, of):
            withheld.add(route.key)
            words = f"{foreign.words} is in the place of the way to {_cidr(route)} of {peer.node}"
            troubles.append(Trouble(FOREIGN_WAY, "ForeignRoute", words))
    troubles += _inside(peer, prefixes, of)
    return Way(tuple(things), frozenset(withheld), tuple(troubles))


_Made = Iterator[tuple[Route | None, tuple[KernelObject, ...]]]
"""Routes, each with what it needs. One over no link is not to be made."""


def _by_routes(peer: Peer, prefixes: Iterable[IPNetwork], of: Ground, troubles: list[Trouble]) -> _Made:
    for cidr in prefixes:
        # Only IPv4 can have a gateway of the other family.
        addresses = [it for it in (peer.underlay.of(cidr.version), peer.underlay.v6) if it is not None]
        if not addresses:
            words = f"{peer.node} has no IPv{cidr.version} underlay address, which the way to {cidr} needs"
            troubles.append(Trouble(PEER_WITHOUT_ADDRESS, "NoAddress", words))
            continue
        hops = ((ip, link) for ip in addresses if (link := _on_link(ip, of)))
        gateway, link = next(hops, (addresses[0], ""))
        yield _route(cidr, link, gateway.packed, of), ()
        if not link:
            words = f"{peer.node} at {gateway}, which {cidr} is behind, is on no link of this node"
            troubles.append(Trouble(PEER_NOT_ON_LINK, "NotOnLink", words))


def _through_device(peer: Peer, prefixes: Iterable[IPNetwork], of: Ground, troubles: list[Trouble]) -> _Made:
    if of.local is None:
        return
    name, mac = of.device.name, node_mac(peer.node)
    if (at := peer.underlay.of(of.local.version)) is None:
        words = f"{peer.node} has no IPv{of.local.version} underlay address, which this node's device needs"
        troubles.append(Trouble(PEER_WITHOUT_ADDRESS, "NoAddress", words))
        return
    yield None, (FdbEntry(name, mac, at.packed),)
    for cidr in prefixes:
        gateway = cidr.network_address.packed
        yield _route(cidr, name, gateway, of, onlink=True), (Neighbour(Scope.NODE, name, gateway, mac),)


def _route(cidr: IPNetwork, link: str, gateway: bytes, of: Ground, *, onlink: bool = False) -> Route:
    return Route(
        Scope.NODE,
        cidr.network_address.packed,
        cidr.prefixlen,
        link,
        gateway,
        of.sources.get(cidr.version),
        metric=0 if cidr.version == 4 else HOST_ROUTE_METRIC_V6,
        onlink=onlink,
    )


def _on_link(ip: IPAddress, of: Ground) -> str:
    return next((it.link for it in of.connected if ip in it.network), "")


def _in_the_way(route: Route, of: Ground) -> Crossing | None:
    """A route to the very prefix that would be asked before ours, or that ours would only be put before."""
    same = (it for it in of.crossing if _is_to(it.dst, route))
    return next((it for it in same if it.rank <= route.metric), None)


def _is_to(dst: IPNetwork, route: Route) -> bool:
    return dst.prefixlen == route.prefix_len and dst.network_address.packed == route.dst


def _inside(peer: Peer, prefixes: Iterable[IPNetwork], of: Ground) -> Iterator[Trouble]:
    """Routes of others to a part of a prefix, which are more specific than ours."""
    for it in of.crossing:
        for cidr in prefixes:
            if it.dst.version == cidr.version and it.dst.prefixlen > cidr.prefixlen and it.dst.overlaps(cidr):
                words = f"{it.words} leads a part of {cidr} of {peer.node} elsewhere"
                yield Trouble(FOREIGN_WAY, "ForeignRoute", words)


def _cidr(route: Route) -> str:
    return str(route).removeprefix("route ").split(" ", 1)[0]


def steps_of(ways: Iterable[Way], observed: Mapping[Key, KernelObject]) -> tuple[list[Step], tuple[str, ...]]:
    """What makes the observed objects as these ways have them, and what of others is in the way of a link."""
    ways = tuple(ways)
    withheld = frozenset(key for way in ways for key in way.withheld)
    planned = plan((thing for way in ways for thing in way.things), observed)
    without = {str(key[2]) for key in withheld if key[0] is Link and key not in observed}

    def may_take(step: Step) -> bool:
        if step.verb is Verb.REMOVE:
            return True
        return step.thing.key not in withheld and getattr(step.thing, "link", "") not in without

    return [step for step in planned.steps if may_take(step)], planned.conflicts


def way_conditions(troubles: Iterable[Trouble]) -> Iterator[Condition]:
    """Each condition once, with the first of what it is true for."""
    by_condition: defaultdict[str, list[Trouble]] = defaultdict(list)
    for trouble in troubles:
        by_condition[trouble.condition].append(trouble)
    for name, found in by_condition.items():
        told = several([it.words for it in found], TOLD_MAX)
        yield Condition(name, status=True, reason=found[0].reason, message=told + _HELP[name])


_HELP = {
    PEER_NOT_ON_LINK: ". Routes want all nodes on one link; where they are not, take mode: vxlan",
    PEER_WITHOUT_ADDRESS: ". Give each node an underlay address of each IP version that the pools have",
    UNDERLAY_MISSING: ". Give it the address, or say another one (cluster: underlay)",
    FOREIGN_WAY: ". It is not netplumb's, so it stays; remove it where the workloads there are to be reached",
}
