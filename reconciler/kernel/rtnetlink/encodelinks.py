"""Links to rtnetlink requests: what making, changing, grouping or removing one takes, and what asks for it.

Interface indexes are resolved by the caller, as in `encode`.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import pack

from netplumb.models.kernel import Link
from netplumb.reconciler.kernel.netlink.wire import Request, attribute, text, u32
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt

_IPV4_SWITCHES = {
    "forwarding_v4": rt.IPV4_DEVCONF_FORWARDING,
    "route_localnet": rt.IPV4_DEVCONF_ROUTE_LOCALNET,
    "arp_filter": rt.IPV4_DEVCONF_ARPFILTER,
}

# Else the kernel makes a queue for each processor that the machine may have, and objects in sysfs for each, of which
# veth uses one (Linux 5.15 and newer): that is memory and time for nothing.
_ONE_QUEUE = u32(rt.IFLA_NUM_TX_QUEUES, 1) + u32(rt.IFLA_NUM_RX_QUEUES, 1)


def link_header(index: int, flags: int = 0, change: int = 0) -> bytes:
    return rt.IFINFOMSG.pack(rt.AF_UNSPEC, 0, index, flags, change)


def create_veth(node: Link, workload_end: Link, netns_fd: int) -> list[Request]:
    """Makes a pair, one end here and one in another namespace, down on both ends. The closing read tells the indexes
    and the namespace id."""
    return [
        create_pair(node, workload_end, netns_fd),
        *settle(node, link_header(0) + text(rt.IFLA_IFNAME, node.name)),
        get_link_by_name(node.name),
    ]


def create_pair(node: Link, workload_end: Link, netns_fd: int) -> Request:
    """Names and MACs go into the message that creates it: udev rewrites a MAC that was not given at creation. The
    kernel acknowledges an alias in that message and ignores it, and refuses addr_gen_mode (EAFNOSUPPORT), so both
    follow in `settle`."""
    peer = link_header(0) + text(rt.IFLA_IFNAME, workload_end.name) + _ONE_QUEUE
    if workload_end.mac is not None:
        peer += attribute(rt.IFLA_ADDRESS, workload_end.mac)
    if workload_end.mtu is not None:
        peer += u32(rt.IFLA_MTU, workload_end.mtu)
    if workload_end.group is not None:
        peer += u32(rt.IFLA_GROUP, workload_end.group)
    peer += u32(rt.IFLA_NET_NS_FD, netns_fd)
    info = text(rt.IFLA_INFO_KIND, "veth") + attribute(
        rt.IFLA_INFO_DATA | rt.NLA_F_NESTED, attribute(rt.VETH_INFO_PEER | rt.NLA_F_NESTED, peer)
    )
    body = link_header(0) + text(rt.IFLA_IFNAME, node.name) + _ONE_QUEUE
    if node.mac is not None:
        body += attribute(rt.IFLA_ADDRESS, node.mac)
    if node.mtu is not None:
        body += u32(rt.IFLA_MTU, node.mtu)
    if node.group is not None:
        body += u32(rt.IFLA_GROUP, node.group)
    body += attribute(rt.IFLA_LINKINFO | rt.NLA_F_NESTED, info)
    return Request(rt.RTM_NEWLINK, rt.NLM_F_CREATE | rt.NLM_F_EXCL, body)


def settle(node: Link, which: bytes) -> list[Request]:
    """What can only be set on a link that is there, which the header tells."""
    switches = [name for name in _IPV4_SWITCHES if getattr(node, name)]
    settings = _settings(node.alias, node.addr_gen_mode, _ipv4_conf(node, switches))
    return [Request(rt.RTM_NEWLINK, 0, which + settings)] if settings else []


def _ipv4_conf(link: Link, switches: Iterable[str]) -> bytes:
    """Switches that a new link has by the node's default, which may be off."""
    return b"".join(attribute(_IPV4_SWITCHES[name], pack("=I", getattr(link, name))) for name in switches)


def _settings(alias: str | None, addr_gen_mode: int | None, ipv4_conf: bytes) -> bytes:
    """What can only be set on a link that is there."""
    body = b""
    if alias is not None:
        body += text(rt.IFLA_IFALIAS, alias)
    families = b""
    if ipv4_conf:
        conf = attribute(rt.IFLA_INET_CONF | rt.NLA_F_NESTED, ipv4_conf)
        families += attribute(rt.AF_INET | rt.NLA_F_NESTED, conf)
    if addr_gen_mode is not None:
        mode = attribute(rt.IFLA_INET6_ADDR_GEN_MODE, bytes((addr_gen_mode,)))
        families += attribute(rt.AF_INET6 | rt.NLA_F_NESTED, mode)
    if families:
        body += attribute(rt.IFLA_AF_SPEC | rt.NLA_F_NESTED, families)
    return body


def create_ifb(link: Link) -> list[Request]:
    """Makes an ifb, down; the closing read tells its index."""
    name = text(rt.IFLA_IFNAME, link.name)
    info = attribute(rt.IFLA_LINKINFO | rt.NLA_F_NESTED, text(rt.IFLA_INFO_KIND, link.kind))
    body = link_header(0) + name + info
    if link.mtu is not None:
        body += u32(rt.IFLA_MTU, link.mtu)
    if link.group is not None:
        body += u32(rt.IFLA_GROUP, link.group)
    requests = [Request(rt.RTM_NEWLINK, rt.NLM_F_CREATE | rt.NLM_F_EXCL, body)]
    if second := _settings(link.alias, None, b""):
        requests.append(Request(rt.RTM_NEWLINK, 0, link_header(0) + name + second))
    return [*requests, get_link_by_name(link.name)]


def create_vxlan(link: Link) -> list[Request]:
    """Makes a VXLAN device, down; the closing read tells its index."""
    assert link.tunnel is not None
    local = rt.IFLA_VXLAN_LOCAL if len(link.tunnel.local) == 4 else rt.IFLA_VXLAN_LOCAL6
    data = u32(rt.IFLA_VXLAN_ID, link.tunnel.network) + attribute(local, link.tunnel.local)
    data += attribute(rt.IFLA_VXLAN_LEARNING, bytes((link.tunnel.learning,)))
    data += attribute(rt.IFLA_VXLAN_PORT, pack(">H", link.tunnel.port))
    info = text(rt.IFLA_INFO_KIND, link.kind) + attribute(rt.IFLA_INFO_DATA | rt.NLA_F_NESTED, data)
    name = text(rt.IFLA_IFNAME, link.name)
    body = link_header(0) + name + attribute(rt.IFLA_LINKINFO | rt.NLA_F_NESTED, info)
    if link.mac is not None:
        body += attribute(rt.IFLA_ADDRESS, link.mac)
    if link.mtu is not None:
        body += u32(rt.IFLA_MTU, link.mtu)
    if link.group is not None:
        body += u32(rt.IFLA_GROUP, link.group)
    made = Request(rt.RTM_NEWLINK, rt.NLM_F_CREATE | rt.NLM_F_EXCL, body)
    return [made, *settle(link, link_header(0) + name), get_link_by_name(link.name)]


def change_link(desired: Link, observed: Link) -> list[Request]:
    """Brings a link's attributes back, less the IPv6 switches, which netlink cannot set.

    A rename goes by way of down, which kernels before 6.2 insist on and which is in the same send; what that took
    from the link is found by the read that follows every repair. So does an MTU that lets IPv6 in again, which gives a
    link that is up an address of its own at once.
    """
    fields = desired.differences(observed)
    index = observed.index
    requests = []
    lets_ipv6_in = "mtu" in fields and "addr_gen_mode" in fields and observed.addr_gen_mode is None
    if "name" in fields or lets_ipv6_in:
        requests.append(Request(rt.RTM_NEWLINK, 0, link_header(index, 0, rt.IFF_UP)))
    if "name" in fields:
        requests.append(Request(rt.RTM_NEWLINK, 0, link_header(index) + text(rt.IFLA_IFNAME, desired.name)))
    body = b""
    if "mac" in fields and desired.mac is not None:
        body += attribute(rt.IFLA_ADDRESS, desired.mac)
    if "mtu" in fields and desired.mtu is not None:
        body += u32(rt.IFLA_MTU, desired.mtu)
    if "group" in fields and desired.group is not None:
        body += u32(rt.IFLA_GROUP, desired.group)
    if "master" in fields and desired.master is not None:
        body += u32(rt.IFLA_MASTER, desired.master)
    if body:
        requests.append(Request(rt.RTM_NEWLINK, 0, link_header(index) + body))
    # Apart and after, since the kernel refuses what is about IPv6 on a link that has none before its MTU is set.
    settings = _settings(
        desired.alias if "alias" in fields else None,
        desired.addr_gen_mode if "addr_gen_mode" in fields else None,
        _ipv4_conf(desired, [name for name in _IPV4_SWITCHES if name in fields]),
    )
    if settings:
        requests.append(Request(rt.RTM_NEWLINK, 0, link_header(index) + settings))
    if "arp" in fields:
        flags = 0 if desired.arp else rt.IFF_NOARP
        requests.append(Request(rt.RTM_NEWLINK, 0, link_header(index, flags, rt.IFF_NOARP)))
    return requests


def delete_link(index: int) -> list[Request]:
    return [Request(rt.RTM_DELLINK, 0, link_header(index))]


def set_group(index: int, group: int) -> Request:
    return Request(rt.RTM_NEWLINK, 0, link_header(index) + u32(rt.IFLA_GROUP, group))


def delete_group(group: int) -> Request:
    """Deletes every link of the group in one go, whoever's they are."""
    return Request(rt.RTM_DELLINK, 0, link_header(0) + u32(rt.IFLA_GROUP, group))


_SKIP_STATS = u32(rt.IFLA_EXT_MASK, rt.RTEXT_FILTER_SKIP_STATS)


def get_link_by_name(name: str) -> Request:
    return Request(rt.RTM_GETLINK, 0, link_header(0) + text(rt.IFLA_IFNAME, name) + _SKIP_STATS)


def get_link_by_index(index: int) -> Request:
    return Request(rt.RTM_GETLINK, 0, link_header(index) + _SKIP_STATS)


def dump_links_of(kind: str) -> bytes:
    info = attribute(rt.IFLA_LINKINFO | rt.NLA_F_NESTED, text(rt.IFLA_INFO_KIND, kind))
    return link_header(0) + _SKIP_STATS + info


def dump_links() -> bytes:
    return link_header(0) + _SKIP_STATS


def set_up(index: int) -> list[Request]:
    return [Request(rt.RTM_NEWLINK, 0, link_header(index, rt.IFF_UP, rt.IFF_UP))]
