"""Which ways an event marks."""

from __future__ import annotations

from struct import pack

import pytest

from netplumb.models.kernel import WAYS_GROUP, FdbEntry, Link, Neighbour, Route, Scope
from netplumb.reconciler.decide.ways import Way
from netplumb.reconciler.kernel.netlink.wire import attribute, text, u32
from netplumb.reconciler.kernel.rtnetlink import encode
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt
from netplumb.reconciler.kernel.rtnetlink.listener import NODE_NSID, Event, Subject
from netplumb.reconciler.watch.ways import ALL, NONE, Marks, WayHints

DEVICE, UNDERLAY = 7, 2
MAC = bytes.fromhex("0200000000aa")
ROUTE = Route(Scope.NODE, bytes((10, 128, 2, 0)), 24, "np-vxlan", bytes((10, 128, 2, 0)), onlink=True)
NEIGHBOUR = Neighbour(Scope.NODE, "np-vxlan", bytes((10, 128, 2, 0)), MAC)
ENTRY = FdbEntry("np-vxlan", MAC, bytes((192, 0, 2, 2)))
LINK = Link(Scope.NODE, "np-vxlan", kind="vxlan", group=WAYS_GROUP, mtu=1450)
PEER = Marks(frozenset(("node-2",)))


@pytest.fixture
def hints() -> WayHints:
    hints = WayHints("np-vxlan")
    hints.learn_links({"np-vxlan": DEVICE, "eth0": UNDERLAY}, Way((LINK,)))
    hints.learn("node-2", Way(), Way((ENTRY, NEIGHBOUR, ROUTE)))
    return hints


def told(subject: Subject, body: bytes, index: int, *, deleted: bool = False, up: bool = True) -> Event:
    return Event(subject, deleted, NODE_NSID, index, by_kernel=False, replaced=False, up=up, body=body)


def of_link(index: int, name: str, *, up: bool = True, deleted: bool = False, mtu: int = 1450) -> Event:
    info = attribute(rt.IFLA_LINKINFO, text(rt.IFLA_INFO_KIND, "vxlan"))
    body = rt.IFINFOMSG.pack(0, 0, index, rt.IFF_UP if up else 0, 0) + text(rt.IFLA_IFNAME, name)
    body += u32(rt.IFLA_MTU, mtu) + u32(rt.IFLA_GROUP, WAYS_GROUP) + info
    return told(Subject.LINK, body, index, deleted=deleted, up=up)


def test_what_leads_to_a_peer_marks_that_peer(hints: WayHints) -> None:
    """A route to its prefix, over whatever link; the neighbour and the device's entry that it needs."""
    (route,), (neighbour,), (entry,) = (
        encode.add_route(ROUTE, UNDERLAY),
        encode.add_neighbour(NEIGHBOUR, DEVICE),
        encode.add_fdb(ENTRY, DEVICE),
    )
    assert hints.heard(told(Subject.ROUTE, route.body, UNDERLAY)) == PEER
    assert hints.heard(told(Subject.NEIGHBOUR, neighbour.body, DEVICE)) == PEER
    assert hints.heard(told(Subject.NEIGHBOUR, entry.body, DEVICE)) == PEER


def test_what_leads_to_nobody_marks_nobody_but_on_the_device(hints: WayHints) -> None:
    """Others' routes, and others' neighbours on other links; what is on the device is ours, so a stray one is."""
    other = Route(Scope.NODE, bytes((10, 128, 3, 0)), 24, "eth0", bytes((192, 0, 2, 3)))
    stray = FdbEntry("np-vxlan", bytes(6), bytes((192, 0, 2, 9)))
    assert hints.heard(told(Subject.ROUTE, encode.add_route(other, UNDERLAY)[0].body, UNDERLAY)) == NONE
    assert hints.heard(told(Subject.NEIGHBOUR, encode.add_neighbour(NEIGHBOUR, UNDERLAY)[0].body, UNDERLAY)) == NONE
    assert hints.heard(told(Subject.NEIGHBOUR, encode.add_fdb(stray, DEVICE)[0].body, DEVICE)) == ALL


def test_a_link_that_ways_go_by_marks_all_when_it_goes_and_when_it_comes_back(hints: WayHints) -> None:
    """The kernel does not tell of the routes that went with it; a link that stays up marks none."""
    shaken = Marks(all=True, shaken="eth0")
    assert hints.heard(of_link(UNDERLAY, "eth0", mtu=1500)) == NONE
    assert hints.heard(of_link(UNDERLAY, "eth0", up=False)) == shaken
    assert hints.heard(of_link(UNDERLAY, "eth0")) == shaken
    assert hints.heard(of_link(UNDERLAY, "eth0")) == NONE
    assert hints.heard(of_link(9, "eth9", up=False)) == NONE


def test_the_device_marks_all_when_it_is_not_as_it_should_be(hints: WayHints) -> None:
    """Changed, renamed, deleted, or another in its place; as it should be, it marks none."""
    assert hints.heard(of_link(DEVICE, "np-vxlan")) == NONE
    assert hints.heard(of_link(DEVICE, "np-vxlan", mtu=1400)) == ALL
    assert hints.heard(of_link(DEVICE, "stray0")) == ALL
    assert hints.heard(of_link(DEVICE, "np-vxlan", deleted=True)) == ALL
    assert hints.heard(of_link(12, "np-vxlan")) == ALL


def test_an_address_that_goes_from_a_link_marks_all(hints: WayHints) -> None:
    """With the last IPv4 address of an interface go all IPv4 routes by it, of which nobody tells."""
    body = rt.IFADDRMSG.pack(rt.AF_INET, 24, 0, 0, UNDERLAY) + pack("=HH4s", 8, rt.IFA_LOCAL, bytes((192, 0, 2, 1)))
    assert hints.heard(told(Subject.ADDRESS, body, UNDERLAY, deleted=True)) == Marks(all=True, shaken="eth0")
    assert hints.heard(told(Subject.ADDRESS, body, UNDERLAY)) == NONE
    assert hints.heard(told(Subject.ADDRESS, body, 12, deleted=True)) == NONE


def test_a_peer_that_is_gone_is_marked_no_more(hints: WayHints) -> None:
    """Its prefix may be another's by then, who is marked in its place."""
    (route,) = encode.add_route(ROUTE, UNDERLAY)
    hints.learn("node-3", Way(), Way((ROUTE,)))
    hints.learn("node-2", Way((ENTRY, NEIGHBOUR, ROUTE)), Way())
    assert hints.heard(told(Subject.ROUTE, route.body, UNDERLAY)) == Marks(frozenset(("node-3",)))


def test_what_is_told_of_during_a_pass_is_looked_at_when_it_is_known(hints: WayHints) -> None:
    """A pass over a new peer, or the first of all, may have read before that changed, and tells what there is later."""
    other = Route(Scope.NODE, bytes((10, 128, 3, 0)), 24, "eth0", bytes((192, 0, 2, 3)))
    event = told(Subject.ROUTE, encode.delete_route(other, UNDERLAY)[0].body, UNDERLAY, deleted=True)
    assert hints.heard(event) == NONE
    hints.passing()
    assert hints.heard(event) == NONE
    hints.learn("node-3", Way(), Way((other,)))
    assert hints.passed() == Marks(frozenset(("node-3",)))
    hints.passing()
    assert hints.passed() == NONE
    hints.passing()
    assert hints.heard(of_link(9, "eth9", up=False)) == NONE
    hints.learn_links({"np-vxlan": DEVICE, "eth9": 9}, Way((LINK,)))
    assert hints.passed() == ALL
