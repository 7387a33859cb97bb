"""Kernel objects to rtnetlink requests: what adding, changing or removing one object takes. Links are in `encodelinks`.

A step may take several requests; they belong into one send. Interface indexes are resolved by the caller, who learns
them from the kernel: names may be taken over by others between a read and a write, indexes may not.
"""

from __future__ import annotations

from struct import Struct, pack

from netplumb.models.kernel import Address, FdbEntry, LinkUp, Neighbour, Route, Rule
from netplumb.reconciler.kernel.netlink.wire import Request, attribute, u32
from netplumb.reconciler.kernel.rtnetlink import encodelinks
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt

_LIFETIMES = Struct("=IIII")  # preferred, valid, and two times that the kernel fills in
_FOREVER = 0xFFFFFFFF
_BYTE_MOST = 0xFF


def add(thing: LinkUp | Address | Neighbour | FdbEntry | Route, index: int) -> list[Request]:
    """Adds what is bound to the interface with this index."""
    match thing:
        case LinkUp():
            return encodelinks.set_up(index)
        case Address():
            return add_address(thing, index)
        case Neighbour():
            return add_neighbour(thing, index)
        case FdbEntry():
            return add_fdb(thing, index)
        case Route():
            return add_route(thing, index)


def add_address(address: Address, index: int) -> list[Request]:
    """No prefix route: a route of ours carries the same and is marked. No DAD: the address is ours alone."""
    flags = rt.IFA_F_NOPREFIXROUTE | (rt.IFA_F_NODAD if len(address.ip) == 16 else 0)
    body = _address(address, index) + u32(rt.IFA_FLAGS, flags)
    if address.deprecated:
        body += attribute(rt.IFA_CACHEINFO, _LIFETIMES.pack(0, _FOREVER, 0, 0))
    return [Request(rt.RTM_NEWADDR, rt.NLM_F_CREATE | rt.NLM_F_REPLACE, body)]


def change_address(desired: Address, observed: Address, index: int) -> list[Request]:
    """The kernel changes no scope in place."""
    add = add_address(desired, index)
    return add if desired.rt_scope == observed.rt_scope else delete_address(observed, index) + add


def delete_address(address: Address, index: int) -> list[Request]:
    return [Request(rt.RTM_DELADDR, 0, _address(address, index))]


def _address(address: Address, index: int) -> bytes:
    ip = address.ip
    body = rt.IFADDRMSG.pack(rt.family_of(ip), address.prefix_len, 0, address.rt_scope, index)
    body += attribute(rt.IFA_LOCAL, ip) + attribute(rt.IFA_ADDRESS, ip)
    return body + attribute(rt.IFA_PROTO, bytes((address.protocol,)))


def add_route(route: Route, index: int) -> list[Request]:
    """Puts the route before any foreign one to the same place, which stays (what `ip route prepend` does). Those of the
    local table share a destination, and stand one behind the other."""
    order = rt.NLM_F_APPEND if route.table == rt.RT_TABLE_LOCAL else 0
    return [Request(rt.RTM_NEWROUTE, rt.NLM_F_CREATE | order, _route(route, index))]


def delete_route(route: Route, index: int) -> list[Request]:
    return [Request(rt.RTM_DELROUTE, 0, _route(route, index))]


def change_route(desired: Route, index: int, observed: Route, observed_index: int) -> list[Request]:
    """Replaces our route. NLM_F_REPLACE would take the first route to that place, which may be foreign.

    IPv4 has the new route before the old one goes. IPv6 would refuse two that differ in the source address alone
    (EEXIST), so there the old one goes first, in the same send. So it does where the old one had no source address: to
    delete that means any, and would take the new one.
    """
    add, delete = add_route(desired, index), delete_route(observed, observed_index)
    return add + delete if len(desired.dst) == 4 and observed.prefsrc is not None else delete + add


def _route(route: Route, index: int) -> bytes:
    family = rt.family_of(route.dst)
    header, table = _table(route.table)
    flags = rt.RTNH_F_ONLINK if route.onlink else 0
    fixed = (family, route.prefix_len, 0, 0, header, route.protocol, route.rt_scope, route.type, flags)
    body = rt.RTMSG.pack(*fixed) + table
    if route.prefix_len:
        body += attribute(rt.RTA_DST, route.dst)
    if route.gateway is not None and len(route.gateway) == len(route.dst):
        body += attribute(rt.RTA_GATEWAY, route.gateway)
    elif route.gateway is not None:
        body += attribute(rt.RTA_VIA, pack("=H", rt.family_of(route.gateway)) + route.gateway)
    body += u32(rt.RTA_OIF, index)
    if route.prefsrc is not None:
        body += attribute(rt.RTA_PREFSRC, route.prefsrc)
    if route.metric:
        body += u32(rt.RTA_PRIORITY, route.metric)
    return body


def add_rule(rule: Rule) -> list[Request]:
    return [Request(rt.RTM_NEWRULE, rt.NLM_F_CREATE | rt.NLM_F_EXCL, _rule(rule))]


def delete_rule(rule: Rule) -> list[Request]:
    """The first by preference of those that are like it, if its own is 0: the kernel takes that for any."""
    return [Request(rt.RTM_DELRULE, 0, _rule(rule))]


def move_rule(desired: Rule, observed: Rule) -> list[Request]:
    """A rule cannot be moved, so it stands in both places for a moment, and at no time in none."""
    return add_rule(desired) + delete_rule(observed)


def _rule(rule: Rule) -> bytes:
    family = rt.family_of(rule.src or rule.dst or bytes(4))
    body = rt.FIBRULE.pack(family, rule.dst_len, rule.src_len, 0, 0, rt.FR_ACT_TO_TBL, 0)
    for type_, ip in ((rt.FRA_SRC, rule.src), (rt.FRA_DST, rule.dst)):
        if ip is not None:
            body += attribute(type_, ip)
    body += u32(rt.FRA_PRIORITY, rule.preference) + u32(rt.FRA_TABLE, rule.table)
    if rule.suppress_prefix_len is not None:
        body += u32(rt.FRA_SUPPRESS_PREFIXLEN, rule.suppress_prefix_len)
    if rule.suppress_group is not None:
        body += u32(rt.FRA_SUPPRESS_IFGROUP, rule.suppress_group)
    return body + attribute(rt.FRA_PROTOCOL, bytes((rule.protocol,)))


def dump_rules() -> bytes:
    return rt.FIBRULE.pack(rt.AF_UNSPEC, 0, 0, 0, 0, 0, 0)


def add_neighbour(neighbour: Neighbour, index: int) -> list[Request]:
    return [Request(rt.RTM_NEWNEIGH, rt.NLM_F_CREATE | rt.NLM_F_REPLACE, _neighbour(neighbour, index))]


def delete_neighbour(neighbour: Neighbour, index: int) -> list[Request]:
    return [Request(rt.RTM_DELNEIGH, 0, _neighbour(neighbour, index))]


def _neighbour(neighbour: Neighbour, index: int) -> bytes:
    # NTF_ROUTER: the kernel's proxy answers with the router flag, without which a workload drops its default route.
    flags = rt.NTF_PROXY | rt.NTF_ROUTER if neighbour.proxy else 0
    state = 0 if neighbour.proxy else rt.NUD_PERMANENT
    body = rt.NDMSG.pack(rt.family_of(neighbour.ip), index, state, flags, 0) + attribute(rt.NDA_DST, neighbour.ip)
    if neighbour.mac is not None:
        body += attribute(rt.NDA_LLADDR, neighbour.mac)
    return body + attribute(rt.NDA_PROTOCOL, bytes((neighbour.protocol,)))


def get_neighbour(index: int, ip: bytes, *, proxy: bool = False) -> Request:
    body = rt.NDMSG.pack(rt.family_of(ip), index, 0, rt.NTF_PROXY if proxy else 0, 0)
    return Request(rt.RTM_GETNEIGH, 0, body + attribute(rt.NDA_DST, ip))


def ask_neighbour(index: int, ip: bytes) -> Request:
    """Has the kernel ask for it, as if something was sent there."""
    body = rt.NDMSG.pack(rt.family_of(ip), index, 0, rt.NTF_USE, 0)
    return Request(rt.RTM_NEWNEIGH, rt.NLM_F_CREATE, body + attribute(rt.NDA_DST, ip))


def add_fdb(entry: FdbEntry, index: int) -> list[Request]:
    return [Request(rt.RTM_NEWNEIGH, rt.NLM_F_CREATE | rt.NLM_F_REPLACE, _fdb(entry, index))]


def delete_fdb(entry: FdbEntry, index: int) -> list[Request]:
    return [Request(rt.RTM_DELNEIGH, 0, _fdb(entry, index))]


def _fdb(entry: FdbEntry, index: int) -> bytes:
    body = rt.NDMSG.pack(rt.AF_BRIDGE, index, rt.NUD_PERMANENT, rt.NTF_SELF, 0)
    return body + attribute(rt.NDA_LLADDR, entry.mac) + attribute(rt.NDA_DST, entry.dst)


def get_fdb(index: int, mac: bytes) -> Request:
    body = rt.NDMSG.pack(rt.AF_BRIDGE, index, 0, rt.NTF_SELF, 0)
    return Request(rt.RTM_GETNEIGH, 0, body + attribute(rt.NDA_LLADDR, mac))


def dump_fdb(index: int) -> bytes:
    """Those of one device."""
    return rt.NDMSG.pack(rt.AF_BRIDGE, index, 0, 0, 0)


def get_route(dst: bytes) -> Request:
    """The route that answers for an address, itself and not what becomes of it."""
    family = rt.family_of(dst)
    body = rt.RTMSG.pack(family, 8 * len(dst), 0, 0, 0, 0, 0, 0, rt.RTM_F_FIB_MATCH)
    return Request(rt.RTM_GETROUTE, 0, body + attribute(rt.RTA_DST, dst))


def dump_addresses(index: int) -> bytes:
    return rt.IFADDRMSG.pack(rt.AF_UNSPEC, 0, 0, 0, index)


def dump_routes(
    family: int, *, index: int = 0, protocol: int = 0, table: int = rt.RT_TABLE_MAIN, type_: int = 0
) -> bytes:
    """Routes of one table, filtered in the kernel by output interface, protocol and type where given."""
    body = rt.RTMSG.pack(family, 0, 0, 0, 0, protocol, 0, type_, 0) + u32(rt.RTA_TABLE, table)
    return body + u32(rt.RTA_OIF, index) if index else body


def _table(number: int) -> tuple[int, bytes]:
    """What stands in the header, which has a byte for it, and the attribute that a greater one takes."""
    return (number, b"") if number <= _BYTE_MOST else (rt.RT_TABLE_UNSPEC, u32(rt.RTA_TABLE, number))


def dump_neighbours(*, index: int = 0, proxy: bool = False) -> bytes:
    body = rt.NDMSG.pack(rt.AF_UNSPEC, 0, 0, rt.NTF_PROXY if proxy else 0, 0)
    return body + pack("=HHI", 8, rt.NDA_IFINDEX, index) if index else body
