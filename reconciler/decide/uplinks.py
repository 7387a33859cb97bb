"""PURE: the node's ways out: how large a packet may be to pass by any of them, and whose address it leaves with.

Masquerading chooses among the addresses of the interface and does not ask the route for its preferred source. Where
the two differ, what a workload sends is given the address that the node itself would send from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_network

from netplumb.models.base import IPAddress, IPNetwork
from netplumb.models.cluster import ClusterMode, ClusterView
from netplumb.models.fields import MTU_MIN
from netplumb.models.kernel import Link
from netplumb.models.network import Pool
from netplumb.models.nodenetwork import NetworkFacts, NodeNetwork, NodeRoute, Source

VXLAN_OVERHEAD = {4: 50, 6: 70}
"""What the outer headers take of a packet: Ethernet, IP, UDP and VXLAN, by the underlay's IP version."""

SOURCES_MAX = 256
"""Rules that the first packet of a connection is compared with, at most; the least specific ones are kept."""

_ALL_V6 = ip_network("::/0")
_WAYS_OUT = {4: 1, 6: 3}
"""How specific a default route may be: a VPN has 0.0.0.0/1 and 128.0.0.0/1, some have 2000::/3."""


def is_way_out(route: NodeRoute) -> bool:
    return is_as_wide(route.dst)


def is_as_wide(dst: IPNetwork) -> bool:
    """Whether it is, or may be half of, all that is out there."""
    return dst.prefixlen <= _WAYS_OUT[dst.version]


def in_use(routes: Iterable[NodeRoute]) -> Iterator[NodeRoute]:
    """Of the ways out to each destination those of the lowest metric."""
    by_destination: defaultdict[tuple[int, IPNetwork], list[NodeRoute]] = defaultdict(list)
    for route in routes:
        if is_way_out(route):
            by_destination[(route.table, route.dst)].append(route)
    for alike in by_destination.values():
        least = min(route.metric for route in alike)
        yield from (route for route in alike if route.metric == least)


def uplink_mtu(routes: Iterable[NodeRoute], links: Mapping[int, Link]) -> int | None:
    """The smallest MTU of the ways out in use, with all their hops."""
    mtus = [
        min(link.mtu, route.mtu or link.mtu)
        for route in in_use(routes)
        for hop in route.hops
        if (link := links[hop.index]).mtu
    ]
    return min(mtus, default=None)


def mtu_with_ways(view: ClusterView | None, known: NodeNetwork) -> int | None:
    """What passes by the ways out and by those to other nodes; None where either is not known. With less than IPv6
    needs, workloads would lose it among each other for the sake of an uplink that has none."""
    found = _least_of_ways(view, known)
    return max(found, MTU_MIN) if found is not None else None


def _least_of_ways(view: ClusterView | None, known: NodeNetwork) -> int | None:
    if view is None or view.mode is ClusterMode.NONE:
        return known.uplink_mtu
    addresses, local = view.underlay.addresses, view.underlay.v4 or view.underlay.v6
    overhead = VXLAN_OVERHEAD[local.version] if view.mode is ClusterMode.VXLAN and local is not None else 0
    under = [known.mtus[link] - overhead for ip, link in known.foreign if ip in addresses and known.mtus.get(link)]
    return min((*under, known.uplink_mtu or under[0])) if under else None


def sources(
    facts: NetworkFacts, routes: Iterable[NodeRoute], names: Mapping[int, str], pools: Sequence[Pool]
) -> Iterator[Source]:
    """Where the node's own source differs from masquerading's, the most specific first. Of tables that rules lead to
    the first that workloads' packets come to counts."""
    order = {table: place for place, table in reversed([*enumerate(tables(facts, pools))])}
    only = _only_addresses(facts)
    kept: list[Source] = []
    seen = set()
    for route in sorted(routes, key=lambda it: (it.dst.prefixlen, order.get(it.table, len(order)), it.metric)):
        for hop in route.hops:
            link, place = names[hop.index], (hop.index, route.dst)
            if place in seen:
                continue
            seen.add(place)
            ip = None if route.connected or only.get((hop.index, route.dst.version)) == route.source else route.source
            if ip != _enclosing(kept, link, route.dst):
                kept.append(Source(link, route.dst, ip))
        if len(kept) >= SOURCES_MAX:
            break
    return reversed(kept)


def link_local_sources(facts: NetworkFacts, routes: Iterable[NodeRoute], names: Mapping[int, str]) -> Iterator[Source]:
    """Where the node has no IPv6 address but those that are ours and of its links. The kernel prefers a pool's for its
    reach, deprecated or not; nobody outside can answer that one, and who is on the link can the other."""
    if not has_own(facts, 6, names):
        indexes = {hop.index for route in routes if route.dst.version == 6 for hop in route.hops}
        for index in sorted(indexes & facts.link_locals.keys()):
            yield Source(names[index], _ALL_V6, facts.link_locals[index])


def has_own(facts: NetworkFacts, version: int, names: Mapping[int, str]) -> bool:
    """Whether the node has an address of the family that others gave it, or will have it in a moment."""
    return any(it.ip.version == version and not it.ours and it.index in names for it in facts.addresses)


def tables(facts: NetworkFacts, pools: Sequence[Pool]) -> Iterator[int]:
    """In the order in which a workload's packet that nobody marked comes to them."""
    for rule in facts.rules:
        plain = not (rule.inverted or rule.fwmask or rule.iif or rule.oif)
        here = plain and (rule.src is None or any(pool.cidr.overlaps(rule.src) for pool in pools))
        if rule.looks_up and (here or rule.is_for_unmarked):
            yield rule.table


def _only_addresses(facts: NetworkFacts) -> dict[tuple[int, int], IPAddress | None]:
    """The address of each link and family that has one alone: there is nothing to choose."""
    found: dict[tuple[int, int], IPAddress | None] = {}
    for address in facts.addresses:
        place = (address.index, address.ip.version)
        found[place] = None if place in found else address.ip
    return found


def _enclosing(kept: Sequence[Source], link: str, dst: IPNetwork) -> IPAddress | None:
    """What holds for a destination by what was kept so far, the least specific first."""
    for source in reversed(kept):
        if source.link == link and source.dst.version == dst.version and source.dst.overlaps(dst):
            return source.ip
    return None
