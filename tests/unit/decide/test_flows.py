"""Which flows would be led otherwise if they began now."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplumb.models.attachment import Attachment, AttachmentSpec, NetnsRef
from netplumb.models.flows import Flow, Walk
from netplumb.models.kernel import Address, KernelObject, Link, Route, Scope
from netplumb.models.naming import node_if_name
from netplumb.models.network import Node
from netplumb.models.nft import WORKLOADS_CLOSED, WORKLOADS_OPEN, NftChain, NftElement, hairpin_set
from netplumb.models.nodenetwork import NodeNetwork, Source
from netplumb.models.ports import End
from netplumb.models.steps import Step, Verb
from netplumb.reconciler.decide.flows import Course, links_of, unfit
from netplumb.reconciler.decide.leaving import Leaving
from netplumb.reconciler.decide.portmaps import ports_of
from netplumb.reconciler.decide.render import render_elements
from netplumb.reconciler.decide.render.masquerade import render_masquerade
from netplumb.reconciler.decide.suspects import Suspects, suspects, suspects_around, suspects_of, walks

TCP, UDP, ICMP = 6, 17, 1
NODE, WEB, DB, OUTSIDE, GONE = "192.0.2.1", "10.9.0.2", "10.9.0.3", "192.0.2.2", "10.9.0.66"
LOCAL = frozenset(ip_address(it).packed for it in (NODE, "10.9.0.1", "127.0.0.1", "::1", "fd09::1"))


def end(ip: str, port: int = 0) -> End:
    return ip_address(ip).packed, port


def flow(source: End, to: End, answerer: End | None = None, answered: End | None = None, protocol: int = UDP) -> Flow:
    return Flow(protocol, source, to, answerer or to, answered or source)


def record(name: str, *addresses: str, **more: object) -> Attachment:
    spec = AttachmentSpec.model_validate({"workload_id": name, "netns": NetnsRef(name=name), **more})
    mac = "02:00:00:00:00:01"
    return Attachment(spec=spec, addresses=tuple(ip_address(it) for it in addresses), mac=mac, source="rpc")


WEB_RECORD = record("web", WEB, "fd09::2", port_mappings=("8080:80/udp", f"{NODE}:53:53/udp"))
DB_RECORD = record("db", DB, "fd09::3")


def course(*elements: NftElement, **more: object) -> Course:
    there = [*render_elements(WEB_RECORD, Node()), *elements]
    made = Course(
        {it.key: it for it in there}.get,
        ports_of(there),
        (ip_network("10.9.0.0/24"), ip_network("fd09::/64")),
        LOCAL.__contains__,
        links_of((WEB_RECORD, DB_RECORD)),
    )
    return replace(made, **more)  # type: ignore[arg-type]


RIGHT = {
    "to a port": flow(end(OUTSIDE, 7), end(NODE, 8080), end(WEB, 80)),
    "to a port at one address": flow(end(OUTSIDE, 7), end(NODE, 53), end(WEB, 53)),
    "to a port of that number elsewhere": flow(end(DB, 7), end(OUTSIDE, 8080), answered=end(NODE, 7)),
    "to another protocol's port": flow(end(OUTSIDE, 7), end(NODE, 8080), protocol=TCP),
    "to the port at another address": flow(end(OUTSIDE, 7), end("10.9.0.1", 53)),
    "led by another program": flow(end(OUTSIDE, 7), end(NODE, 8080), end("172.16.0.9", 80)),
    "to a service of another program": flow(end(DB, 7), end("10.96.0.1", 8080), end(WEB, 80)),
    "out, as the node": flow(end(WEB, 7), end(OUTSIDE, 53), answered=end(NODE, 7)),
    "out, as another program has it": flow(end(WEB, 7), end(OUTSIDE, 53), answered=end("203.0.113.9", 7)),
    "to the node": flow(end(WEB, 7), end(NODE, 22)),
    "to everybody": flow(end(WEB, 7), end("224.0.0.251", 5353)),
    "to a neighbour": flow(end("fd09::2", 7), end("fe80::1")),
    "to the node from a link alone": flow(end("fe80::7", 7), end("fd09::1", 8080)),
    "between workloads": flow(end(WEB, 7), end(DB, 80)),
    "in": flow(end(OUTSIDE, 7), end(WEB, 80)),
    "by the node": flow(end(NODE, 7), end(OUTSIDE, 53)),
    "to itself by a port": flow(end(WEB, 7), end(NODE, 8080), end(WEB, 80), end("10.9.0.1", 7)),
    "the node by its loopback": flow(end("127.0.0.1", 7), end("127.0.0.1", 8080), end(WEB, 80), end("10.9.0.1", 7)),
}
WRONG = {
    "to a port, untranslated": flow(end(OUTSIDE, 7), end(NODE, 8080)),
    "to a port of the loopback, untranslated": flow(end("::1", 7), end("::1", 8080)),
    "to a port that led to another": flow(end(OUTSIDE, 7), end(NODE, 8080), end(GONE, 80)),
    "to a port that led to another port": flow(end(OUTSIDE, 7), end(NODE, 8080), end(WEB, 81)),
    "out to a port of the node": flow(end(DB, 7), end("10.9.0.1", 8080), answered=end(NODE, 7)),
    "out, untranslated": flow(end(WEB, 7), end(OUTSIDE, 53)),
    "out, untranslated, IPv6": flow(end("fd09::2", 7), end("2001:db8::2", 53)),
    "out, without ports": flow(end(WEB), end(OUTSIDE), protocol=ICMP),
    "out to where another program leads": flow(end(WEB, 7), end(NODE, 9999), end(OUTSIDE, 80)),
    "to itself by a port, untranslated": flow(end(WEB, 7), end(NODE, 8080), end(WEB, 80)),
    "the node by its loopback, untranslated": flow(end("127.0.0.1", 7), end("127.0.0.1", 8080), end(WEB, 80)),
}


@pytest.mark.parametrize("right", RIGHT.values(), ids=RIGHT)
def test_what_is_right_is_left_alone(right: Flow) -> None:
    assert not course().is_wrong(right)


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_what_would_be_led_otherwise_is_wrong(wrong: Flow) -> None:
    assert course().is_wrong(wrong)


def test_without_masquerading_workloads_leave_as_themselves() -> None:
    assert not course(masquerade=False).is_wrong(WRONG["out, untranslated"])


def test_between_nodes_of_a_cluster_a_workloads_own_address_is_right() -> None:
    """And nowhere else: a flow from a pool of this node alone, or to anybody outside, is to leave as the node."""
    pools = (ip_network("10.9.0.0/16"), ip_network("fd09::/48"))
    there = flow(end(WEB, 7), end("10.9.8.2", 53))
    assert course().is_wrong(there)
    assert not course(cluster=pools).is_wrong(there)
    assert not course(cluster=pools).is_wrong(flow(end("fd09::2", 7), end("fd09:0:0:8::2", 53)))
    assert course(cluster=pools).is_wrong(flow(end(WEB, 7), end(OUTSIDE, 53)))
    assert course(cluster=(ip_network("10.9.8.0/24"),)).is_wrong(there)


def test_a_port_that_led_to_a_workload() -> None:
    """Is wrong if it still does, and not if another program leads it."""
    gone = [Step(Verb.REMOVE, it) for it in render_elements(WEB_RECORD, Node())]
    former = suspects(gone)
    now = course(element=lambda _: None, ports=former.ports, former=former)
    assert now.is_wrong(RIGHT["to a port"])
    assert not now.is_wrong(RIGHT["led by another program"])
    assert not now.is_wrong(WRONG["to a port, untranslated"])


def test_a_source_that_a_route_said_and_that_is_the_nodes_no_more() -> None:
    before, after = (
        next(iter(render_masquerade(Node(sources=(Source("up0", ip_network("0.0.0.0/0"), ip_address(ip)),)))))
        for ip in ("203.0.113.9", "203.0.113.10")
    )
    former = suspects([Step(Verb.CHANGE, after, before)])
    assert former.all
    assert course(former=former).is_wrong(RIGHT["out, as another program has it"])
    assert not course(former=former, is_local=lambda _: True).is_wrong(RIGHT["out, as another program has it"])


def test_a_source_in_a_pool_is_unfit_beside_another_address() -> None:
    """Of the same family; without one, or where others have the same, masquerading would choose it again."""
    pools = (ip_address("10.9.0.1"), ip_address("fd09::1"))
    left = flow(end("fd09::2", 7), end("2001:db8::2", 53), answered=end("fd09::1", 7))
    for others, wrong in (([], False), ([NODE], False), (["2001:db8::1"], True), (["fd09::1", "2001:db8::1"], False)):
        known = NodeNetwork(foreign=frozenset((ip_address(it), "up0") for it in others))
        assert course(unfit=unfit(pools, known)).is_wrong(left) is wrong


def network(**links: str) -> NodeNetwork:
    """Of links with one address each; that which is called up0 is the uplink."""
    held = {name: ip_address(ip) for name, ip in links.items()}
    return NodeNetwork(
        own={ip: f"on {name}" for name, ip in held.items()},
        since=dict.fromkeys(held.values(), 1),
        foreign=frozenset((ip, name) for name, ip in held.items()),
        ways=frozenset({("up0", 4)}),
    )


def test_a_source_that_the_node_has_no_more() -> None:
    """One flow in another's name is the node's affair only if the node had that name."""
    left = flow(end(WEB, 7), end(OUTSIDE, 53), answered=end("203.0.113.9", 7))
    former = suspects_around(network(lo="203.0.113.9"), network(lo="203.0.113.10"))
    assert course(former=former).is_wrong(left)
    former = suspects_around(network(lo="203.0.113.8"), network(lo="203.0.113.10"))
    assert not course(former=former).is_wrong(left)


def test_a_workload_that_asks_itself_under_an_address_of_a_pool_that_is_gone() -> None:
    """And the node, by its loopback; nobody brings the answers back."""
    former = suspects_around(network(lo="203.0.113.9"), network(lo="203.0.113.10"))
    for source in (WEB, "127.0.0.1"):
        asked = flow(end(source, 7), end(NODE, 8080), end(WEB, 80), end("203.0.113.9", 7))
        assert course(former=former).is_wrong(asked)
        assert not course(former=former, is_local=lambda _: True).is_wrong(asked)


def test_a_source_that_a_route_said_of_a_way_that_is_not_taken_any_more() -> None:
    """Also where there was no way at all in between; with none, what is forgotten would begin with the same when it is
    back. Of flows that still go that way none is wrong."""
    left = flow(end(WEB, 7), end(OUTSIDE, 53), answered=end(NODE, 7))
    both = network(up0=NODE, up1="203.0.113.9")
    said = Source("up0", ip_network("0.0.0.0/0"), ip_address(NODE))
    first = replace(both, sources=(said,), best=frozenset({("up0", 4)}))
    flipped = replace(first, best=frozenset({("up1", 4)}))
    nowhere = replace(both, sources=(), best=frozenset())
    for looks, wrong in (
        ((first, flipped), True),
        ((first, nowhere, flipped), True),
        ((first, nowhere, first), False),
        ((first, nowhere), False),
        ((first, replace(first, best=frozenset({("up0", 4), ("up1", 4)}))), False),
    ):
        leaving = reduce(Leaving.then, looks[:-1], Leaving())
        former = suspects_around(looks[-2], looks[-1], leaving)
        for goes_that_way in (False, True):
            judged = course(former=former, leaves_as=lambda *_, same=goes_that_way: same)
            assert judged.is_wrong(left) is (wrong and not goes_that_way)


def test_a_source_that_was_taken_from_elsewhere_until_the_uplink_had_one() -> None:
    """Once, when it is given its first; what the uplink had before is no reason."""
    left = flow(end(WEB, 7), end(OUTSIDE, 53), answered=end("10.9.0.1", 7))
    inner, both = network(br0="10.9.0.1"), network(br0="10.9.0.1", up0=NODE)
    for before, now, wrong in ((inner, both, True), (both, both, False), (both, inner, False), (inner, inner, False)):
        former = suspects_around(before, now)
        assert course(unfit=former.unfit, former=former).is_wrong(left) is wrong


WEB_LINK, DB_LINK = (node_if_name(it.key) for it in (WEB_RECORD, DB_RECORD))


@pytest.mark.parametrize(
    ("elements", "setting", "apart"),
    [
        ((), False, False),
        ((), True, True),
        ((NftElement(WORKLOADS_CLOSED.name, (DB_LINK,)),), False, True),
        ((NftElement(WORKLOADS_CLOSED.name, (WEB_LINK,)),), False, True),
        ((NftElement(WORKLOADS_CLOSED.name, (WEB_LINK,)), NftElement(WORKLOADS_OPEN.name, (DB_LINK,))), True, False),
    ],
)
def test_between_workloads_that_are_kept_apart(elements: tuple[NftElement, ...], setting: bool, apart: bool) -> None:
    """Also by a port of the other's."""
    now = course(*elements, isolate_workloads=setting)
    assert now.is_wrong(RIGHT["between workloads"]) is apart
    assert now.is_wrong(flow(end(DB, 7), end(NODE, 8080), end(WEB, 80))) is apart


def test_a_workload_may_send_by_its_default_interface() -> None:
    """Where that one is open, nothing is known of a flow between it and another."""
    second = record("web", "10.9.1.2", if_name="net1").model_copy(update={"default_route_by": "eth0"})
    now = course(
        NftElement(WORKLOADS_OPEN.name, (WEB_LINK,)),
        links=links_of((WEB_RECORD, second, DB_RECORD)),
        isolate_workloads=True,
    )
    assert not now.is_wrong(flow(end("10.9.1.2", 7), end(DB, 80)))


def test_what_a_workload_that_went_leaves_behind() -> None:
    """Is wrong, whoever asked, and nothing to mark. Where another workload has its address by now, TCP may be that
    one's own."""
    asked, asking = flow(end(WEB, 7), end(GONE, 53)), flow(end(GONE, 7), end(WEB, 53))
    assert not course(masquerade=False).is_wrong(asked)
    now = course(masquerade=False, former=suspects_of([ip_address(GONE)]))
    for left in (asked, asking, asked._replace(protocol=TCP)):
        assert now.is_wrong(left)
        assert not now.is_cut(left)
    assert not now.is_wrong(flow(end(WEB, 7), end(DB, 53)))
    again = course(former=suspects_of([ip_address(DB)]))
    assert again.is_wrong(flow(end(WEB, 7), end(DB, 53)))
    assert not again.is_wrong(flow(end(WEB, 7), end(DB, 53), protocol=TCP))


ends = st.builds(end, st.sampled_from((NODE, WEB, DB, OUTSIDE, GONE, "127.0.0.1")), st.sampled_from((7, 80, 8080)))


@given(ends, ends)
def test_a_flow_that_others_lead_is_never_wrong(source: End, to: End) -> None:
    """To where nothing of ours is, under a name that is not the asker's."""
    led = Flow(UDP, source, to, end("172.16.0.9", 80), end("172.16.0.1", 7))
    assert not course(isolate_workloads=True).is_wrong(led)


# What is suspected.


def steps(*things: KernelObject, verb: Verb = Verb.ADD, observed: KernelObject | None = None) -> list[Step]:
    return [Step(verb, thing, observed) for thing in things]


LINK = Link(Scope.NODE, WEB_LINK, group=1, master=0)


@pytest.mark.parametrize(
    ("made", "suspected"),
    [
        (steps(LINK, Route(Scope.NODE, b"\n\x09\0\x02", 32, WEB_LINK)), Suspects()),
        (steps(LINK, NftElement(WORKLOADS_CLOSED.name, (WEB_LINK,), owner=WEB_LINK)), Suspects()),
        (steps(NftElement(WORKLOADS_CLOSED.name, (WEB_LINK,), owner=WEB_LINK)), Suspects(by_table=True)),
        (steps(NftElement(hairpin_set(4).name, (WEB, WEB))), Suspects(by_table=True)),
        (steps(NftChain("postrouting")), Suspects(by_table=True)),
        (steps(LINK, verb=Verb.CHANGE, observed=replace(LINK, group=2)), Suspects(by_table=True)),
        (steps(LINK, verb=Verb.CHANGE, observed=replace(LINK, master=7)), Suspects(by_table=True)),
        (steps(LINK, verb=Verb.CHANGE, observed=replace(LINK, name="stray0")), Suspects(by_table=True)),
        (steps(LINK, verb=Verb.CHANGE, observed=replace(LINK, alias="x", mtu=9)), Suspects()),
        (steps(Address(Scope.NODE, "lo", b"\n\x09\0\x01", 32)), Suspects(all=True)),
        (steps(Address(Scope.WORKLOAD, "eth0", b"\n\x09\0\x02", 32)), Suspects()),
    ],
)
def test_steps_make_flows_suspect(made: list[Step], suspected: Suspects) -> None:
    assert suspects(made) == suspected


def test_mappings_make_their_ports_suspect_alone() -> None:
    found = suspects(steps(*render_elements(WEB_RECORD, Node())))
    assert found.only_ports
    assert found.ports == {(4, UDP, 8080), (6, UDP, 8080), (4, UDP, 53)}
    assert not found.targets


def test_few_ports_are_asked_for_one_by_one_and_many_by_protocol() -> None:
    few, many = ({(4, UDP, port) for port in range(1, last)} for last in (3, 99))
    assert [walk.port for walk in walks(Suspects(frozenset(few)))] == [1, 2]
    assert {(walk.version, walk.protocol, walk.port) for walk in walks(Suspects(frozenset(many)))} == {(4, UDP, 0)}


def test_what_leaves_masqueraded_is_asked_for_only_where_it_must_be() -> None:
    assert list(walks(Suspects(all=True))) == [Walk()]
    assert all(walk.mask for walk in walks(Suspects(by_table=True)))


def test_few_flows_are_all_looked_at_in_one_walk() -> None:
    """A walk takes the kernel as long whether the table is empty or not; an empty one needs none."""
    suspected = Suspects(frozenset({(4, UDP, 1), (6, UDP, 1)}))
    assert list(walks(suspected, kept=7)) == [Walk()]
    assert list(walks(suspected, kept=100_000)) == [Walk(4, UDP, 1), Walk(6, UDP, 1)]
    assert list(walks(Suspects(all=True), kept=0)) == []
