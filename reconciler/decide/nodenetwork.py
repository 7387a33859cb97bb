"""PURE: what the node's network means for workloads: which addresses are somebody's, which pools overlap it, how large
packets may be, and whose address they leave with.

A less specific route overlaps nothing, through whatever it leads: the way to a workload is the more specific one. What
is as specific as a pool, or more, is cut off where a workload has an address of it, and so is a connected network. A
local prefix is the node's own however large it is: its table is asked before that of the ways to workloads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import collapse_addresses, ip_network

from netplumb.models.base import IPAddress, IPNetwork, is_within
from netplumb.models.errors import AlreadyHeld, InvalidRequest, Refusal
from netplumb.models.kernel import RT_TABLE_LOCAL, RT_TABLE_MAIN
from netplumb.models.network import Pool
from netplumb.models.nodenetwork import (
    Connected,
    Crossing,
    Gateway,
    NetworkFacts,
    NodeNetwork,
    NodeRoute,
    Overlap,
    Uplink,
)
from netplumb.models.status import Condition
from netplumb.models.words import several
from netplumb.reconciler.decide.ownership import is_our_link
from netplumb.reconciler.decide.render.hostroutes import HOST_ROUTE_METRIC_V6
from netplumb.reconciler.decide.render.policy import place
from netplumb.reconciler.decide.sending import ended_ways, ending_rules, leading_rules, narrow_ways, unused_main
from netplumb.reconciler.decide.uplinks import (
    has_own,
    in_use,
    is_as_wide,
    is_way_out,
    link_local_sources,
    sources,
    tables,
    uplink_mtu,
)

POOL_OVERLAP = "PoolOverlap"
TOLD_MAX = 20

Names = Mapping[int, str]


def surveyed(facts: NetworkFacts, pools: Sequence[Pool], cluster: Sequence[IPNetwork] = ()) -> NodeNetwork:
    """`cluster` are the prefixes of all nodes' workloads together, where there is one."""
    names = {index: link.name for index, link in facts.links.items() if not is_our_link(link)}
    routes, aside = (
        [route for route in found if all(hop.index in names for hop in route.hops)]
        for found in (facts.routes, facts.aside)
    )
    connected = tuple(_connected(facts, routes, names))
    next_hops: dict[IPAddress, str] = {}
    for route in (*routes, *aside):
        for hop in route.hops:
            if hop.gateway is not None:
                next_hops.setdefault(hop.gateway, f"the next hop of the node's route {_words(route, names)}")
    ways_out = {hop.index for route in routes if is_way_out(route) for hop in route.hops}
    ways = frozenset((names[hop.index], it.dst.version) for it in routes if is_way_out(it) for hop in it.hops)
    prefixes = [pool.cidr for pool in pools]
    own = {version for version in (4, 6) if has_own(facts, version, names)}
    before = tuple(_before(facts, aside, pools, names))
    outdone = {it.dst.network_address: _led(it, names) for it in _outdoing(facts, names)}
    inside = {
        pool.prefix: [
            *_inside(pool, facts, routes, connected, next_hops, names),
            *_inside_before(pool, before),
        ]
        for pool in pools
    }
    return NodeNetwork(
        own={it.ip: f"the node's own, on {names[it.index]}" for it in facts.addresses if it.index in names},
        since={it.ip: it.since for it in facts.addresses if it.index in names},
        foreign=frozenset(
            (it.ip, names[it.index]) for it in facts.addresses if it.index in names and it.usable and not it.ours
        ),
        local=tuple((network, names[index]) for network, index in facts.local if index in names),
        next_hops=next_hops,
        ended=frozenset(_ended(facts)),
        outdone=outdone,
        before=before,
        ending_rules=tuple(ending_rules(facts, prefixes)),
        leading_rules=tuple(leading_rules(facts, prefixes)),
        ended_ways=tuple(it for it in ended_ways(facts, prefixes) if is_as_wide(it.route.dst)),
        connected=connected,
        overlaps=tuple(overlap for prefix in inside for overlap, _ in inside[prefix]),
        taken={pool.prefix: _stretches(pool, inside[pool.prefix]) for pool in pools},
        sources=(*sources(facts, routes, names, pools), *link_local_sources(facts, routes, names)),
        uplinks=frozenset(names[index] for index in ways_out),
        ways=ways,
        best=frozenset((names[hop.index], it.dst.version) for it in in_use(routes) for hop in it.hops),
        without_source=frozenset(way for way in ways if way[1] not in own),
        unused_main=tuple(unused_main(facts, prefixes)),
        narrow_ways={prefix: _words(route, names) for prefix, route in narrow_ways(facts.rules, routes, prefixes)},
        gateways=tuple(_gateways(facts, routes, pools, names)),
        uplink_mtu=uplink_mtu(routes, facts.links),
        shown_uplinks=tuple(_shown(index, facts) for index in sorted(ways_out, key=names.__getitem__)),
        complete=facts.complete,
        crossing=tuple(_crossing(facts, routes, names, cluster)),
        mtus={names[it.index]: facts.links[it.index].mtu or 0 for it in facts.addresses if it.index in names}
        if cluster
        else {},
    )


def _gateways(
    facts: NetworkFacts, routes: Sequence[NodeRoute], pools: Sequence[Pool], names: Names
) -> Iterable[Gateway]:
    """The kernel does not leave the best way for another because its gateway is silent."""
    reached = {RT_TABLE_MAIN, *tables(facts, pools)}
    hops = (hop for it in in_use(routes) if it.table in reached for hop in it.hops)
    return dict.fromkeys(Gateway(it.gateway, names[it.index], it.index) for it in hops if it.gateway is not None)


def _crossing(
    facts: NetworkFacts, routes: Sequence[NodeRoute], names: Names, cluster: Sequence[IPNetwork]
) -> Iterator[Crossing]:
    """Less specific ones lead nothing away from the ways to other nodes."""
    found = [
        *(Crossing(it.dst, it.rank, _words(it, names)) for it in routes if it.table == RT_TABLE_MAIN),
        *(Crossing(it.dst, it.rank, str(it)) for it in facts.ending if it.table == RT_TABLE_MAIN),
    ]
    return (it for it in found if any(is_within(it.dst, prefix) for prefix in cluster))


def _shown(index: int, facts: NetworkFacts) -> Uplink:
    link = facts.links[index]
    return Uplink(link.name, tuple(it.ip for it in facts.addresses if it.index == index), link.mtu or 0)


def _words(route: NodeRoute, names: Names) -> str:
    dst = str(route.dst) if route.dst.prefixlen else "default"
    ways = [
        f"via {hop.gateway} dev {names[hop.index]}" if hop.gateway else f"dev {names[hop.index]}" for hop in route.hops
    ]
    table = "local" if route.table == RT_TABLE_LOCAL else str(route.table)
    src = f"from {route.src} " if route.src is not None else ""
    return f"{dst} {src}{', '.join(ways)}{f' table {table}' if route.table != RT_TABLE_MAIN else ''}"


def _led(route: NodeRoute, names: Names) -> str:
    return f"led elsewhere by the node's route {_words(route, names)}, which goes before netplumb's"


def _outdoing(facts: NetworkFacts, names: Names) -> Iterator[NodeRoute]:
    """With the metric of ours, an IPv6 route takes some of what is sent there."""
    for it in facts.outdoing:
        if all(hop.index in names for hop in it.hops) and (it.dst.version == 4 or it.rank <= HOST_ROUTE_METRIC_V6):
            yield it


def _before(
    facts: NetworkFacts, aside: Iterable[NodeRoute], pools: Sequence[Pool], names: Names
) -> Iterator[tuple[IPNetwork, str]]:
    """What the local table leads elsewhere, or ends: it is asked before the rules that lead to our routes, unless its
    own rule was moved behind them."""
    prefixes = [pool.cidr for pool in pools]
    first = {
        version
        for version in (4, 6)
        if any(
            it.version == version and it.looks_up and it.table == RT_TABLE_LOCAL and it.preference < at
            for at in (place(facts.rules, prefixes, version),)
            for it in facts.rules
        )
    }
    for route in aside:
        if route.table == RT_TABLE_LOCAL and route.dst.version in first:
            yield route.dst, _led(route, names)
    for end in facts.ending:
        if end.table == RT_TABLE_LOCAL and end.type != "throw" and end.dst.version in first:
            yield end.dst, f"ended by the node's route {end}, which goes before netplumb's"


def _inside_before(pool: Pool, before: Iterable[tuple[IPNetwork, str]]) -> Iterator[tuple[Overlap, IPNetwork]]:
    for network, words in before:
        if network.overlaps(pool.cidr):
            all_of_it = network.prefixlen <= pool.cidr.prefixlen
            yield Overlap(pool.prefix, f"{network}, {words}", cuts=False, covers=all_of_it), network


def _connected(facts: NetworkFacts, routes: Sequence[NodeRoute], names: Names) -> Iterator[Connected]:
    found: dict[tuple[IPNetwork, str], None] = {}
    for address in facts.addresses:
        if not address.ours and address.index in names and address.network != ip_network(address.ip):
            found.setdefault((address.network, names[address.index]))
    of_addresses = set(found)
    own = {ip_network(address.ip) for address in facts.addresses}
    for route in routes:
        if route.dst not in own and not is_way_out(route) and all(hop.gateway is None for hop in route.hops):
            for hop in route.hops:
                found.setdefault((route.dst, names[hop.index]))
    kernels = {(route.dst, names[hop.index]) for route in routes if route.connected for hop in route.hops}
    for network, link in found:
        yield Connected(network, link, (network, link) in of_addresses or (network, link) in kernels)


def _inside(
    pool: Pool,
    facts: NetworkFacts,
    routes: Sequence[NodeRoute],
    connected: Sequence[Connected],
    next_hops: Mapping[IPAddress, str],
    names: Names,
) -> Iterator[tuple[Overlap, IPNetwork]]:
    """What is in a pool, or around it and connected, each with its network."""
    for address in facts.addresses:
        if not address.ours and address.ip in pool.cidr and address.index in names:
            what = f"the node's address {address.ip} on {names[address.index]}"
            yield Overlap(pool.prefix, what, cuts=False), ip_network(address.ip)
    for network, index in facts.local:
        if index in names and network.version == pool.cidr.version and network.overlaps(pool.cidr):
            all_of_it = network.prefixlen <= pool.cidr.prefixlen
            what = f"the node's local prefix {network} on {names[index]}"
            yield Overlap(pool.prefix, what, cuts=all_of_it, covers=all_of_it), network
    for it in connected:
        if it.of_address and it.network.overlaps(pool.cidr):
            yield Overlap(pool.prefix, f"the connected network {it.network} on {it.link}", cuts=True), it.network
    for route in routes:
        if route.table == RT_TABLE_MAIN and not route.connected and is_within(route.dst, pool.cidr):
            yield Overlap(pool.prefix, f"the node's route {_words(route, names)}", cuts=True), route.dst
    for ip in _ended(facts):
        if ip in pool.cidr:
            yield Overlap(pool.prefix, f"the node's route that ends the way to {ip}", cuts=False), ip_network(ip)
    for gateway, what in next_hops.items():
        if gateway in pool.cidr:
            yield Overlap(pool.prefix, f"{gateway}, {what}", cuts=False), ip_network(gateway)


def _ended(facts: NetworkFacts) -> Iterator[IPAddress]:
    """Addresses whose way ends before ours, or in its place."""
    for it in facts.ending:
        least = 0 if it.dst.version == 4 else HOST_ROUTE_METRIC_V6
        if it.table == RT_TABLE_MAIN and it.dst.num_addresses == 1 and it.rank <= least and not it.behind:
            yield it.dst.network_address


def _stretches(pool: Pool, inside: Sequence[tuple[Overlap, IPNetwork]]) -> tuple[tuple[int, int], ...]:
    """What of a pool is not its own to give, in order. Where all of it is connected or routed, it was given knowingly;
    but nothing that is sent to a local prefix comes to a workload."""
    if any(overlap.covers for overlap, _ in inside):
        return ((int(pool.cidr.network_address), int(pool.cidr.broadcast_address)),)
    parts = [it for _, it in inside if is_within(it, pool.cidr) and it != pool.cidr]
    merged = collapse_addresses(parts)  # type: ignore[type-var]  # all are of the pool's family
    return tuple((int(it.network_address), int(it.broadcast_address)) for it in merged)


def refusal(address: IPAddress, pool: Pool | None, known: NodeNetwork, *, allow_foreign: bool) -> Refusal | None:
    """Why a static address must not be a workload's. `allow_foreign` says that one in a connected network is meant; a
    pool says so of its addresses, less of what is more specific than it."""
    if whose := whose_else(address, known):
        return AlreadyHeld(f"address {address} is {whose}")
    here = [it for it in known.connected if address in it.network]
    for it in here:
        if it.of_address and (what := _unusable(address, it.network)):
            return InvalidRequest("addresses", f"{address} is the {what} address of {it.network} on {it.link}")
    least = pool.cidr.prefixlen if pool is not None else -1
    closest = max(here, key=lambda it: it.network.prefixlen, default=None)
    if closest is None or allow_foreign or closest.network.prefixlen <= least:
        return None
    return InvalidRequest(
        "addresses",
        f"{address} is in {closest.network}, which the node is connected to on {closest.link}: it may be another "
        "host's; say allow_foreign_address (--allow-foreign-address) if it is meant",
    )


def _unusable(address: IPAddress, network: IPNetwork) -> str:
    if network.prefixlen >= network.max_prefixlen - 1:
        return ""
    if address == network.network_address:
        return "network" if network.version == 4 else "subnet-router anycast"
    return "broadcast" if network.version == 4 and address == network.broadcast_address else ""


def whose_else(address: IPAddress, known: NodeNetwork) -> str:
    """Who else has an address that a workload has; empty if nobody."""
    if (whose := known.own.get(address) or known.next_hops.get(address)) is not None:
        return whose
    if address in known.ended:
        return "ended by a route of the node (blackhole, unreachable, prohibit or throw)"
    inside = ((network, link) for network, link in known.local if address in network)
    if own := next((f"the node's own, in the local prefix {network} on {link}" for network, link in inside), ""):
        return own
    return next((words for network, words in known.before if address in network), "")


def lost_to(address: IPAddress, known: NodeNetwork) -> str:
    """To whom what is sent to a workload goes, which has this address and its routes; empty if to the workload."""
    return whose_else(address, known) or known.outdone.get(address, "")


def network_conditions(known: NodeNetwork) -> Iterator[Condition]:
    """Only what is in the way now: what is in a pool and not the pool's to give."""
    if not known.overlaps:
        return
    told = several([f"pool {it.pool} overlaps {it.what}" for it in known.overlaps], TOLD_MAX)
    message = (
        f"{told}: this is given to no workload; where one has its address already, what is behind a network "
        "or a route is cut off, or the workload is, as its condition AddressTaken says. Take another pool, or remove "
        "it from the node"
    )
    yield Condition(POOL_OVERLAP, status=True, reason="ForeignInPool", message=message)
