"""PURE: the node's ways out and its own network."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from netplumb.models.fields import MTU_MIN
from netplumb.models.kernel import RT_TABLE_MAIN
from netplumb.models.nodenetwork import Hop, NodeRoute
from netplumb.models.nodestate import LinkState
from netplumb.models.words import link_switch, no_carrier, several
from netplumb.reconciler.decide.nexthops import unfound
from netplumb.reconciler.decide.nodenetwork import surveyed
from netplumb.reconciler.decide.uplinks import is_way_out, tables
from netplumb.reconciler.doctor.facts import Facts
from netplumb.reconciler.doctor.findings import Finding, broken, printable, risk

_STRICT = 1
_LOOPBACK = 1
_PATHS_TOLD = 5
_CUT = "workloads reach nothing beyond this node by it, and nobody reaches them"


def _by_index(facts: Facts) -> dict[int, LinkState]:
    return {link.index: link for link in facts.links}


def _ways_out(facts: Facts, version: int, *, by: Collection[int] = ()) -> dict[int, int]:
    """The interfaces of the ways out of a family, each with its least metric: by any table, or by some."""
    known = surveyed(facts.network, facts.settings.pools)
    names = {link.name: link.index for link in facts.links}
    indexes = {names[name] for name in known.uplinks if name in names}
    found: dict[int, int] = {}
    for route in facts.network.routes:
        if is_way_out(route) and route.dst.version == version and (not by or route.table in by):
            for hop in route.hops:
                if hop.index in indexes:
                    found[hop.index] = min(route.metric, found.get(hop.index, route.metric))
    return found


def _addressed(facts: Facts, version: int) -> set[int]:
    """Interfaces of others with an address of the family."""
    return {
        it.index for it in facts.network.addresses if it.ip.version == version and not it.ours and it.index != _LOOPBACK
    }


def gone_or_down(facts: Facts) -> Iterator[Finding]:
    links = _by_index(facts)
    ways = {index for version in (4, 6) for index in _ways_out(facts, version)}
    for index in sorted(ways):
        if (link := links.get(index)) is not None and not link.running:
            yield broken(
                "uplink-down",
                f"the uplink {link.name} has no carrier",
                _CUT,
                no_carrier(link.name),
            )
    if ways:
        return
    addressed = _addressed(facts, 4) | _addressed(facts, 6)
    for index in sorted(addressed):
        if (link := links.get(index)) is not None and not link.up:
            heal = f"ip link set {link.name} up, and its default route again"
            yield broken("uplink-down", f"the interface {link.name} is down", _CUT, heal)
    if facts.links and not addressed:
        yield broken(
            "uplink-gone",
            "no interface of the node has an address, but for the loopback and workloads' links",
            "the uplink is gone, or lost its addresses: workloads reach nothing beyond this node",
            "ip -br link; then have the node's network configured again, as by: systemctl restart systemd-networkd",
        )


def gateway_silent(facts: Facts) -> Iterator[Finding]:
    """All that leaves by a default route is lost behind a gateway that is not there; of several the best counts, since
    the kernel does not leave it for another."""
    links = _by_index(facts)
    best = [route for route in facts.network.routes if is_way_out(route) and not _is_bettered(route, facts)]
    for it in facts.silent:
        routes = [route for route in facts.network.routes if Hop(it.index, it.ip) in route.hops]
        ways = [route for route in routes if is_way_out(route)]
        link = links[it.index]
        is_best = any(way in best for way in ways)
        of = f"of the route to {routes[0].dst}"
        if ways:
            of = "of the default route" if is_best else "of a default route that another comes before"
        why, heal = unfound(it, link, links, facts.ruleset, facts.programs)
        make = broken if is_best else risk
        yield make(
            "gateway-silent",
            printable(f"the gateway {it.ip} on {link.name}, {of}, {why}"),
            "what leaves by it is lost: workloads reach nobody behind it, and nobody reaches them from there",
            printable(heal),
        )


def _is_bettered(route: NodeRoute, facts: Facts) -> bool:
    return any(
        other.dst == route.dst and other.table == route.table and other.metric < route.metric
        for other in facts.network.routes
    )


def no_default_route(facts: Facts) -> Iterator[Finding]:
    """In a table that workloads' packets come to. Of a family only where an interface has an address of it: a node may
    well be without IPv6."""
    reached = {RT_TABLE_MAIN, *tables(facts.network, facts.settings.pools)}
    for version in (4, 6):
        used = any(pool.version == version for pool in facts.settings.pools) or any(
            address.version == version for it in facts.attachments for address in it.addresses
        )
        if used and _addressed(facts, version) and not _ways_out(facts, version, by=reached):
            flag = " -6" if version == 6 else ""
            yield broken(
                "no-default-route",
                f"the node has no default route for IPv{version}",
                "workloads reach what the node is connected to, and nothing else",
                f"ip{flag} route add default via GATEWAY dev {_one_of(facts, version)}; and see who should have set it",
            )


def no_ipv6(facts: Facts) -> Iterator[Finding]:
    """A node may well be without. One that lost it, as the kernel takes IPv6 addresses away with each fall of a link,
    is told from that by what workloads send out in vain."""
    having = sum(any(address.version == 6 for address in it.addresses) for it in facts.attachments)
    ways, links = _ways_out(facts, 4), _by_index(facts)
    if having and ways and facts.unrouted_v6 and not _addressed(facts, 6) and not facts.ipv6_off:
        names = [links[index].name for index in sorted(ways)]
        yield risk(
            "no-ipv6",
            f"no interface of the node has an IPv6 address, and {having} attachments have one; IPv4 leaves by "
            f"{', '.join(names)}; {facts.unrouted_v6} packets found no way out by IPv6",
            "by IPv6 workloads reach each other and the node, and nothing beyond it",
            f"if it should have: sysctl -w {link_switch(6, names[0], 'disable_ipv6')}=0, and have its address and "
            "default route set up again; else --skip no-ipv6",
        )


def _one_of(facts: Facts, version: int) -> str:
    """The link that the default route should lead by, where there is but one."""
    names = [link.name for link in facts.links if link.index in _addressed(facts, version)]
    return names[0] if len(names) == 1 else "UPLINK"


def reverse_path(facts: Facts) -> Iterator[Finding]:
    """Strict filtering drops what comes in by an interface that the way back does not lead through. With one way out
    there is no other; with several, all but the best of them are in question."""
    links = _by_index(facts)
    ways = _ways_out(facts, 4)
    best = _best(facts)
    for index in sorted(_addressed(facts, 4)):
        link = links.get(index)
        if link is None or link.rp_filter != _STRICT or not ways or index in best:
            continue
        own = [it.ip for it in facts.network.addresses if it.index == index]
        if index not in ways and not any(rule.answers_for(ip) for rule in facts.around.rules for ip in own):
            continue  # a network of its own, whose hosts the way back leads to
        yield broken(
            "reverse-path-filter",
            f"rp_filter is strict on {link.name}, and the best default route leads elsewhere",
            "what comes in there from beyond its network is dropped without a word: published ports are not reached "
            "by that uplink, and answers that come back by it are lost",
            f"sysctl -w {link_switch(4, link.name, 'rp_filter')}=2",
        )


def _best(facts: Facts) -> set[int]:
    """The interfaces of the best way out by IPv4, of the main table where that has one."""
    by_main = _ways_out(facts, 4, by=(RT_TABLE_MAIN,)) or _ways_out(facts, 4)
    return {index for index, metric in by_main.items() if metric == min(by_main.values())}


def reverse_path_of_some(facts: Facts) -> Iterator[Finding]:
    """On the best uplink strict filtering drops only whom a route of their own leads elsewhere to. That is as it should
    be where nobody of them comes in by it; somebody did, where the kernel counted drops."""
    links = _by_index(facts)
    for index in sorted(_best(facts)) if facts.filtered_v4 else ():
        link = links.get(index)
        elsewhere = [
            f"{route.dst} by {links[route.hops[0].index].name}"
            for route in facts.network.routes
            if _is_of_some(route) and not any(hop.index == index or hop.index not in links for hop in route.hops)
        ]
        if link is not None and link.rp_filter == _STRICT and elsewhere:
            yield risk(
                "reverse-path-filter",
                f"rp_filter is strict on {link.name}, routes lead to {several(elsewhere, _PATHS_TOLD)}, and such "
                f"filters dropped {facts.filtered_v4} packets since the boot",
                f"who is there and comes in by {link.name} is dropped without a word: published ports are not reached, "
                "and answers are lost",
                f"sysctl -w {link_switch(4, link.name, 'rp_filter')}=2",
            )


def _is_of_some(route: NodeRoute) -> bool:
    plain = route.dst.version == 4 and route.table == RT_TABLE_MAIN and bool(route.hops)
    return plain and not (route.connected or is_way_out(route))


def refused_addresses(facts: Facts) -> Iterator[Finding]:
    links = _by_index(facts)
    for it in facts.refused:
        name = links[it.index].name if it.index in links else f"link {it.index}"
        yield broken(
            "duplicate-address",
            f"another host on the network of {name} has the node's address {it.ip}",
            "the kernel does not use such an address: what should leave with it, does not",
            f"take it from the other host, then: ip address del {it.ip} dev {name}, and add it again",
        )


def shared_addresses(facts: Facts) -> Iterator[Finding]:
    """Of IPv4, which the kernel does not look for itself, and uses all the same."""
    links = _by_index(facts)
    for it in facts.shared:
        name = links[it.index].name
        yield broken(
            "duplicate-address",
            f"another host on the network of {name} has the node's address {it.ip} too: {', '.join(it.macs)}",
            "what is sent to that address, answers to workloads included, reaches now one and now the other",
            f"take it from the other host, or from this one: ip address del {it.ip}/{it.length} dev {name}",
        )


def pool_overlaps(facts: Facts) -> Iterator[Finding]:
    for overlap in surveyed(facts.network, facts.settings.pools).overlaps:
        make = broken if overlap.cuts else risk
        yield make(
            "pool-overlap",
            f"pool {overlap.pool} overlaps {overlap.what}",
            "workloads with addresses of it cut that off, or it them; a daemon started anew with such a pool is refused"
            if overlap.cuts
            else "that address is given to no workload",
            "take another prefix for the pool, or remove it from the node",
        )


def mtu_too_large(facts: Facts) -> Iterator[Finding]:
    """What the node sets by itself is the uplinks' smallest, so that a larger one was asked for."""
    known = surveyed(facts.network, facts.settings.pools)
    uplink, wanted = known.uplink_mtu, facts.settings.mtu
    why = "where ICMP does not pass larger packets are lost: connections open, and hang with the first data"
    if uplink and wanted > uplink:
        heal = f"leave the setting mtu out, or set it to {uplink}"
        yield risk("mtu", f"the setting mtu is {wanted}, and the uplink takes {uplink}", why, heal)
    if uplink and not wanted and uplink < MTU_MIN:
        what = f"the uplink takes packets of {uplink} bytes, and workloads' interfaces have {MTU_MIN}, as IPv6 needs"
        yield risk("mtu", what, why, f"give the uplink an MTU of {MTU_MIN} or more, and what is behind it too")
    for it in facts.attachments:
        if uplink and it.spec.mtu > uplink:
            heal = f"attach {it.spec.workload_id} again with --mtu {uplink}"
            yield risk("mtu", f"{it.key} asks for an MTU of {it.spec.mtu}, and the uplink takes {uplink}", why, heal)
    most = wanted or uplink or 0
    smaller = [it for it in facts.path_mtus if it.mtu < most]
    for path in smaller[:_PATHS_TOLD]:
        yield risk(
            "mtu",
            f"the way to {path.dst} takes packets of {path.mtu} bytes at most, and workloads' interfaces have {most}",
            why,
            f"set mtu: {path.mtu}, or for that way alone: ip route add {path.dst} via GATEWAY mtu {path.mtu}",
        )
