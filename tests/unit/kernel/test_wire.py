"""Wire format: requests are held equal to pyroute2's own encoding, and no input makes the parsers raise or hang."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from struct import pack, unpack_from
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from netplumb.models.kernel import Address, Link, Neighbour, Route, Scope
from netplumb.reconciler.kernel.netlink import wire
from netplumb.reconciler.kernel.rtnetlink import encode, encodelinks
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt

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
        master=st.none() | u32s,
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
        mode = ("IFLA_INET6_ADDR_GEN_MODE", link.addr_gen_mode)
        attrs.append(("IFLA_AF_SPEC", {"attrs": [("AF_INET6", {"attrs": [mode]})]}))
    return attrs


def unflagged(body: bytes, offset: int = 16) -> bytes:
    """The message without NLA_F_NESTED, which pyroute2 leaves out of link messages and the kernel takes either way."""
    out = body[:offset]
    while offset < len(body):
        size, type_ = unpack_from("=HH", body, offset)
        payload = body[offset + 4 : offset + size]
        if type_ & rt.NLA_F_NESTED:
            type_ &= ~rt.NLA_F_NESTED
            # A veth's peer is a link message of its own, with its own header before the attributes.
            header = rt.IFINFOMSG.size if type_ == rt.VETH_INFO_PEER and payload[:16] == bytes(16) else 0
            payload = unflagged(payload, header)
        out += pack("=HH", size, type_) + payload + bytes(-size % 4)
        offset += size + -size % 4
    return out


@given(links(Scope.NODE), links(Scope.WORKLOAD), st.integers(3, 2**31 - 1))
def test_creating_a_pair_is_encoded_as_pyroute2_does(node: Link, end: Link, netns_fd: int) -> None:
    """The message that makes a veth pair is byte for byte what pyroute2 sends for the same attributes."""
    one_queue = [("IFLA_NUM_TX_QUEUES", 1), ("IFLA_NUM_RX_QUEUES", 1)]
    peer = optional(
        ("IFLA_IFNAME", end.name),
        *one_queue,
        ("IFLA_ADDRESS", mac_words(end.mac)),
        ("IFLA_MTU", end.mtu),
        ("IFLA_GROUP", end.group),
    )
    peer.append(("IFLA_NET_NS_FD", netns_fd))
    attrs = optional(
        ("IFLA_IFNAME", node.name),
        *one_queue,
        ("IFLA_ADDRESS", mac_words(node.mac)),
        ("IFLA_MTU", node.mtu),
        ("IFLA_GROUP", node.group),
    )
    info = [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", {"attrs": peer})]})]
    attrs.append(("IFLA_LINKINFO", {"attrs": info}))
    created, *rest = encodelinks.create_veth(node, end, netns_fd)
    assert unflagged(created.body) == encoded(ifinfmsg(), attrs)
    if more := alias_and_mode(node):
        assert unflagged(rest[0].body) == encoded(ifinfmsg(), [("IFLA_IFNAME", node.name), *more])


@given(links(Scope.NODE), links(Scope.NODE), indexes)
def test_changing_a_link_is_encoded_as_pyroute2_does(desired: Link, other: Link, index: int) -> None:
    """A link's repair names what differs, and nothing else, in pyroute2's encoding."""
    observed = replace(other, index=index)
    fields = desired.differences(observed)
    expected = []
    if "name" in fields or ("mtu" in fields and "addr_gen_mode" in fields and observed.addr_gen_mode is None):
        expected.append(encoded(ifinfmsg(), [], index=index, change=rt.IFF_UP))
    if "name" in fields:
        expected.append(encoded(ifinfmsg(), [("IFLA_IFNAME", desired.name)], index=index))
    attrs = optional(
        ("IFLA_ADDRESS", mac_words(desired.mac) if "mac" in fields else None),
        ("IFLA_MTU", desired.mtu if "mtu" in fields else None),
        ("IFLA_GROUP", desired.group if "group" in fields else None),
        ("IFLA_MASTER", desired.master if "master" in fields else None),
    )
    settings = alias_and_mode(
        replace(
            desired,
            alias=desired.alias if "alias" in fields else None,
            addr_gen_mode=desired.addr_gen_mode if "addr_gen_mode" in fields else None,
        )
    )
    expected += [encoded(ifinfmsg(), each, index=index) for each in (attrs, settings) if each]
    assert [unflagged(request.body) for request in encodelinks.change_link(desired, observed)] == expected


@given(indexes, names)
def test_reading_and_removing_links_is_encoded_as_pyroute2_does(index: int, name: str) -> None:
    """Reads by name or index, removals and the way up are what pyroute2 sends."""
    mask = ("IFLA_EXT_MASK", rt.RTEXT_FILTER_SKIP_STATS)
    assert encodelinks.get_link_by_name(name).body == encoded(ifinfmsg(), [("IFLA_IFNAME", name), mask])
    assert encodelinks.get_link_by_index(index).body == encoded(ifinfmsg(), [mask], index=index)
    assert encodelinks.dump_links() == encoded(ifinfmsg(), [mask])
    assert encodelinks.delete_link(index)[0].body == encoded(ifinfmsg(), [], index=index)
    assert encodelinks.set_up(index)[0].body == encoded(ifinfmsg(), [], index=index, flags=rt.IFF_UP, change=rt.IFF_UP)
    assert encodelinks.set_group(index, 7).body == encoded(ifinfmsg(), [("IFLA_GROUP", 7)], index=index)
    assert encodelinks.delete_group(7).body == encoded(ifinfmsg(), [("IFLA_GROUP", 7)])


@given(addresses, indexes)
def test_addresses_are_encoded_as_pyroute2_does(address: Address, index: int) -> None:
    """Adding and removing an address is byte for byte pyroute2's message for it."""
    ip = words(address.ip)
    family = rt.family_of(address.ip)
    header = {"family": family, "prefixlen": address.prefix_len, "scope": address.rt_scope, "index": index}
    attrs: list[tuple[str, Any]] = [("IFA_LOCAL", ip), ("IFA_ADDRESS", ip), ("IFA_PROTO", address.protocol)]
    flags = rt.IFA_F_NOPREFIXROUTE | (rt.IFA_F_NODAD if family == rt.AF_INET6 else 0)
    assert encode.delete_address(address, index)[0].body == encoded(ifaddrmsg(), attrs, **header)
    assert encode.add_address(address, index)[0].body == encoded(ifaddrmsg(), [*attrs, ("IFA_FLAGS", flags)], **header)


@given(routes(), indexes)
def test_routes_are_encoded_as_pyroute2_does(route: Route, index: int) -> None:
    """Adding and removing a route is byte for byte pyroute2's message for it."""
    attrs = optional(
        ("RTA_DST", words(route.dst) if route.prefix_len else None),
        ("RTA_GATEWAY", words(route.gateway) if route.gateway is not None else None),
        ("RTA_OIF", index),
        ("RTA_PREFSRC", words(route.prefsrc) if route.prefsrc is not None else None),
        ("RTA_PRIORITY", route.metric or None),
    )
    expected = encoded(
        rtmsg(),
        attrs,
        family=rt.family_of(route.dst),
        dst_len=route.prefix_len,
        table=rt.RT_TABLE_MAIN,
        proto=route.protocol,
        scope=route.rt_scope,
        type=rt.RTN_UNICAST,
    )
    assert encode.add_route(route, index)[0].body == encode.delete_route(route, index)[0].body == expected


@given(routes(), indexes, indexes)
def test_a_changed_ipv4_route_is_never_missing(route: Route, index: int, before: int) -> None:
    """An IPv4 route is replaced by the new one first; IPv6 cannot have both, so there the old one goes first; so it
    does where it has no source address, since to delete that would take the new one."""
    kinds = [request.type for request in encode.change_route(route, index, route, before)]
    if len(route.dst) == 4 and route.prefsrc is not None:
        assert kinds == [rt.RTM_NEWROUTE, rt.RTM_DELROUTE]
    else:
        assert kinds == [rt.RTM_DELROUTE, rt.RTM_NEWROUTE]


@given(neighbours, indexes)
def test_neighbours_are_encoded_as_pyroute2_does(neighbour: Neighbour, index: int) -> None:
    """Adding and removing a neighbour is byte for byte pyroute2's message for it."""
    attrs = optional(
        ("NDA_DST", words(neighbour.ip)),
        ("NDA_LLADDR", mac_words(neighbour.mac)),
        ("NDA_PROTOCOL", neighbour.protocol),
    )
    expected = encoded(
        ndmsg(),
        attrs,
        family=rt.family_of(neighbour.ip),
        ifindex=index,
        state=0 if neighbour.proxy else rt.NUD_PERMANENT,
        flags=rt.NTF_PROXY | rt.NTF_ROUTER if neighbour.proxy else 0,
    )
    assert encode.add_neighbour(neighbour, index)[0].body == expected
    assert encode.delete_neighbour(neighbour, index)[0].body == expected


@given(st.binary(max_size=200), st.integers(0, 300))
def test_malformed_attributes_neither_raise_nor_loop(data: bytes, offset: int) -> None:
    """Whatever the bytes are, parsing attributes ends and yields pieces of them."""
    for value in wire.attributes(data, offset).values():
        assert len(value) <= len(data)


@given(st.binary(max_size=400))
def test_malformed_messages_neither_raise_nor_loop(data: bytes) -> None:
    """Whatever the bytes are, parsing messages ends after at most one per header's length."""
    assert len(list(wire.messages(data))) <= len(data) // 16 + 1


@given(st.integers(0, 2**32 - 1), st.binary(max_size=64))
def test_a_message_that_lies_about_its_size_ends_the_parse(size: int, rest: bytes) -> None:
    """A length that is too small ends the parse, one that is too large yields what is there."""
    found = list(wire.messages(pack("=IHHII", size, 1, 0, 0, 0) + rest))
    assert not found if size < 16 else len(found) >= 1


@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=40), max_size=8))
def test_what_is_encoded_is_parsed_back(attrs: dict[int, bytes]) -> None:
    """Attributes come back as they were put in."""
    body = b"".join(wire.attribute(type_, payload) for type_, payload in attrs.items())
    assert wire.attributes(body) == attrs


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), u32s, st.binary(max_size=40)), max_size=5))
def test_messages_of_one_datagram_are_told_apart(parts: list[tuple[int, int, bytes]]) -> None:
    """Each message of a datagram comes back with its type, sequence number and body."""
    data = b"".join(
        wire.HEADER.pack(16 + len(body), type_, 0, sequence, 5) + body + bytes(-len(body) % 4)
        for type_, sequence, body in parts
    )
    assert [(type_, sequence, bytes(body)) for type_, _, sequence, _, body in wire.messages(data)] == parts


def test_text_that_is_not_utf8_stays_distinguishable() -> None:
    """Two names that differ in bytes outside UTF-8 are two names."""
    assert wire.string(b"a\xff\0") != wire.string(b"a\xfe\0")
    assert wire.string(None) == ""
