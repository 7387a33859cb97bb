"""Reads the node's network beside what is ours: addresses, routes, next hops.

A node may carry the routes of the whole internet. So each table is read up to a bound, over a channel of its own that
is closed where the bound is met; what the kernel, people and their tools set is then asked for by itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network
from struct import Struct, unpack_from

from netplumb.models.base import IPAddress, IPNetwork
from netplumb.models.kernel import ADDRESS_PROTOCOL, RT_PROTOCOL, Link, Scope
from netplumb.models.nodenetwork import EndingRoute, Hop, NetworkFacts, NodeAddress, NodeRoute
from netplumb.models.policy import ForeignRule
from netplumb.reconciler.kernel.netlink.channel import Bound, Channel
from netplumb.reconciler.kernel.netlink.wire import Buffer, attributes
from netplumb.reconciler.kernel.rtnetlink import decode, dumps, encode, encodelinks
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt

MESSAGES_MOST = 50_000
TABLES_MOST = 64
_FAMILIES = (rt.AF_INET, rt.AF_INET6)
_BOOT, _STATIC, _RA, _DHCP = 3, 4, 9, 16  # rt_protos of iproute2
_BY_PEOPLE = (rt.RTPROT_KERNEL, _BOOT, _STATIC, _RA, _DHCP)
_ENDING = {
    rt.RTN_BLACKHOLE: "blackhole",
    rt.RTN_UNREACHABLE: "unreachable",
    rt.RTN_PROHIBIT: "prohibit",
    rt.RTN_THROW: "throw",
}
_CACHEINFO = Struct("=IIII")  # struct ifa_cacheinfo
_NEXT_HOP_OF_GROUP = Struct("=IBBH")  # struct nexthop_grp


def read_network(most: int = MESSAGES_MOST) -> NetworkFacts:
    """Opened in the node's namespace; may take as long as `most` messages of each table take to be read. Raises
    Retryable when the kernel does not answer."""
    with Channel() as channel:
        rules = dumps.foreign_rules(channel)
        next_hops = dict(_next_hops(channel))
        told = [body for _, body in channel.dump(rt.RTM_GETADDR, encode.dump_addresses(0))]
    addresses = [it for body in told for it in _address(body)]
    tables = _tables(rules)
    bodies, complete = _bodies(tables, most)
    local, local_complete = _bounded(
        encode.dump_routes(rt.AF_UNSPEC, table=rt.RT_TABLE_LOCAL, type_=rt.RTN_LOCAL), most
    )
    found = dict.fromkeys(route for body in bodies if (route := _route(body, next_hops)) is not None)
    routes = tuple(route for route in found if route.table in tables)
    aside = tuple(route for route in found if route.table not in tables)
    prefixes = [prefix for body in local if (prefix := _local_prefix(body)) is not None]
    indexes = {it.index for it in addresses} | {index for _, index in prefixes}
    indexes |= {hop.index for route in found for hop in route.hops}
    return NetworkFacts(
        tuple(addresses),
        routes,
        tuple(prefixes),
        tuple(rules),
        aside,
        tuple(dict.fromkeys(_endings(bodies))),
        tuple(_outdoing(bodies, next_hops)),
        _links(indexes),
        complete and local_complete,
        dict(it for body in reversed(told) if (it := _link_local(body)) is not None),
    )


def _tables(rules: Iterable[ForeignRule]) -> list[int]:
    named = dict.fromkeys(rule.table for rule in rules if rule.looks_up and rule.table != rt.RT_TABLE_LOCAL)
    return [rt.RT_TABLE_MAIN, *(table for table in named if table != rt.RT_TABLE_MAIN)][:TABLES_MOST]


def _bodies(tables: Iterable[int], most: int) -> tuple[list[Buffer], bool]:
    """The messages of all routes, and whether those of these tables are all there are. Where there are too many, of the
    other tables only what people set is had."""
    found: list[Buffer] = []
    complete = True
    for family in _FAMILIES:
        all_bodies, whole = _bounded(encode.dump_routes(family, table=rt.RT_TABLE_UNSPEC), most)
        if whole:
            found += all_bodies
            continue
        for table in tables:
            bodies, whole = _bounded(encode.dump_routes(family, table=table), most)
            found += bodies
            complete &= whole
        for protocol in _BY_PEOPLE:
            found += _bounded(encode.dump_routes(family, table=rt.RT_TABLE_UNSPEC, protocol=protocol), most)[0]
    return found, complete


def _bounded(body: bytes, most: int) -> tuple[list[Buffer], bool]:
    with Channel() as channel:
        found, whole = channel.dump_at_most(rt.RTM_GETROUTE, body, Bound(most))
    return [message for _, message in found], whole


def _links(indexes: Iterable[int]) -> dict[int, Link]:
    asked = sorted(indexes)
    with Channel() as channel:
        replies = channel.transact([encodelinks.get_link_by_index(index) for index in asked])
    # One that is not there has gone since.
    return {
        index: decode.link(Scope.NODE, reply.parts[0][1])[0]
        for index, reply in zip(asked, replies, strict=True)
        if reply.parts
    }


def _link_local(body: Buffer) -> tuple[int, IPAddress] | None:
    family, _, flags, _, index = rt.IFADDRMSG.unpack_from(body)
    ip = attributes(body, rt.IFADDRMSG.size).get(rt.IFA_ADDRESS)
    if family != rt.AF_INET6 or ip is None or flags & (rt.IFA_F_TENTATIVE | rt.IFA_F_DADFAILED):
        return None
    address = ip_address(bytes(ip))
    return (index, address) if address.is_link_local else None


def _address(body: Buffer) -> Iterator[NodeAddress]:
    _, prefix_len, low_flags, _, index = rt.IFADDRMSG.unpack_from(body)
    found = attributes(body, rt.IFADDRMSG.size)
    far = ip_address(bytes(found[rt.IFA_ADDRESS])) if rt.IFA_ADDRESS in found else None
    near = ip_address(bytes(found[rt.IFA_LOCAL])) if rt.IFA_LOCAL in found else far
    if near is None or near.is_loopback or (near.version == 6 and near.is_link_local):
        return
    protocol = found.get(rt.IFA_PROTO)
    ours = protocol is not None and protocol[0] == ADDRESS_PROTOCOL
    network = ip_network(((far or near).packed, prefix_len), strict=False)
    lifetimes = found.get(rt.IFA_CACHEINFO)
    since = _CACHEINFO.unpack_from(lifetimes)[2] if lifetimes is not None else 0
    flags = _u32(found.get(rt.IFA_FLAGS)) or low_flags
    usable = bool(flags & rt.IFA_F_OPTIMISTIC) or not flags & (rt.IFA_F_TENTATIVE | rt.IFA_F_DADFAILED)
    yield NodeAddress(near, network, index, ours, since, usable)


def _route(body: Buffer, next_hops: Mapping[int, tuple[Hop, ...]]) -> NodeRoute | None:
    """A unicast route of somebody else's; None for any other."""
    family, prefix_len, _, _, _, protocol, _, type_, flags = rt.RTMSG.unpack_from(body)
    if protocol == RT_PROTOCOL or type_ != rt.RTN_UNICAST or flags & rt.RTM_F_CLONED:
        return None
    found = attributes(body, rt.RTMSG.size)
    dst = _network(family, found.get(rt.RTA_DST), prefix_len)
    hops = tuple(_hops(found, flags, next_hops))
    if dst is None or dst.is_link_local or dst.is_multicast or not hops:
        return None
    source = found.get(rt.RTA_PREFSRC)
    metrics = attributes(found[rt.RTA_METRICS]) if rt.RTA_METRICS in found else {}
    return NodeRoute(
        dst,
        hops,
        _u32(found.get(rt.RTA_TABLE)),
        ip_address(bytes(source)) if source is not None else None,
        _u32(found.get(rt.RTA_PRIORITY)),
        _u32(metrics.get(rt.RTAX_MTU)),
        connected=protocol == rt.RTPROT_KERNEL and all(hop.gateway is None for hop in hops),
        src=_source(body, found),
    )


def read_ending(most: int = MESSAGES_MOST) -> list[EndingRoute]:
    """Those of others that end the way, of the namespace of the calling thread, up to a bound. Raises Retryable."""
    asked = (encode.dump_routes(rt.AF_UNSPEC, table=rt.RT_TABLE_UNSPEC, type_=type_) for type_ in _ENDING)
    return [end for dump in asked for body in _bounded(dump, most)[0] if (end := _ending(body)) is not None]


def _endings(bodies: Iterable[Buffer]) -> Iterator[EndingRoute]:
    """The kernel tells of IPv4 routes in the order in which it tries them; of IPv6 it tries all with one metric."""
    ours: set[tuple[IPNetwork, int, int]] = set()
    for body in bodies:
        if (end := _ending(body)) is not None:
            yield replace(end, behind=(end.dst, end.table, end.metric) in ours)
        elif rt.RTMSG.unpack_from(body)[5] == RT_PROTOCOL:
            ours.update(_place_v4(body))


def _outdoing(bodies: Iterable[Buffer], next_hops: Mapping[int, tuple[Hop, ...]]) -> Iterator[NodeRoute]:
    """Routes to single addresses that may go before ours: of IPv4 those that are tried first where ours is there, of
    IPv6 all, since there the metric decides, and whom a route is for."""
    first: defaultdict[tuple[IPNetwork, int, int], list[NodeRoute]] = defaultdict(list)
    for body in bodies:
        family, prefix_len, _, _, table, protocol, _, _, _ = rt.RTMSG.unpack_from(body)
        if table != rt.RT_TABLE_MAIN or prefix_len != (32 if family == rt.AF_INET else 128):
            continue
        if protocol == RT_PROTOCOL:
            yield from (it for place in _place_v4(body) for it in first.pop(place, ()))
        elif (route := _route(body, next_hops)) is not None:
            if route.dst.version == 6:
                yield route
            else:
                first[route.dst, route.table, route.metric].append(route)


def _place_v4(body: Buffer) -> Iterator[tuple[IPNetwork, int, int]]:
    family, prefix_len, *_ = rt.RTMSG.unpack_from(body)
    found = attributes(body, rt.RTMSG.size)
    dst = _network(family, found.get(rt.RTA_DST), prefix_len)
    if dst is not None and family == rt.AF_INET:
        yield dst, _u32(found.get(rt.RTA_TABLE)), _u32(found.get(rt.RTA_PRIORITY))


def _ending(body: Buffer) -> EndingRoute | None:
    family, prefix_len, _, _, _, protocol, _, type_, _ = rt.RTMSG.unpack_from(body)
    if type_ not in _ENDING or protocol == RT_PROTOCOL:
        return None
    found = attributes(body, rt.RTMSG.size)
    dst = _network(family, found.get(rt.RTA_DST), prefix_len)
    if dst is None:
        return None
    table, metric = _u32(found.get(rt.RTA_TABLE)), _u32(found.get(rt.RTA_PRIORITY))
    nexthop = _u32(found.get(rt.RTA_NH_ID))
    return EndingRoute(_ENDING[type_], dst, table, metric, src=_source(body, found), nexthop=nexthop)


def _source(body: Buffer, found: Mapping[int, Buffer]) -> IPNetwork | None:
    family, _, length, *_ = rt.RTMSG.unpack_from(body)
    return _network(family, found.get(rt.RTA_SRC), length) if length else None


def _hops(found: Mapping[int, Buffer], flags: int, next_hops: Mapping[int, tuple[Hop, ...]]) -> Iterator[Hop]:
    """The ways that are not known to be dead. A route by a next hop object names it alone where the kernel is told so
    (nexthop_compat_mode)."""
    if (ways := found.get(rt.RTA_MULTIPATH)) is not None:
        while len(ways) >= rt.RTNEXTHOP_FLAGS.size:
            size, way_flags, index = rt.RTNEXTHOP_FLAGS.unpack_from(ways)
            if not way_flags & rt.RTNH_F_DEAD:
                yield Hop(index, _gateway(attributes(ways[:size], rt.RTNEXTHOP_FLAGS.size)))
            ways = ways[max(size, rt.RTNEXTHOP_FLAGS.size) + 3 & ~3 :]
    elif rt.RTA_OIF in found:
        if not flags & rt.RTNH_F_DEAD:
            yield Hop(_u32(found[rt.RTA_OIF]), _gateway(found))
    elif rt.RTA_NH_ID in found:
        yield from next_hops.get(_u32(found[rt.RTA_NH_ID]), ())


def _gateway(found: Mapping[int, Buffer]) -> IPAddress | None:
    """Of either family; one that is link-local cannot be a workload's address, but it is no destination either."""
    if (gateway := found.get(rt.RTA_GATEWAY)) is not None:
        return ip_address(bytes(gateway))
    via = found.get(rt.RTA_VIA)
    return ip_address(bytes(via[2:])) if via is not None else None


def _next_hops(channel: Channel) -> Iterator[tuple[int, tuple[Hop, ...]]]:
    """Next hop objects by number: single ones, then the groups of them."""
    single: dict[int, tuple[Hop, ...]] = {}
    groups: dict[int, Buffer] = {}
    for _, body in channel.dump(rt.RTM_GETNEXTHOP, rt.NHMSG.pack(rt.AF_UNSPEC, 0, 0, 0)):
        found = attributes(body, rt.NHMSG.size)
        number, gateway = _u32(found.get(rt.NHA_ID)), found.get(rt.NHA_GATEWAY)
        if rt.NHA_OIF in found:
            hop = Hop(_u32(found[rt.NHA_OIF]), ip_address(bytes(gateway)) if gateway is not None else None)
            single[number] = (hop,)
        elif rt.NHA_GROUP in found:
            groups[number] = found[rt.NHA_GROUP]
    yield from single.items()
    for number, members in groups.items():
        ids = [_NEXT_HOP_OF_GROUP.unpack_from(members, at)[0] for at in range(0, len(members), _NEXT_HOP_OF_GROUP.size)]
        yield number, tuple(hop for id_ in ids for hop in single.get(id_, ()))


def _local_prefix(body: Buffer) -> tuple[IPNetwork, int] | None:
    """A prefix that somebody made the node's own; what the kernel made of an address is known by the address."""
    family, prefix_len, _, _, _, protocol, _, _, _ = rt.RTMSG.unpack_from(body)
    if protocol in (rt.RTPROT_KERNEL, RT_PROTOCOL):
        return None
    found = attributes(body, rt.RTMSG.size)
    network = _network(family, found.get(rt.RTA_DST), prefix_len)
    return (network, _u32(found.get(rt.RTA_OIF))) if network is not None else None


def _network(family: int, ip: Buffer | None, prefix_len: int) -> IPNetwork | None:
    if family not in _FAMILIES:
        return None
    packed = bytes(ip) if ip is not None else bytes(4 if family == rt.AF_INET else 16)
    return ip_network((packed, prefix_len), strict=False)


def _u32(value: Buffer | None) -> int:
    number: int = unpack_from("=I", value)[0] if value is not None else 0
    return number
