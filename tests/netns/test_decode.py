"""Decoding is held equal to pyroute2's, on what the real kernel dumps. A namespace is filled with all that netplumb
knows of, and with what it does not."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from struct import pack
from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from netplumb.models.kernel import Address, Link, Neighbour, Route, Scope
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.netlink.wire import Buffer
from netplumb.reconciler.kernel.rtnetlink import decode, encode, encodelinks
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt
from tests.e2e.hosts import temporary

NAMES = {2: "eth0", 3: "eth1"}
MARKED = (
    Address(Scope.NODE, "eth0", bytes((10, 9, 0, 1)), 24),
    Address(Scope.NODE, "eth0", ip_address("fd09::1").packed, 64),
)
FIRST_LINES = 8  # what makes the links
LINES = (
    "link add eth0 index 2 mtu 1400 address 02:00:00:00:00:01 type veth peer name eth1 index 3 netns decoding",
    "link set eth0 alias netplumb:eth0:ünïcode",
    "link set eth0 group 28272",
    "link set eth0 addrgenmode none",
    "link set eth0 up",
    "link set eth1 up",
    "link add br0 type bridge",
    "link set br0 arp off",
    "link set eth1 master br0",
    "address add 10.9.0.2/32 peer 10.9.0.3/32 dev eth0 scope link",
    "address add fd09::2/128 dev eth1 nodad",
    "route add 10.9.0.0/24 dev eth0",
    "-6 route add fd09::/64 dev eth0",
    "route add 10.10.0.0/16 dev eth0 proto 78 src 10.9.0.1 scope link",
    "route add default via 10.9.0.9 dev eth0 metric 5",
    "route add 10.11.0.0/16 via 10.9.0.9 table 77",
    "route add unreachable 10.12.0.0/16",
    "route add 10.13.0.0/16 nexthop via 10.9.0.9 dev eth0 nexthop via 10.9.0.10 dev eth0",
    "-6 route add fd10::/32 dev eth0 proto 78 metric 16",
    "-6 route add default via fd09::9 dev eth0 src fd09::1",
    "-6 route add blackhole fd12::/32",
    "neighbour add 10.9.0.20 lladdr 02:00:00:00:00:20 dev eth0 nud permanent protocol 78",
    "neighbour add 10.9.0.21 lladdr 02:00:00:00:00:21 dev eth0 nud reachable",
    "neighbour add fd09::20 lladdr 02:00:00:00:00:22 dev eth0 nud permanent protocol 78",
    "neighbour add proxy fe80::1 dev eth0 protocol 78",
    "neighbour add proxy 10.9.0.30 dev eth1",
)


@pytest.fixture(scope="module")
def channel(own_run: None) -> Iterator[Channel]:
    """A channel in the filled namespace."""
    with temporary("decoding") as host:
        host.ip("link set lo up")
        first, rest = LINES[:FIRST_LINES], LINES[FIRST_LINES:]
        for line in first:
            host.ip(line)
        with host.enter(), Channel() as marking:  # Debian 12's `ip` knows no `proto` of an address
            requests = [request for address in MARKED for request in encode.add_address(address, 2)]
            assert [reply.errno for reply in marking.transact(requests)] == [0, 0]
        for line in rest:
            host.ip(line)
        host.set_sysctl("net/ipv6/conf/eth0/proxy_ndp", "1")
        host.set_sysctl("net/ipv6/conf/eth1/disable_ipv6", "1")
        host.set_sysctl("net/ipv4/conf/eth1/route_localnet", "1")
        host.set_sysctl("net/ipv4/conf/eth1/forwarding", "1")
        host.set_sysctl("net/ipv4/conf/eth1/arp_filter", "1")
        host.set_sysctl("net/ipv6/conf/eth0/forwarding", "1")
        with host.enter(), Channel() as opened:
            yield opened


def parsed(kind: Any, body: Buffer) -> Any:
    """The message as pyroute2 decodes it."""
    data = bytes(body)
    message = kind(pack("=IHHII", 16 + len(data), 0, 0, 0, 0) + data)
    message.decode()
    return message


def packed(text: str | None) -> bytes | None:
    """An address as pyroute2 writes it, in bytes."""
    return ip_address(text).packed if text is not None else None


def mac(text: str | None) -> bytes | None:
    return bytes.fromhex(text.replace(":", "")) if text is not None else None


def link_of(message: Any) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    spec = message.get_attr("IFLA_AF_SPEC")
    inet6 = spec.get_attr("AF_INET6") if spec is not None else None
    conf = inet6.get_attr("IFLA_INET6_CONF") if inet6 is not None else None
    nsid = message.get_attr("IFLA_LINK_NETNSID")
    return Link(
        Scope.NODE,
        message.get_attr("IFLA_IFNAME"),
        info.get_attr("IFLA_INFO_KIND") if info is not None else "",
        mac(message.get_attr("IFLA_ADDRESS")),
        message.get_attr("IFLA_MTU"),
        message.get_attr("IFLA_GROUP"),
        message.get_attr("IFLA_IFALIAS") or "",
        inet6.get_attr("IFLA_INET6_ADDR_GEN_MODE") if inet6 is not None else None,
        bool(conf["proxy_ndp"]) if conf is not None else False,
        message.get_attr("IFLA_IFNAME") == "eth1",  # as it was set; pyroute2 0.9.7 reads another of the switches
        message.get_attr("IFLA_IFNAME") == "eth1",
        bool(conf["forwarding"]) if conf is not None else False,
        not conf["disable_ipv6"] if conf is not None else None,
        not message["flags"] & rt.IFF_NOARP,
        message.get_attr("IFLA_IFNAME") == "eth1",
        message.get_attr("IFLA_MASTER") or 0,
        qdisc=message.get_attr("IFLA_QDISC"),
        index=message["index"],
        peer_index=message.get_attr("IFLA_LINK") or 0,
        peer_nsid=nsid if nsid is not None else -1,
        accept_ra=conf["accept_ra"] if conf is not None else 0,
    )


def all_fields(link: Link) -> tuple[object, ...]:
    """A link's fields, those that do not take part in comparison too."""
    return link, link.index, link.peer_index, link.peer_nsid, link.qdisc, link.accept_ra


def test_links_are_decoded_as_pyroute2_does(channel: Channel) -> None:
    """Every link of the namespace has the attributes that pyroute2 finds."""
    bodies = [body for _, body in channel.dump(rt.RTM_GETLINK, encodelinks.dump_links())]
    found = {}
    for body in bodies:
        message = parsed(ifinfmsg, body)
        link, up = decode.link(Scope.NODE, body)
        assert all_fields(link) == all_fields(link_of(message))
        assert up == bool(message["flags"] & rt.IFF_UP)
        found[link.name] = link
    assert set(found) >= {"lo", "eth0", "eth1"}
    eth0 = found["eth0"]
    assert (eth0.alias, eth0.group, eth0.mtu, eth0.addr_gen_mode) == ("netplumb:eth0:ünïcode", 28272, 1400, 1)
    assert (eth0.kind, eth0.proxy_ndp, eth0.peer_index) == ("veth", True, 3)
    assert found["eth1"].ipv6_disabled
    assert (eth0.master, found["eth1"].master) == (0, found["br0"].index)


def address_of(message: Any) -> Address:
    v4 = message["family"] == rt.AF_INET
    return Address(
        Scope.NODE,
        NAMES[message["index"]],
        packed(message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")) or b"",
        message["prefixlen"],
        message["scope"] if v4 else 0,
        message.get_attr("IFA_PROTO") or 0,
        deprecated=not v4 and bool(message["flags"] & rt.IFA_F_DEPRECATED),
    )


def test_addresses_are_decoded_as_pyroute2_does(channel: Channel) -> None:
    """Every address of an interface is what pyroute2 finds, marks and point-to-point ones included."""
    found = []
    for index in NAMES:
        for _, body in channel.dump(rt.RTM_GETADDR, encode.dump_addresses(index)):
            address = decode.address(Scope.NODE, body, NAMES)
            assert address == address_of(parsed(ifaddrmsg, body))
            found.append(address)
    assert {str(address) for address in found} >= {
        "address 10.9.0.1/24 dev eth0 proto netplumb",
        "address 10.9.0.2/32 dev eth0 proto 0",
        "address fd09::1/64 dev eth0 proto netplumb",
    }


def route_of(message: Any) -> Route | None:
    oif, gateway = message.get_attr("RTA_OIF"), message.get_attr("RTA_GATEWAY")
    for way in message.get_attr("RTA_MULTIPATH") or ():
        if oif is None and way["oif"] in NAMES:
            oif, gateway = way["oif"], way.get_attr("RTA_GATEWAY")
    if message["table"] != rt.RT_TABLE_MAIN or message["type"] != rt.RTN_UNICAST or oif not in NAMES:
        return None
    v4 = message["family"] == rt.AF_INET
    return Route(
        Scope.NODE,
        packed(message.get_attr("RTA_DST")) or bytes(4 if v4 else 16),
        message["dst_len"],
        NAMES[oif],
        packed(gateway),
        packed(message.get_attr("RTA_PREFSRC")),
        message.get_attr("RTA_PRIORITY") or 0,
        message["scope"] if v4 else 0,
        message["proto"],
    )


@pytest.mark.parametrize("family", [rt.AF_INET, rt.AF_INET6])
def test_routes_are_decoded_as_pyroute2_does(channel: Channel, family: int) -> None:
    """Every unicast route of the main table is what pyroute2 finds; of any other kind none is taken."""
    bodies = [body for _, body in channel.dump(rt.RTM_GETROUTE, encode.dump_routes(family))]
    decoded = [decode.route(Scope.NODE, body, NAMES) for body in bodies]
    assert decoded == [route_of(parsed(rtmsg, body)) for body in bodies]
    words = {str(route) for route in decoded if route is not None}
    if family == rt.AF_INET:
        assert "route 10.10.0.0/16 dev eth0 proto netplumb src 10.9.0.1" in words
        assert "route default via 10.9.0.9 dev eth0 proto 3 metric 5" in words
        assert not any("10.11." in word or "10.12." in word for word in words)
        assert "route 10.13.0.0/16 via 10.9.0.9 dev eth0 proto 3" in words  # the first of its ways
    else:
        assert "route fd10::/32 dev eth0 proto netplumb metric 16" in words
        assert "route default (IPv6) via fd09::9 dev eth0 proto 3 src fd09::1" in words


def neighbour_of(message: Any) -> Neighbour | None:
    proxy = bool(message["flags"] & rt.NTF_PROXY)
    if message["ifindex"] not in NAMES or not (proxy or message["state"] & rt.NUD_PERMANENT):
        return None
    return Neighbour(
        Scope.NODE,
        NAMES[message["ifindex"]],
        packed(message.get_attr("NDA_DST")) or b"",
        None if proxy else mac(message.get_attr("NDA_LLADDR")),
        proxy,
        message.get_attr("NDA_PROTOCOL") or 0,
    )


@pytest.mark.parametrize("proxy", [False, True], ids=["neighbours", "proxies"])
def test_neighbours_are_decoded_as_pyroute2_does(channel: Channel, proxy: bool) -> None:
    """Every permanent or proxy neighbour is what pyroute2 finds; what the kernel learnt by itself is not taken."""
    bodies = [body for _, body in channel.dump(rt.RTM_GETNEIGH, encode.dump_neighbours(proxy=proxy))]
    decoded = [decode.neighbour(Scope.NODE, body, NAMES) for body in bodies]
    assert decoded == [neighbour_of(parsed(ndmsg, body)) for body in bodies]
    words = {str(neighbour) for neighbour in decoded if neighbour is not None}
    if proxy:
        assert words == {
            "neighbour proxy fe80::1 dev eth0 proto netplumb",
            "neighbour proxy 10.9.0.30 dev eth1 proto 0",
        }
    else:
        assert "neighbour 10.9.0.20 lladdr 02:00:00:00:00:20 dev eth0 proto netplumb" in words
        assert "neighbour fd09::20 lladdr 02:00:00:00:00:22 dev eth0 proto netplumb" in words
        assert not any("10.9.0.21" in word for word in words)
