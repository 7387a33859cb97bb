"""What the node's interfaces are like beside what netplumb sets: up, with a carrier, with addresses that duplicate
address detection refused. Read by who looks at the node as a whole; no pass needs it."""

from __future__ import annotations

from ipaddress import ip_address
from struct import Struct, unpack_from

from netplumb.models.nodestate import LinkState, NeighbourTable, RefusedAddress
from netplumb.reconciler.kernel import sysctls
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.netlink.wire import Buffer, attributes, string
from netplumb.reconciler.kernel.rtnetlink import encode, encodelinks
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt

_IFF_LOOPBACK, _IFF_RUNNING, _IFF_NOARP = 0x08, 0x40, 0x80
_MAC_BYTES = 6
_IFLA_XDP, _IFLA_XDP_ATTACHED = 43, 2  # include/uapi/linux/if_link.h
_ANSWERS_FOR_NONE = 8  # arp_ignore, Documentation/networking/ip-sysctl.rst
_XDP_MODES = {1: "xdpdrv", 2: "xdpgeneric", 3: "xdpoffload", 4: "xdp"}
_RTM_GETNEIGHTBL = 66  # include/uapi/linux/rtnetlink.h, neighbour.h
_NDTMSG = Struct("=Bxxx")
_NDTA_THRESH3, _NDTA_STATS = 4, 7
_TABLE_FULLS_AT = 10 * 8  # ndts_table_fulls, the last of struct ndt_stats
_FORGOTTEN = rt.NUD_PERMANENT | 0x40  # NUD_NOARP: the kernel keeps these out of its count, as it does permanent ones


def read_links(node: Channel) -> tuple[LinkState, ...]:
    """Every interface of the node. Raises Retryable."""
    return tuple(_link(body) for _, body in node.dump(rt.RTM_GETLINK, encodelinks.dump_links()))


def _link(body: Buffer) -> LinkState:
    _, _, index, flags, _ = rt.IFINFOMSG.unpack_from(body)
    found = attributes(body, rt.IFINFOMSG.size)
    name = string(found.get(rt.IFLA_IFNAME))
    is_ethernet = len(found.get(rt.IFLA_ADDRESS, b"")) == _MAC_BYTES
    return LinkState(
        name,
        index,
        up=bool(flags & rt.IFF_UP),
        running=bool(flags & _IFF_RUNNING),
        asks=not flags & (_IFF_LOOPBACK | _IFF_NOARP) and is_ethernet,
        ethernet=is_ethernet and not flags & _IFF_LOOPBACK,
        mtu=unpack_from("=I", found[rt.IFLA_MTU])[0],
        group=unpack_from("=I", found[rt.IFLA_GROUP])[0],
        kind=string(attributes(found.get(rt.IFLA_LINKINFO, b"")).get(rt.IFLA_INFO_KIND)),
        master=unpack_from("=I", found[rt.IFLA_MASTER])[0] if rt.IFLA_MASTER in found else 0,
        mac=bytes(found.get(rt.IFLA_ADDRESS, b"")).hex(":"),
        alias=string(found.get(rt.IFLA_IFALIAS)),
        qdisc=string(found.get(rt.IFLA_QDISC)),
        xdp=_xdp(found.get(_IFLA_XDP, b"")),
        rp_filter=max(_number(f"net/ipv4/conf/{which}/rp_filter") for which in ("all", name)),
        mute=max(_number(f"net/ipv4/conf/{which}/arp_ignore") for which in ("all", name)) == _ANSWERS_FOR_NONE,
    )


def _xdp(told: Buffer) -> str:
    mode = bytes(attributes(told).get(_IFLA_XDP_ATTACHED, b"\0"))[0]
    return _XDP_MODES.get(mode, "")


def _number(name: str) -> int:
    value = sysctls.read(name)
    return int(value) if value is not None and value.isdecimal() else 0


def read_refused(node: Channel) -> tuple[RefusedAddress, ...]:
    """IPv6 addresses that somebody else on the network has already, as the kernel found. Raises Retryable."""
    found = []
    for _, body in node.dump(rt.RTM_GETADDR, encode.dump_addresses(0)):
        _, _, flags, _, index = rt.IFADDRMSG.unpack_from(body)
        told = attributes(body, rt.IFADDRMSG.size)
        if rt.IFA_FLAGS in told:
            (flags,) = unpack_from("=I", told[rt.IFA_FLAGS])
        if flags & rt.IFA_F_DADFAILED and rt.IFA_ADDRESS in told:
            found.append(RefusedAddress(ip_address(bytes(told[rt.IFA_ADDRESS])), index))
    return tuple(found)


def read_neighbour_tables(node: Channel) -> tuple[NeighbourTable, ...]:
    """How full the kernel's neighbour tables are, one for each family: with entries of the node that the kernel may
    throw away, which alone count. Raises Retryable."""
    learnt = {4: 0, 6: 0}
    for _, body in node.dump(rt.RTM_GETNEIGH, encode.dump_neighbours()):
        family, _, state, _, _ = rt.NDMSG.unpack_from(body)
        if not state & _FORGOTTEN:
            learnt[4 if family == rt.AF_INET else 6] += 1
    found = {}
    for _, body in node.dump(_RTM_GETNEIGHTBL, _NDTMSG.pack(rt.AF_UNSPEC)):
        (family,) = unpack_from("=B", body)
        told = attributes(body, _NDTMSG.size)
        if _NDTA_STATS not in told or family not in (rt.AF_INET, rt.AF_INET6):
            continue  # the parameters of one interface
        version = 4 if family == rt.AF_INET else 6
        overflows = unpack_from("=Q", told[_NDTA_STATS], _TABLE_FULLS_AT)[0]
        found[version] = NeighbourTable(version, learnt[version], unpack_from("=I", told[_NDTA_THRESH3])[0], overflows)
    return tuple(found.values())
