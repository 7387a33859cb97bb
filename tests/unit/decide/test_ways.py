"""Ways to other nodes as objects. That the kernel takes and tells them so is held by tests/netns/test_ways.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplumb.models.cluster import ClusterMode, ClusterView, HeldPrefix, Peer, Underlay
from netplumb.models.kernel import FdbEntry, KernelObject, Key, Link, Neighbour, Route
from netplumb.models.naming import node_mac
from netplumb.models.network import Node
from netplumb.models.nodenetwork import Connected, Crossing, NodeNetwork
from netplumb.models.steps import Step, Verb
from netplumb.reconciler.decide.uplinks import mtu_with_ways
from netplumb.reconciler.decide.ways import (
    TOLD_MAX,
    Device,
    Ground,
    Trouble,
    Way,
    ground,
    render_ground,
    render_peer,
    steps_of,
    way_conditions,
)

DEVICE = Device("np-vxlan", 78, 4789)
POOL_V4, POOL_V6 = ip_network("10.128.0.0/14"), ip_network("fd80::/48")
OWN = (HeldPrefix(POOL_V4, ip_network("10.128.0.0/24")), HeldPrefix(POOL_V6, ip_network("fd80::/64")))
UNDERLAY = Underlay(ip_address("192.0.2.1"), ip_address("fd01::1"))
NODE = Node(node_addresses=(ip_address("10.128.0.1"), ip_address("fd80::1")))
KNOWN = NodeNetwork(
    foreign=frozenset({(ip_address("192.0.2.1"), "eth0"), (ip_address("fd01::1"), "eth0")}),
    connected=(
        Connected(ip_network("192.0.2.0/24"), "eth0", of_address=True),
        Connected(ip_network("fd01::/64"), "eth0", of_address=True),
    ),
    mtus={"eth0": 1500},
    uplink_mtu=1500,
)
VIEW = ClusterView("node-1", ClusterMode.ROUTES, UNDERLAY, (POOL_V4, POOL_V6), OWN)


def peer(number: int, underlay: Underlay | None = None) -> Peer:
    there = Underlay(ip_address(f"192.0.2.{number}"), ip_address(f"fd01::{number:x}"))
    cidrs = (ip_network(f"10.128.{number}.0/24"), ip_network(f"fd80:0:0:{number:x}::/64"))
    held = tuple(HeldPrefix(pool, cidr) for pool, cidr in zip((POOL_V4, POOL_V6), cidrs, strict=True))
    return Peer(f"node-{number}", underlay or there, held)


def on(mode: ClusterMode, known: NodeNetwork = KNOWN, view: ClusterView = VIEW) -> Ground:
    return ground(replace(view, mode=mode), DEVICE, NODE, known)


def words(way: Way) -> list[str]:
    return [str(thing) for thing in way.things]


def test_with_routes_each_prefix_goes_by_the_peers_address_of_its_family() -> None:
    """From the node's own address in its prefix, over the link that the peer is on."""
    assert words(render_peer(peer(2), on(ClusterMode.ROUTES))) == [
        "route 10.128.2.0/24 via 192.0.2.2 dev eth0 proto netplumb src 10.128.0.1",
        "route fd80:0:0:2::/64 via fd01::2 dev eth0 proto netplumb src fd80::1 metric 16",
    ]


def test_ipv4_goes_by_an_ipv6_address_where_there_is_no_other() -> None:
    """And IPv6 does not go by IPv4, which the kernel cannot: that is told."""
    of = on(ClusterMode.ROUTES)
    alone_v6 = render_peer(peer(2, Underlay(None, ip_address("fd01::2"))), of)
    assert words(alone_v6)[0] == "route 10.128.2.0/24 via inet6 fd01::2 dev eth0 proto netplumb src 10.128.0.1"
    alone_v4 = render_peer(peer(2, Underlay(ip_address("192.0.2.2"))), of)
    assert len(alone_v4.things) == 1
    assert [it.condition for it in alone_v4.troubles] == ["PeerWithoutAddress"]


def test_with_vxlan_one_entry_a_peer_and_a_neighbour_and_a_route_a_prefix() -> None:
    """The gateway is on the device by its word alone, and its MAC follows from the peer's name."""
    of = on(ClusterMode.VXLAN)
    mac = node_mac("node-2").hex(":")
    assert words(render_peer(peer(2), of)) == [
        f"fdb {mac} dst 192.0.2.2 dev np-vxlan",
        f"neighbour 10.128.2.0 lladdr {mac} dev np-vxlan proto netplumb",
        "route 10.128.2.0/24 via 10.128.2.0 dev np-vxlan proto netplumb onlink src 10.128.0.1",
        f"neighbour fd80:0:0:2:: lladdr {mac} dev np-vxlan proto netplumb",
        "route fd80:0:0:2::/64 via fd80:0:0:2:: dev np-vxlan proto netplumb onlink src fd80::1 metric 16",
    ]
    link, _ = render_ground(of).things
    assert isinstance(link, Link)
    assert (link.mtu, str(link.tunnel)) == (1450, "id 78 local 192.0.2.1 dstport 4789")


@pytest.mark.parametrize(
    ("mode", "underlay", "uplink", "mtu"),
    [
        (ClusterMode.ROUTES, UNDERLAY, 1500, 1500),
        (ClusterMode.ROUTES, UNDERLAY, 9000, 1500),
        (ClusterMode.VXLAN, UNDERLAY, 1500, 1450),
        (ClusterMode.VXLAN, Underlay(None, ip_address("fd01::1")), None, 1430),
        (ClusterMode.VXLAN, UNDERLAY, 1400, 1400),
        (ClusterMode.NONE, UNDERLAY, 9000, 9000),
    ],
)
def test_workloads_send_no_more_than_passes_by_every_way(
    mode: ClusterMode, underlay: Underlay, uplink: int | None, mtu: int
) -> None:
    """The uplink's, or the underlay's less what the outer headers take."""
    assert mtu_with_ways(replace(VIEW, mode=mode, underlay=underlay), replace(KNOWN, uplink_mtu=uplink)) == mtu


def test_another_node_of_the_same_name_has_the_same_mac_and_no_two_names_share_one() -> None:
    """MACs are derived, unicast and locally administered."""
    macs = {node_mac(f"node-{number}") for number in range(5000)}
    assert len(macs) == 5000
    assert all(mac[0] & 3 == 2 for mac in macs)


def test_ways_of_nobody_are_told_once_and_not_without_end() -> None:
    """A hundred peers on no link are one condition that names the first."""
    far = NodeNetwork(foreign=KNOWN.foreign, mtus=KNOWN.mtus)
    troubles = [it for n in range(2, 102) for it in render_peer(peer(n), on(ClusterMode.ROUTES, far)).troubles]
    (told,) = way_conditions(troubles)
    assert (told.type, told.reason) == ("PeerNotOnLink", "NotOnLink")
    assert "node-2 at 192.0.2.2, which 10.128.2.0/24 is behind, is on no link of this node" in told.message
    assert f"and {200 - TOLD_MAX} more" in told.message


def test_a_device_without_an_address_to_send_from_is_not_made_and_not_taken_away() -> None:
    """Nor is anything on it tried; what is there stays."""
    of = on(ClusterMode.VXLAN, NodeNetwork())
    base, way = render_ground(of), render_peer(peer(2), of)
    assert [it.condition for it in base.troubles] == ["UnderlayMissing"]
    assert steps_of([base, way], {}) == ([], ())
    there = {thing.key: thing for thing in (*base.things, *way.things)}
    assert steps_of([base, way], there) == ([], ())


@pytest.mark.parametrize(
    ("underlay", "told"),
    [
        (UNDERLAY, ""),
        (Underlay(ip_address("192.0.2.9")), "no interface of this node has its underlay address 192.0.2.9"),
        (replace(UNDERLAY, v6=ip_address("fd01::9")), "no interface of this node has its underlay address fd01::9"),
        (Underlay(), "this node has no underlay address"),
    ],
)
def test_with_routes_too_a_node_that_others_cannot_reach_is_told(underlay: Underlay, told: str) -> None:
    """They go by what it says, and nothing comes; the ways from here are made all the same."""
    of = on(ClusterMode.ROUTES, view=replace(VIEW, underlay=underlay))
    base = render_ground(of)
    assert [(it.condition, it.words) for it in base.troubles] == ([("UnderlayMissing", told)] if told else [])
    assert (base.things, base.withheld, render_peer(peer(2), of).troubles) == ((), frozenset(), ())
    assert render_ground(on(ClusterMode.NONE, view=replace(VIEW, underlay=underlay))) == Way()


@pytest.mark.parametrize(
    ("crossing", "withheld", "told"),
    [
        (Crossing(ip_network("10.128.2.0/24"), 0, "x"), True, True),
        (Crossing(ip_network("10.128.2.0/24"), 100, "x"), False, False),
        (Crossing(ip_network("fd80:0:0:2::/64"), 16, "x"), True, True),
        (Crossing(ip_network("fd80:0:0:2::/64"), 1024, "x"), False, False),
        (Crossing(ip_network("10.128.2.64/26"), 100, "x"), False, True),
        (Crossing(ip_network("10.128.3.0/24"), 0, "x"), False, False),
        (Crossing(ip_network("10.128.0.0/16"), 0, "x"), False, False),
    ],
    ids=lambda it: str(it.dst) if isinstance(it, Crossing) else str(it),
)
def test_a_foreign_route_is_in_the_way_where_it_would_be_asked_first(
    crossing: Crossing, *, withheld: bool, told: bool
) -> None:
    """To the same prefix ahead of ours, or to a part of it; what is behind or larger leads nothing away."""
    way = render_peer(peer(2), on(ClusterMode.ROUTES, replace(KNOWN, crossing=(crossing,))))
    assert bool(way.withheld) == withheld
    assert bool(way.troubles) == told


ADDRESSES = st.one_of(st.none(), st.integers(2, 250))


@st.composite
def peers(draw: st.DrawFn) -> Mapping[str, Peer]:
    numbers = draw(st.sets(st.integers(2, 30), max_size=6))
    found = {}
    for number in numbers:
        v4, v6 = draw(ADDRESSES), draw(ADDRESSES)
        underlay = Underlay(ip_address(f"192.0.2.{v4}") if v4 else None, ip_address(f"fd01::{v6:x}") if v6 else None)
        it = peer(number, underlay)
        found[it.node] = replace(it, prefixes=it.prefixes[: draw(st.integers(0, 2))])
    return found


def ways(view: Mapping[str, Peer], of: Ground) -> list[Way]:
    return [render_ground(of), *(render_peer(it, of) for it in view.values())]


def made(steps: Iterable[Step], there: Mapping[Key, KernelObject]) -> dict[Key, KernelObject]:
    """As a kernel that does what it is told: with a link goes what is on it."""
    now = dict(there)
    for step in steps:
        if isinstance(step.thing, Link) and step.verb is Verb.REMOVE:
            on_it = [it for it in now.values() if getattr(it, "link", "") == step.thing.name]
            for thing in (step.thing, *on_it):
                del now[thing.key]
        elif step.verb is Verb.REMOVE:
            del now[step.thing.key]
        else:
            now[step.thing.key] = step.thing
    return now


MODES = st.sampled_from(list(ClusterMode))


@given(peers(), peers(), MODES, MODES)
def test_whatever_a_view_becomes_one_pass_leaves_nothing_to_do(
    before: Mapping[str, Peer], after: Mapping[str, Peer], mode: ClusterMode, other: ClusterMode
) -> None:
    """What was made for one view and then for another differs in nothing from it, and nothing of the first is left."""
    there = made(steps_of(ways(before, on(mode)), {})[0], {})
    assert steps_of(ways(before, on(mode)), there)[0] == []
    now = made(steps_of(ways(after, on(other)), there)[0], there)
    assert steps_of(ways(after, on(other)), now)[0] == []
    assert now == {thing.key: thing for way in ways(after, on(other)) for thing in way.things}


@given(peers(), MODES)
def test_what_a_peer_is_follows_from_itself(view: Mapping[str, Peer], mode: ClusterMode) -> None:
    """No two peers have an object in common, so that one can be passed over without the others."""
    of = on(mode)
    keys = [thing.key for it in view.values() for thing in render_peer(it, of).things]
    assert len(keys) == len(set(keys))


@given(peers(), MODES)
def test_the_order_is_such_that_the_kernel_takes_it(view: Mapping[str, Peer], mode: ClusterMode) -> None:
    """The device first, then who is behind it, then routes; and the other way round when all goes."""
    order = [type(step.thing) for step in steps_of(ways(view, on(mode)), {})[0]]
    ranks = [(Link, FdbEntry, Neighbour, Route).index(it) for it in order if it.__name__ != "LinkUp"]
    assert ranks == sorted(ranks)


def test_a_trouble_is_told_in_words() -> None:
    """What helps stands behind what is."""
    (told,) = way_conditions([Trouble("ForeignWay", "ForeignRoute", "x is in the place of y")])
    assert told.message.startswith("x is in the place of y. It is not netplumb's")
