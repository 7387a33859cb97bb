"""rtnetlink messages to kernel objects, in canonical form. Messages that netplumb has no word for become None.

Only the attributes that the models carry are read. Held equal to pyroute2's decoding by a test on the real kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from struct import unpack_from

from netplumb.models.base import IPNetwork
from netplumb.models.kernel import RT_PROTOCOL, Address, FdbEntry, Link, LinkUp, Neighbour, Route, Rule, Scope, Tunnel
from netplumb.models.policy import ForeignRule
from netplumb.reconciler.kernel.netlink.wire import Buffer, attributes, string
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt

_UNSET = 0xFFFFFFFF  # -1, as the kernel shows what a rule does not say


def _u32(value: Buffer | None, default: int = 0) -> int:
    return int.from_bytes(value, "little") if value is not None else default


def link(scope: Scope, body: Buffer) -> tuple[Link, bool]:
    """A link, and whether it is administratively up."""
    _, _, index, flags, _ = rt.IFINFOMSG.unpack_from(body)
    found = attributes(body, rt.IFINFOMSG.size)
    info = found.get(rt.IFLA_LINKINFO)
    details = attributes(info) if info is not None else {}
    kind = string(details.get(rt.IFLA_INFO_KIND))
    families = attributes(found.get(rt.IFLA_AF_SPEC, b""))
    addr_gen_mode, inet6 = _inet6(families.get(rt.AF_INET6))
    inet = _ipv4_conf(families.get(rt.AF_INET))
    mac = found.get(rt.IFLA_ADDRESS)
    nsid = found.get(rt.IFLA_LINK_NETNSID)
    observed = Link(
        scope=scope,
        name=string(found.get(rt.IFLA_IFNAME)),
        kind=kind,
        mac=bytes(mac) if mac is not None else None,
        mtu=_u32(found.get(rt.IFLA_MTU)),
        group=_u32(found.get(rt.IFLA_GROUP)),
        alias=string(found.get(rt.IFLA_IFALIAS)),
        addr_gen_mode=addr_gen_mode,
        proxy_ndp=_is_on(inet6, rt.DEVCONF_PROXY_NDP),
        route_localnet=_is_on(inet, rt.IPV4_DEVCONF_ROUTE_LOCALNET - 1),
        forwarding_v4=_is_on(inet, rt.IPV4_DEVCONF_FORWARDING - 1),
        forwarding_v6=_is_on(inet6, rt.DEVCONF_FORWARDING),
        arp=not flags & rt.IFF_NOARP,
        arp_filter=_is_on(inet, rt.IPV4_DEVCONF_ARPFILTER - 1),
        master=_u32(found.get(rt.IFLA_MASTER)),
        tunnel=_tunnel(details.get(rt.IFLA_INFO_DATA)) if kind == "vxlan" else None,
        qdisc=string(found.get(rt.IFLA_QDISC)),
        index=index,
        peer_index=_u32(found.get(rt.IFLA_LINK)),
        peer_nsid=unpack_from("=i", nsid)[0] if nsid is not None else -1,
        accept_ra=_number(inet6, rt.DEVCONF_ACCEPT_RA),
        ipv6=None if inet6 is None else not _is_on(inet6, rt.DEVCONF_DISABLE_IPV6),
    )
    return observed, bool(flags & rt.IFF_UP)


def _tunnel(data: Buffer | None) -> Tunnel | None:
    if data is None:
        return None
    found = attributes(data)
    port, learning = found.get(rt.IFLA_VXLAN_PORT, b""), found.get(rt.IFLA_VXLAN_LEARNING, b"")
    local = found.get(rt.IFLA_VXLAN_LOCAL, found.get(rt.IFLA_VXLAN_LOCAL6, b""))
    return Tunnel(
        _u32(found.get(rt.IFLA_VXLAN_ID)), int.from_bytes(port, "big"), bytes(local), learning=any(bytes(learning))
    )


def _ipv4_conf(inet: Buffer | None) -> Buffer | None:
    return attributes(inet).get(rt.IFLA_INET_CONF) if inet is not None else None


def _inet6(inet6: Buffer | None) -> tuple[int | None, Buffer | None]:
    """addr_gen_mode and the switches. A link without an inet6 part has IPv6 off: the kernel takes the part away when
    the MTU falls below 1280, and leaves it out where IPv6 is not loaded."""
    if inet6 is None:
        return None, None
    found = attributes(inet6)
    mode = found.get(rt.IFLA_INET6_ADDR_GEN_MODE)
    return mode[0] if mode is not None else None, found.get(rt.IFLA_INET6_CONF)


def _is_on(conf: Buffer | None, number: int) -> bool:
    """Whether a switch of an interface is on; what is left out is off."""
    return bool(_number(conf, number))


def _number(conf: Buffer | None, number: int) -> int:
    return _u32(conf[number * 4 : number * 4 + 4]) if conf is not None else 0


def address_ip(body: Buffer) -> bytes:
    return _ip(attributes(body, rt.IFADDRMSG.size))


def _ip(found: Mapping[int, Buffer]) -> bytes:
    # IPv4 has the address in IFA_LOCAL (IFA_ADDRESS is the far end of a point-to-point link), IPv6 in IFA_ADDRESS.
    return bytes(found.get(rt.IFA_LOCAL, found.get(rt.IFA_ADDRESS, b"")))


def address(scope: Scope, body: Buffer, names: Mapping[int, str]) -> Address | None:
    family, prefix_len, flags, rt_scope, index = rt.IFADDRMSG.unpack_from(body)
    found = attributes(body, rt.IFADDRMSG.size)
    ip, name = _ip(found), names.get(index)
    if not ip or name is None:
        return None
    protocol = found.get(rt.IFA_PROTO)
    v4 = family == rt.AF_INET
    return Address(
        scope,
        name,
        ip,
        prefix_len,
        rt_scope if v4 else 0,
        protocol[0] if protocol is not None else 0,
        deprecated=not v4 and bool(flags & rt.IFA_F_DEPRECATED),
    )


def route(scope: Scope, body: Buffer, names: Mapping[int, str]) -> Route | None:
    """A unicast route of the main table or one of ours, or a local one of ours, over one of the named interfaces."""
    family, prefix_len, _, _, table, protocol, rt_scope, type_, flags = rt.RTMSG.unpack_from(body)
    ordinary = type_ == rt.RTN_UNICAST and (table == rt.RT_TABLE_MAIN or protocol == RT_PROTOCOL)
    local = table == rt.RT_TABLE_LOCAL and type_ == rt.RTN_LOCAL and protocol == RT_PROTOCOL
    if not (ordinary or local) or flags & rt.RTM_F_CLONED:
        return None
    found = attributes(body, rt.RTMSG.size)
    index, gateway = _way(found, names)
    name = names.get(index)
    if name is None:
        return None
    v4 = family == rt.AF_INET
    dst, prefsrc = found.get(rt.RTA_DST), found.get(rt.RTA_PREFSRC)
    return Route(
        scope,
        bytes(dst) if dst is not None else bytes(4 if v4 else 16),
        prefix_len,
        name,
        bytes(gateway) if gateway is not None else None,
        bytes(prefsrc) if prefsrc is not None else None,
        _u32(found.get(rt.RTA_PRIORITY)),
        rt_scope if v4 else 0,
        protocol,
        _u32(found.get(rt.RTA_TABLE), table),
        type_,
        onlink=bool(flags & rt.RTNH_F_ONLINK),
    )


def _way(found: Mapping[int, Buffer], names: Mapping[int, str]) -> tuple[int, Buffer | None]:
    """The interface and the gateway; of a route over several interfaces, those of the first that is named."""
    if (oif := found.get(rt.RTA_OIF)) is not None:
        return _u32(oif), _gateway(found)
    ways = found.get(rt.RTA_MULTIPATH, b"")
    while len(ways) >= rt.RTNEXTHOP.size:
        size, index = rt.RTNEXTHOP.unpack_from(ways)
        if index in names:
            return index, _gateway(attributes(ways[:size], rt.RTNEXTHOP.size))
        ways = ways[max(size, rt.RTNEXTHOP.size) + 3 & ~3 :]
    return 0, None


def _gateway(found: Mapping[int, Buffer]) -> Buffer | None:
    """Of the route's own family, or of IPv6 where the route is IPv4."""
    if (via := found.get(rt.RTA_VIA)) is not None:
        return via[2:]
    return found.get(rt.RTA_GATEWAY)


def rule(scope: Scope, body: Buffer) -> Rule | None:
    """One of ours."""
    _, dst_len, src_len, _, table, _, _ = rt.FIBRULE.unpack_from(body)
    found = attributes(body, rt.FIBRULE.size)
    if rule_protocol(found) != RT_PROTOCOL:
        return None
    src, dst = found.get(rt.FRA_SRC), found.get(rt.FRA_DST)
    return Rule(
        scope,
        _u32(found.get(rt.FRA_PRIORITY)),
        bytes(src) if src is not None else None,
        src_len,
        bytes(dst) if dst is not None else None,
        dst_len,
        _u32(found.get(rt.FRA_TABLE), table),
        _unless_unset(found.get(rt.FRA_SUPPRESS_PREFIXLEN)),
        _unless_unset(found.get(rt.FRA_SUPPRESS_IFGROUP)),
    )


def rule_protocol(found: Mapping[int, Buffer]) -> int:
    protocol = found.get(rt.FRA_PROTOCOL)
    return protocol[0] if protocol is not None else 0


_ENDS = {rt.FR_ACT_BLACKHOLE: "blackhole", rt.FR_ACT_UNREACHABLE: "unreachable", rt.FR_ACT_PROHIBIT: "prohibit"}


def foreign_rule(body: Buffer) -> ForeignRule | None:
    """One of others, with what tells whom it may concern."""
    family, dst_len, src_len, tos, table, action, flags = rt.FIBRULE.unpack_from(body)
    found = attributes(body, rt.FIBRULE.size)
    if family not in (rt.AF_INET, rt.AF_INET6) or rule_protocol(found) == RT_PROTOCOL:
        return None
    known = {rt.FRA_PRIORITY, rt.FRA_SRC, rt.FRA_DST, rt.FRA_TABLE, rt.FRA_PROTOCOL, rt.FRA_SUPPRESS_PREFIXLEN}
    return ForeignRule(
        version=4 if family == rt.AF_INET else 6,
        preference=_u32(found.get(rt.FRA_PRIORITY)),
        src=_network(found[rt.FRA_SRC], src_len) if rt.FRA_SRC in found else None,
        dst=_network(found[rt.FRA_DST], dst_len) if rt.FRA_DST in found else None,
        table=_u32(found.get(rt.FRA_TABLE), table),
        looks_up=action == rt.FR_ACT_TO_TBL and rt.FRA_L3MDEV not in found,
        ends=_ENDS.get(action, "" if action in (rt.FR_ACT_TO_TBL, rt.FR_ACT_NOP) else f"action {action}"),
        inverted=bool(flags & rt.FIB_RULE_INVERT),
        fwmark=_u32(found.get(rt.FRA_FWMARK)),
        fwmask=_u32(found.get(rt.FRA_FWMASK)),
        oif=string(found.get(rt.FRA_OIFNAME)),
        iif=string(found.get(rt.FRA_IIFNAME)),
        selects_more=bool(tos or found.keys() - known),
        selectors=tuple(_selectors(tos, found)),
        suppress=tuple(
            (name, str(number)) for name, kind in _SUPPRESSORS if (number := _unless_unset(found.get(kind))) is not None
        ),
    )


_IP_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "ipv6-icmp", 132: "sctp"}
_SUPPRESSORS = (("suppress_prefixlength", rt.FRA_SUPPRESS_PREFIXLEN), ("suppress_ifgroup", rt.FRA_SUPPRESS_IFGROUP))
_RANGES = (("uidrange", rt.FRA_UID_RANGE), ("sport", rt.FRA_SPORT_RANGE), ("dport", rt.FRA_DPORT_RANGE))


def _selectors(tos: int, found: Mapping[int, Buffer]) -> Iterator[tuple[str, str]]:
    """What else a packet must have to meet a rule, as `ip rule` words it."""
    if tos:
        yield "tos", f"{tos:#x}"
    if rt.FRA_L3MDEV in found:
        yield "l3mdev", ""
    if rt.FRA_TUN_ID in found:
        yield "tun_id", str(int.from_bytes(found[rt.FRA_TUN_ID], "big"))
    if rt.FRA_IP_PROTO in found:
        number = found[rt.FRA_IP_PROTO][0]
        yield "ipproto", _IP_PROTOCOLS.get(number, str(number))
    for name, kind in _RANGES:
        if kind in found:
            first, last = unpack_from("=II" if kind == rt.FRA_UID_RANGE else "=HH", found[kind])
            yield name, f"{first}" if first == last and name != "uidrange" else f"{first}-{last}"


def _network(ip: Buffer, prefix_len: int) -> IPNetwork:
    return ip_network((bytes(ip), prefix_len), strict=False)


def _unless_unset(value: Buffer | None) -> int | None:
    number = _u32(value, _UNSET)
    return number if number != _UNSET else None


def neighbour(scope: Scope, body: Buffer, names: Mapping[int, str]) -> Neighbour | None:
    """A permanent or proxy neighbour; what the kernel learnt by itself is none of netplumb's business."""
    _, index, state, flags, _ = rt.NDMSG.unpack_from(body)
    name = names.get(index)
    proxy = bool(flags & rt.NTF_PROXY)
    if name is None or not (proxy or state & rt.NUD_PERMANENT):
        return None
    found = attributes(body, rt.NDMSG.size)
    ip, mac, protocol = found.get(rt.NDA_DST), found.get(rt.NDA_LLADDR), found.get(rt.NDA_PROTOCOL)
    if ip is None:
        return None
    return Neighbour(
        scope,
        name,
        bytes(ip),
        None if proxy or mac is None else bytes(mac),
        proxy,
        protocol[0] if protocol is not None else 0,
    )


def fdb_entry(body: Buffer, names: Mapping[int, str]) -> FdbEntry | None:
    """An entry of a VXLAN device; what a bridge keeps has no address of a node."""
    family, index, _, _, _ = rt.NDMSG.unpack_from(body)
    found = attributes(body, rt.NDMSG.size)
    mac, dst, name = found.get(rt.NDA_LLADDR), found.get(rt.NDA_DST), names.get(index)
    if family != rt.AF_BRIDGE or mac is None or dst is None or name is None:
        return None
    return FdbEntry(name, bytes(mac), bytes(dst))


def up(observed: Link) -> LinkUp:
    return LinkUp(observed.scope, observed.name)
