"""Hearing: damage marks its attachment, our own work marks nothing, and what is lost is told."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from struct import pack

import pytest

from netplumb.models.attachment import AttachmentKey
from netplumb.models.kernel import LINK_GROUP, Link, Route, Scope
from netplumb.models.naming import alias_of, node_if_name
from netplumb.reconciler.converge.hints import Hint, Hints
from netplumb.reconciler.kernel.netlink.wire import attribute, text
from netplumb.reconciler.kernel.rtnetlink import encode, encodelinks
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt
from netplumb.reconciler.kernel.rtnetlink.listener import (
    NETCONFA_FORWARDING,
    NETCONFA_IFINDEX,
    NETCONFA_PROXY_NEIGH,
    NETCONFA_RP_FILTER,
    NODE_NSID,
    Event,
    Subject,
)
from netplumb.reconciler.watch.hearing import Heard, hear

WEB, DB = AttachmentKey("web", "eth0"), AttachmentKey("db", "eth0")
NSID, INDEX, PEER_INDEX = 3, 17, 2
ADDRESS = ip_address("10.1.0.2").packed
NODE_LINK = Link(Scope.NODE, node_if_name(WEB), mtu=1500, group=LINK_GROUP, master=0, alias=alias_of(WEB))
WORKLOAD_LINK = Link(Scope.WORKLOAD, "eth0", mtu=1500)


def hint(**fields: int) -> Hint:
    return Hint(NODE_LINK, WORKLOAD_LINK, INDEX, PEER_INDEX, fields.get("nsid", NSID))


@pytest.fixture
def hints() -> Hints:
    made = Hints()
    made.learn(WEB, hint(), (ADDRESS,))
    return made


def event(
    subject: Subject,
    *,
    nsid: int = NODE_NSID,
    index: int = INDEX,
    deleted: bool = False,
    by_kernel: bool = False,
    replaced: bool = False,
    up: bool = True,
    body: bytes = bytes(16),
) -> Event:
    return Event(subject, deleted, nsid, index, by_kernel, replaced, up, body)


def link_body(link: Link) -> bytes:
    """A link as the kernel tells of it."""
    kind = attribute(rt.IFLA_LINKINFO, text(rt.IFLA_INFO_KIND, link.kind))
    body = encodelinks.link_header(INDEX, rt.IFF_UP) + text(rt.IFLA_IFNAME, link.name) + kind
    for type_, number in ((rt.IFLA_MTU, link.mtu), (rt.IFLA_GROUP, link.group), (rt.IFLA_MASTER, link.master)):
        if number is not None:
            body += attribute(type_, pack("=I", number))
    return body + text(rt.IFLA_IFALIAS, link.alias) if link.alias is not None else body


def link_event(link: Link, *, up: bool = True, deleted: bool = False, by_kernel: bool = True) -> Event:
    nsid, index = (NODE_NSID, INDEX) if link.scope is Scope.NODE else (NSID, PEER_INDEX)
    return event(
        Subject.LINK, nsid=nsid, index=index, up=up, deleted=deleted, by_kernel=by_kernel, body=link_body(link)
    )


def route_event(dst: bytes, *, nsid: int = NODE_NSID, index: int = 99, replaced: bool = False) -> Event:
    body = encode.add_route(Route(Scope.NODE, dst, len(dst) * 8, "x"), index)[0].body
    return event(Subject.ROUTE, nsid=nsid, index=index, replaced=replaced, body=body)


def test_a_link_that_is_as_desired_marks_nothing(hints: Hints) -> None:
    """The echoes of our own work, which carry no sender, show the link as it should be."""
    assert hear([link_event(NODE_LINK), link_event(WORKLOAD_LINK)], hints) == Heard(set(), events=2)


@pytest.mark.parametrize(
    "link",
    [
        replace(NODE_LINK, mtu=1400),
        replace(NODE_LINK, group=0),
        replace(NODE_LINK, master=7),
        replace(NODE_LINK, alias=""),
        replace(NODE_LINK, name="eth7"),
        replace(WORKLOAD_LINK, mtu=1400),
        replace(WORKLOAD_LINK, name="eth7"),
    ],
)
def test_a_link_that_is_not_as_desired_marks_its_attachment(hints: Hints, link: Link) -> None:
    """Damage to either end is heard, even in the drain right after a pass."""
    assert hear([link_event(link)], hints).keys == {WEB}
    assert hear([link_event(link)], hints, {WEB}).keys == {WEB}


@pytest.mark.parametrize("link", [NODE_LINK, WORKLOAD_LINK])
def test_a_link_that_was_not_as_desired_for_a_moment_marks_its_attachment(hints: Hints, link: Link) -> None:
    """With its MAC address it lost its neighbours, and below an MTU of 1280 its IPv6 addresses."""
    changed = [link_event(replace(link, mtu=1000)), link_event(link)]
    assert hear(changed, hints).keys == {WEB}
    assert hear(changed, hints, {WEB}).keys == set(), "a pass has just put it right"


@pytest.mark.parametrize("link", [NODE_LINK, WORKLOAD_LINK])
def test_a_link_that_went_or_went_down_marks_its_attachment(hints: Hints, link: Link) -> None:
    """Removal and going down are damage on either end."""
    assert hear([link_event(link, deleted=True)], hints).keys == {WEB}
    assert hear([link_event(link, up=False)], hints).keys == {WEB}


def test_going_down_and_up_marks_too(hints: Hints) -> None:
    """A link that came back lost its routes on the way."""
    assert hear([link_event(NODE_LINK, up=False), link_event(NODE_LINK)], hints).keys == {WEB}


def test_a_new_link_is_down_before_it_is_up(hints: Hints) -> None:
    """Right after the pass that made it, a link's first state is no damage; falling after it rose is."""
    down, up = link_event(NODE_LINK, up=False), link_event(NODE_LINK)
    assert hear([down, up], hints, {WEB}).keys == set()
    assert hear([down, up, down, up], hints, {WEB}).keys == {WEB}


@pytest.mark.parametrize("subject", [Subject.ADDRESS, Subject.ROUTE, Subject.NEIGHBOUR])
@pytest.mark.parametrize(("nsid", "index"), [(NODE_NSID, INDEX), (NSID, PEER_INDEX)])
@pytest.mark.parametrize("deleted", [True, False])
def test_what_a_process_changes_on_our_links_marks_its_attachment(
    hints: Hints, subject: Subject, nsid: int, index: int, deleted: bool
) -> None:
    """Anybody's change of an address, route or neighbour on either end is looked at, after a pass as well."""
    heard = event(subject, nsid=nsid, index=index, deleted=deleted)
    assert hear([heard], hints, {WEB}).keys == {WEB}


def test_what_the_kernel_takes_away_is_missed_and_what_it_adds_is_not(hints: Hints) -> None:
    """The kernel's own additions follow from what is there; an address that it takes away may be damage, also right
    after a pass."""
    added = event(Subject.ADDRESS, by_kernel=True)
    taken = event(Subject.ADDRESS, by_kernel=True, deleted=True)
    assert hear([added], hints).keys == set()
    assert hear([taken], hints).keys == {WEB}
    assert hear([taken], hints, {WEB}).keys == {WEB}
    assert hear([event(Subject.NEIGHBOUR, by_kernel=True, deleted=True)], hints).keys == set()


def test_events_of_strangers_mark_nothing(hints: Hints) -> None:
    """Other links, and the same index in another namespace, are none of ours, but may be of the node's network."""
    strangers = [
        event(Subject.ADDRESS, index=99),
        event(Subject.ADDRESS, nsid=NSID + 1, index=PEER_INDEX),
        event(Subject.LINK, index=99, up=False),
        event(Subject.NEIGHBOUR, nsid=NSID, index=INDEX),
    ]
    assert hear(strangers, hints) == Heard(set(), events=4, network=True)


def test_what_leads_packets_on_the_node_marks_its_network(hints: Hints) -> None:
    """An address, a route, a rule, a next hop and a link of others; not our own links, and not those of workloads."""
    for subject in (Subject.ADDRESS, Subject.ROUTE, Subject.RULE, Subject.NEXT_HOP, Subject.LINK):
        assert hear([event(subject, index=99, body=bytes(32))], hints).network, subject
        assert not hear([event(subject, index=99, nsid=NSID + 1, body=bytes(32))], hints).network, subject
    ours = encodelinks.link_header(0) + text(rt.IFLA_IFNAME, node_if_name(DB))
    assert not hear([event(Subject.LINK, index=99, body=ours)], hints).network
    assert not hear([event(Subject.NEIGHBOUR, index=99)], hints).network
    assert not hear([event(Subject.ADDRESS)], hints).network


def test_a_foreign_route_to_a_workloads_address_marks_it(hints: Hints) -> None:
    """A route over another interface may have replaced ours; one to elsewhere has not."""
    assert hear([route_event(ADDRESS)], hints).keys == {WEB}
    assert hear([route_event(ip_address("10.1.0.3").packed)], hints).keys == set()


def test_a_replaced_route_in_a_workload_marks_all_of_its_attachments(hints: Hints) -> None:
    """Which route was replaced is not told, so every attachment in that namespace is looked at."""
    hints.learn(DB, Hint(NODE_LINK, None, 18, 5, NSID), ())
    assert hear([route_event(ADDRESS, nsid=NSID, replaced=True)], hints).keys == {WEB, DB}
    assert hear([route_event(ADDRESS, nsid=NSID)], hints).keys == set()


def test_a_namespace_that_went_marks_what_was_in_it(hints: Hints) -> None:
    """The kernel tells the number of a namespace that is gone."""
    gone = event(Subject.NSID, index=NSID, deleted=True, by_kernel=True)
    assert hear([gone], hints).keys == {WEB}
    assert hear([event(Subject.NSID, index=NSID + 1, deleted=True)], hints).keys == set()


def test_a_workloads_loopback_that_went_down_marks_it(hints: Hints) -> None:
    """The loopback of a workload is part of what it was given."""
    assert hear([event(Subject.LINK, nsid=NSID, index=1, up=False)], hints).keys == {WEB}
    assert hear([event(Subject.LINK, nsid=NSID, index=1, up=True)], hints).keys == set()


@pytest.mark.parametrize(
    ("heard", "node"),
    [
        (event(Subject.NETCONF, index=-1), True),
        (event(Subject.NETCONF, index=-2), True),
        (event(Subject.NETCONF, index=5), False),
        (event(Subject.ADDRESS, index=1, deleted=True), True),
        (event(Subject.ADDRESS, index=1, by_kernel=True), True),  # the kernel names nobody who changed an IPv6 address
        (event(Subject.LINK, index=1, up=False, by_kernel=True), True),
        (event(Subject.LINK, index=1, up=True, by_kernel=True), False),
        (event(Subject.ADDRESS, index=1, nsid=NSID, deleted=True), False),
        (event(Subject.ROUTE, index=1), False),
    ],
)
def test_the_nodes_loopback_and_switches_mark_the_node(hints: Hints, heard: Event, node: bool) -> None:
    """What every attachment depends on is looked at when it may have changed, and only then."""
    assert hear([heard], hints).node is node


SWITCHED = replace(NODE_LINK, proxy_ndp=True, forwarding_v4=True, forwarding_v6=True)
SWITCHES = ((rt.AF_INET6, NETCONFA_PROXY_NEIGH), (rt.AF_INET, NETCONFA_FORWARDING), (rt.AF_INET6, NETCONFA_FORWARDING))


def netconf_event(
    family: int, attribute_: int, switch: bool, *, nsid: int = NODE_NSID, index: int = INDEX, new: bool = False
) -> Event:
    body = bytes((family, 0, 0, 0)) + attribute(NETCONFA_IFINDEX, pack("=i", index))
    body += attribute(attribute_, pack("=i", switch))
    if new:
        body += attribute(NETCONFA_RP_FILTER, pack("=i", 0))
    return event(Subject.NETCONF, nsid=nsid, index=index, by_kernel=True, body=body)


@pytest.fixture
def switched(hints: Hints) -> Hints:
    """WEB's link is to have all of its switches on."""
    hints.learn(WEB, replace(hint(), node=SWITCHED), (ADDRESS,))
    return hints


@pytest.mark.parametrize(("family", "number"), SWITCHES)
def test_a_switch_of_a_link_that_went_off_marks_its_attachment(switched: Hints, family: int, number: int) -> None:
    """Without forwarding, or proxy_ndp, nothing comes through. A new link has it off until its pass switches it on."""
    off, on = (netconf_event(family, number, switch) for switch in (False, True))
    assert hear([off], switched).keys == {WEB}
    assert hear([off, on], switched, {WEB}).keys == set()
    assert hear([on, off], switched).keys == {WEB}
    for other in (
        netconf_event(family, 99, False),
        netconf_event(family, number, False, nsid=NSID),
        netconf_event(rt.AF_INET, NETCONFA_PROXY_NEIGH, False),
    ):
        assert hear([other], switched).keys == set()


def test_a_switch_that_is_not_desired_is_left_alone(hints: Hints) -> None:
    """Where a workload has no IPv6, its link's IPv6 switches are nobody's business."""
    hints.learn(WEB, replace(hint(), node=replace(SWITCHED, forwarding_v6=None, proxy_ndp=None)), (ADDRESS,))
    assert hear([netconf_event(rt.AF_INET6, NETCONFA_FORWARDING, False)], hints).keys == set()


def test_what_a_link_shows_later_is_newer_than_its_switch(switched: Hints) -> None:
    """IPv4's forwarding is set in a message of the link, of which no event of the switch tells."""
    off = netconf_event(rt.AF_INET, NETCONFA_FORWARDING, False)
    conf = bytearray(4 * rt.IPV4_DEVCONF_FORWARDING)
    conf[0] = 1
    inet6 = bytearray(4 * (rt.DEVCONF_DISABLE_IPV6 + 1))
    inet6[4 * rt.DEVCONF_FORWARDING] = inet6[4 * rt.DEVCONF_PROXY_NDP] = 1
    families = attribute(rt.AF_INET, attribute(rt.IFLA_INET_CONF, bytes(conf)))
    families += attribute(rt.AF_INET6, attribute(rt.IFLA_INET6_CONF, bytes(inet6)))
    shown = event(Subject.LINK, by_kernel=True, body=link_body(SWITCHED) + attribute(rt.IFLA_AF_SPEC, families))
    assert hear([off, shown], switched).keys == set()
    assert hear([shown, off], switched).keys == {WEB}


@pytest.mark.parametrize("family", [rt.AF_INET, rt.AF_INET6])
def test_forwarding_that_goes_off_everywhere_marks_the_node_alone(switched: Hints, family: int) -> None:
    """With the node's switch go those of all links, and its repair brings them back."""
    everywhere = netconf_event(family, NETCONFA_FORWARDING, False, index=-1)
    one = netconf_event(family, NETCONFA_FORWARDING, False)
    for events in ([everywhere, one], [one, everywhere]):
        heard = hear(events, switched)
        assert (heard.node, heard.keys) == (True, set())


def test_a_foreign_link_that_concerns_the_node_marks_it(hints: Hints) -> None:
    """One that listens to router advertisements, or that others take out of forwarding; not one that is ours, be it
    known or not."""

    def appears(name: str, accept_ra: int) -> Event:
        inet = bytearray(4 * rt.IPV4_DEVCONF_FORWARDING)
        inet[0] = 1
        inet6 = bytearray(4 * (rt.DEVCONF_DISABLE_IPV6 + 1))
        inet6[4 * rt.DEVCONF_ACCEPT_RA] = accept_ra
        families = attribute(rt.AF_INET, attribute(rt.IFLA_INET_CONF, bytes(inet)))
        families += attribute(rt.AF_INET6, attribute(rt.IFLA_INET6_CONF, bytes(inet6)))
        body = link_body(Link(Scope.NODE, name)) + attribute(rt.IFLA_AF_SPEC, families)
        return event(Subject.LINK, index=99, by_kernel=True, body=body)

    assert hear([appears("up1", 1)], hints).node
    assert not hear([appears("up1", 2)], hints).node
    assert not hear([appears(node_if_name(DB), 1)], hints).node
    assert hear([netconf_event(rt.AF_INET, NETCONFA_FORWARDING, False, index=99)], hints).node
    assert not hear([netconf_event(rt.AF_INET, NETCONFA_FORWARDING, False, index=99, new=True)], hints).node


def test_who_should_have_a_proxy_neighbour_is_known(hints: Hints) -> None:
    """By the interface's index, for as long as it is an attachment's."""
    assert hints.proxied == set()
    proxied = replace(hint(), node=replace(NODE_LINK, proxy_ndp=True))
    hints.learn(WEB, proxied, (ADDRESS,))
    assert hints.proxied == {INDEX}
    hints.learn(WEB, replace(proxied, index=INDEX + 1), (ADDRESS,))
    assert hints.proxied == {INDEX + 1}
    hints.forget(WEB)
    assert hints.proxied == set()


def test_lost_events_are_told(hints: Hints) -> None:
    """Where messages were lost, the caller learns it, and what came is still heard."""
    heard = hear([None, link_event(NODE_LINK, deleted=True)], hints)
    assert (heard.lost, heard.keys, heard.events) == (True, {WEB}, 1)


def test_a_forgotten_attachment_leaves_no_hint(hints: Hints) -> None:
    """After a removal nothing points to the key any more."""
    hints.forget(WEB)
    hints.forget(WEB)
    assert hints.get(WEB) is None
    assert hints.at((NODE_NSID, INDEX)) is None
    assert hints.holder(ADDRESS) is None
    assert hints.in_namespace(NSID) == ()


def test_a_hint_that_moved_leaves_no_old_one(hints: Hints) -> None:
    """An attachment that was made anew elsewhere is heard there alone."""
    other = ip_address("10.1.0.9").packed
    hints.learn(WEB, hint(nsid=4), (other,))
    assert hints.at((NSID, PEER_INDEX)) is None
    assert hints.at((4, PEER_INDEX)) == WEB
    assert hints.holder(ADDRESS) is None
    assert hints.holder(other) == WEB


def test_a_place_taken_over_is_not_lost_with_its_former_owner(hints: Hints) -> None:
    """An index and an address that passed to another key stay that key's when the first is forgotten."""
    hints.learn(DB, hint(), (ADDRESS,))
    hints.forget(WEB)
    assert hints.at((NODE_NSID, INDEX)) == DB
    assert hints.holder(ADDRESS) == DB


@pytest.mark.parametrize(("addresses", "rendered", "marks"), [(16, False, True), (16, True, False), (4, False, False)])
def test_an_address_of_the_kernels_marks_who_lost_ipv6(
    hints: Hints, addresses: int, rendered: bool, marks: bool
) -> None:
    """It is how the kernel tells that IPv6 was switched on again; each attach has such an event too, and none is marked
    by it."""
    link = replace(NODE_LINK, proxy_ndp=rendered or None)
    hints.learn(WEB, Hint(link, WORKLOAD_LINK, INDEX, PEER_INDEX, NSID), (bytes(addresses),))
    heard = hear([event(Subject.ADDRESS, nsid=NSID, index=PEER_INDEX, by_kernel=True)], hints)
    assert heard.keys == ({WEB} if marks else set())


def test_what_is_told_of_before_it_is_known_is_looked_at_when_it_is(hints: Hints) -> None:
    """A pass in a thread leaves its hint when it has ended, and may have read the place before it was damaged."""
    unknown = Hint(NODE_LINK, WORKLOAD_LINK, INDEX + 1, PEER_INDEX + 1, NSID + 1)
    hear([event(Subject.ROUTE, index=INDEX + 1, deleted=True)], hints)
    assert hints.learn(DB, unknown, ())
    assert not hints.learn(DB, unknown, ())
    hints.forget(DB)
    hints.no_pass_is_under_way()
    assert not hints.learn(DB, unknown, ())


def test_a_namespace_that_is_told_of_before_it_is_known_is_looked_at_too(hints: Hints) -> None:
    """Of one in which nobody is known nothing is read but that it told of something."""
    hints.told_of_nobody(NSID + 1)
    assert hints.learn(DB, Hint(NODE_LINK, WORKLOAD_LINK, INDEX + 1, PEER_INDEX, NSID + 1), ())
    assert not hints.learn(WEB, replace(hint(), index=INDEX + 2), (ADDRESS,))
