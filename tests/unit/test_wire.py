"""Wire format: requests are held equal to pyroute2's own encoding, and no input makes the parsers raise or hang."""

from __future__ import annotations

import ipaddress
from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from models.kernel import Address, Link, Neighbour, Route, Scope
from reconciler.kernel import encode, wire
from reconciler.kernel import rtnetlink as rt

macs = st.binary(min_size=6, max_size=6)
ips = st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16))
octets = st.integers(0, 255)
u32s = st.integers(0, 2**32 - 1)
indexes = st.integers(1, 2**31 - 1)
names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-é", min_size=1, max_size=12)
aliases = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60)


def links(scope: Scope) -> st.SearchStrategy[Link]:
    return st.builds(
        Link,
        st.just(scope),
        names,
        mac=st.none() | macs,
        mtu=st.none() | u32s,
        group=st.none() | u32s,
        alias=st.none() | aliases,
        addr_gen_mode=st.none() | octets,
    )


@st.composite
def routes(draw: st.DrawFn) -> Route:
    size = draw(st.sampled_from((4, 16)))
    ip = st.binary(min_size=size, max_size=size)
    return Route(
        Scope.NODE,
        draw(ip),
        draw(st.integers(0, size * 8)),
        "np0",
        draw(st.none() | ip),
        draw(st.none() | ip),
        draw(u32s),
        draw(octets),
        draw(octets),
    )


addresses = st.builds(
    lambda ip, length, rt_scope, protocol: Address(Scope.NODE, "np0", ip, min(length, len(ip) * 8), rt_scope, protocol),
    ips,
    octets,
    octets,
    octets,
)
neighbours = st.builds(Neighbour, st.just(Scope.NODE), st.just("np0"), ips, st.none() | macs, st.booleans(), octets)


def encoded(message: Any, attrs: list[Any], **header: int) -> bytes:
    """What pyroute2 makes of the same message, less the netlink header."""
    for name, value in header.items():
        message[name] = value
    message["attrs"] = attrs
    message.encode()
    return bytes(message.data[16:])


def words(ip: bytes) -> str:
    return str(ipaddress.ip_address(ip))


def optional(*attrs: tuple[str, Any]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in attrs if value is not None]


def mac_words(mac: bytes | None) -> str | None:
    return mac.hex(":") if mac is not None else None


def alias_and_mode(link: Link) -> list[tuple[str, Any]]:
    attrs = optional(("IFLA_IFALIAS", link.alias))
    if link.addr_gen_mode is not None:
        attrs.append(("IFLA_AF_SPEC", {"attrs": [("AF_INET6", {"attrs": [MODE(link.addr_gen_mode)]})]}))
    return attrs


def MODE(mode: int) -> tuple[str, int]:
    return ("IFLA_INET6_ADDR_GEN_MODE", mode)


@given(links(Scope.NODE), links(Scope.WORKLOAD), st.integers(3, 2**31 - 1))
def test_creating_a_pair_is_encoded_as_pyroute2_does(node: Link, end: Link, netns_fd: int) -> None:
    """The message that makes a veth pair is byte for byte what pyroute2 sends for the same attributes."""
    peer = optional(("IFLA_IFNAME", end.name), ("IFLA_ADDRESS", mac_words(end.mac)), ("IFLA_MTU", end.mtu))
    peer.append(("IFLA_NET_NS_FD", netns_fd))
    attrs = optional(
        ("IFLA_IFNAME", node.name),
        ("IFLA_ADDRESS", mac_words(node.mac)),
        ("IFLA_MTU", node.mtu),
        ("IFLA_GROUP", node.group),
    )
    info = [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", {"attrs": peer})]})]
    attrs.append(("IFLA_LINKINFO", {"attrs": info}))
    created, *rest = encode.create_veth(node, end, netns_fd)
    assert created.body == encoded(ifinfmsg(), attrs)
    if more := alias_and_mode(node):
        assert rest[0].body == encoded(ifinfmsg(), [("IFLA_IFNAME", node.name), *more])


