"""Planning: what differs becomes steps, in an order that the kernel accepts, and nothing foreign is touched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplumb.models.attachment import Attachment, AttachmentKey, AttachmentSpec, NetnsRef
from netplumb.models.kernel import (
    LINK_GROUP,
    Address,
    KernelObject,
    Key,
    Link,
    LinkUp,
    Neighbour,
    Route,
    Scope,
    Sysctl,
    scope_of,
)
from netplumb.models.naming import alias_of, node_if_name, workload_mac
from netplumb.models.network import Families, Node
from netplumb.models.steps import Step, Verb
from netplumb.reconciler.decide.ownership import is_ours
from netplumb.reconciler.decide.plan import plan
from netplumb.reconciler.decide.render import render_attachment

KEY = AttachmentKey("web", "eth0")
NAME = node_if_name(KEY)
FOREIGN = 4
ATTACHMENT = Attachment(
    spec=AttachmentSpec(workload_id="web", netns=NetnsRef(name="web")),
    source="rpc",
    addresses=(ip_address("10.1.0.2"), ip_address("fd01::2")),
    mac=workload_mac(KEY),
    node_addresses=(ip_address("10.1.0.1"), ip_address("fd01::1")),
    default_route_by="eth0",
)
State = dict[Key, KernelObject]


def rendered() -> list[KernelObject]:
    return list(render_attachment(ATTACHMENT, Node(), Families()))


def state(things: Iterable[KernelObject]) -> State:
    return {thing.key: thing for thing in things}


def carried_out(observed: State, steps: Iterable[Step]) -> State:
    """What a kernel would hold after the steps: a link takes with it what is on it, and its other end."""
    after = dict(observed)
    for step in steps:
        thing = step.thing
        if step.verb is not Verb.REMOVE:
            after[thing.key] = thing
            continue
        gone = {(scope_of(thing), thing.name), (Scope.WORKLOAD, thing.peer)} if isinstance(thing, Link) else set()
        for key, there in tuple(after.items()):
            place = getattr(there, "name" if isinstance(there, Link) else "link", None)
            if there is thing or (place and (scope_of(there), place) in gone):
                del after[key]
    return after


scopes = st.sampled_from(Scope)
link_names = st.sampled_from((NAME, "eth0", "lo"))
ips = st.sampled_from([ip_address(text).packed for text in ("10.1.0.2", "10.1.0.3", "fd01::2", "169.254.77.1")])
protocols = st.sampled_from((78, FOREIGN))
macs = st.sampled_from((None, bytes(6), b"\2" * 6))
bound = st.one_of(
    st.builds(LinkUp, scopes, link_names),
    st.builds(lambda s, n, ip, p: Address(s, n, ip, len(ip) * 8, protocol=p), scopes, link_names, ips, protocols),
    st.builds(Neighbour, scopes, link_names, ips, macs, st.booleans(), protocols),
    st.builds(
        lambda s, n, ip, gateway, p: Route(s, ip, len(ip) * 8, n, gateway, protocol=p),
        scopes,
        link_names,
        ips,
        st.none() | ips,
        protocols,
    ),
)
observed_links = st.builds(
    lambda mtu, alias, peer: [
        Link(
            Scope.NODE,
            NAME,
            mac=b"\2" * 6,
            mtu=mtu,
            group=LINK_GROUP,
            alias=alias,
            peer="eth0" if peer else None,
            index=7,
        ),
        *([Link(Scope.WORKLOAD, "eth0", mtu=mtu, peer=NAME, index=3)] if peer else []),
    ],
    st.sampled_from((1400, 1500)),
    st.sampled_from((alias_of(KEY), "")),
    st.booleans(),
)
observed_states = st.builds(
    lambda links, things: state([*links, *things]), st.just([]) | observed_links, st.lists(bound, max_size=12)
)
desired_parts = st.lists(st.sampled_from(rendered()), unique=True).map(
    lambda some: [thing for thing in rendered() if isinstance(thing, Link) or thing in some]
)


def settled(observed: State) -> State:
    """An observed state that can be: what is on a link is there only while the link is."""
    links = {(t.scope, t.name) for t in observed.values() if isinstance(t, Link)} | {(s, "lo") for s in Scope}
    return {
        key: thing
        for key, thing in observed.items()
        if isinstance(thing, Link) or (scope_of(thing), getattr(thing, "link", "")) in links
    }


@given(desired_parts)
def test_nothing_is_planned_for_what_is_as_desired(desired: list[KernelObject]) -> None:
    """A state compared with itself needs no step."""
    made = plan(desired, state(desired))
    assert made.steps == ()
    assert made.conflicts == ()


@given(desired_parts, observed_states)
def test_a_plan_that_was_carried_out_leaves_nothing_to_plan(desired: list[KernelObject], before: State) -> None:
    """From any state, one plan reaches the desired one: a second finds nothing to do."""
    observed = settled(before)
    after = carried_out(observed, plan(desired, observed).steps)
    assert plan(desired, after).steps == ()


@given(desired_parts | st.just([]), observed_states)
def test_nothing_foreign_is_removed(desired: list[KernelObject], before: State) -> None:
    """Only what carries our mark is ever taken away."""
    steps = plan(desired, settled(before)).steps
    assert all(is_ours(step.thing) for step in steps if step.verb is Verb.REMOVE)


@given(desired_parts | st.just([]), observed_states)
def test_foreign_objects_beside_ours_are_in_no_step(desired: list[KernelObject], before: State) -> None:
    """An address, route or neighbour of another that nobody wants otherwise is passed over."""
    wanted = state(desired)
    strangers = [
        thing
        for key, thing in before.items()
        if key not in wanted and isinstance(thing, Address | Route | Neighbour) and thing.protocol == FOREIGN
    ]
    touched = [step.thing for step in plan(desired, settled(before)).steps]
    assert not any(stranger in touched for stranger in strangers)


@given(desired_parts | st.just([]), observed_states)
def test_removals_come_first_and_referents_before_what_needs_them(desired: list[KernelObject], before: State) -> None:
    """Additions go from the node to the workload and from links to routes; removals go the other way, before them."""
    steps = plan(desired, settled(before)).steps
    removals = [step for step in steps if step.verb is Verb.REMOVE]
    additions = [step for step in steps if step.verb is not Verb.REMOVE]
    assert list(steps) == [*removals, *additions]
    order = [(scope_of(step.thing), step.thing.rank) for step in additions]
    assert order == sorted(order)
    bound_removals = [(scope_of(s.thing), s.thing.rank) for s in removals if not isinstance(s.thing, Link)]
    assert bound_removals == sorted(bound_removals, reverse=True)


@given(observed_states)
def test_no_step_is_for_what_goes_with_a_removed_link(before: State) -> None:
    """Where a link is removed, what was on it is not removed one by one: the kernel does that."""
    observed = settled(before)
    steps = plan((), observed).steps
    if any(isinstance(step.thing, Link) for step in steps):
        assert not [s for s in steps if getattr(s.thing, "link", "") == NAME and s.thing not in desired_links(steps)]


def desired_links(steps: Iterable[Step]) -> list[KernelObject]:
    return [step.thing for step in steps if isinstance(step.thing, Link)]


def test_an_attachment_that_lost_its_other_end_is_made_anew_whole() -> None:
    """Half a pair cannot be mended: it goes, and everything on it is added again."""
    observed = state(thing for thing in rendered() if scope_of(thing) is Scope.NODE)
    link = observed[(Link, Scope.NODE, NAME)]
    assert isinstance(link, Link)
    observed[link.key] = replace(link, peer=None, index=7)
    made = plan(rendered(), observed)
    assert made.remakes_link
    assert made.steps[0].verb is Verb.REMOVE
    assert {step.thing for step in made.steps[1:]} == set(rendered())


def test_a_foreign_link_under_our_name_is_a_conflict_that_names_it() -> None:
    """A link on the node that is not ours stands in the way: nothing is done, and it is named."""
    made = plan(rendered(), state([Link(Scope.NODE, NAME, kind="dummy")]))
    assert made.steps == ()
    assert NAME in made.conflicts[0]


def test_a_link_of_another_attachment_is_a_conflict_that_names_it() -> None:
    """A digest that two keys share is told as what it is."""
    other = alias_of(AttachmentKey("db", "eth0"))
    made = plan(rendered(), state([Link(Scope.NODE, NAME, group=LINK_GROUP, alias=other)]))
    assert "db/eth0" in made.conflicts[0]


def test_a_foreign_interface_in_the_workload_is_a_conflict_that_names_it() -> None:
    """An eth0 that netplumb did not make is left alone."""
    made = plan(rendered(), state([Link(Scope.WORKLOAD, "eth0", kind="macvlan")]))
    assert made.steps == ()
    assert "eth0" in made.conflicts[0]


def test_switches_that_nobody_wants_stay() -> None:
    """A sysctl or an interface that is up is not ours alone, so it is never taken back."""
    assert plan((), state([Sysctl(Scope.NODE, "net/ipv4/ip_forward", "1"), LinkUp(Scope.NODE, "lo")])).steps == ()


@pytest.mark.parametrize(("value", "changed"), [("1", True), ("0", False), ("2", False)])
def test_a_switch_is_changed_from_the_value_that_it_replaces_alone(value: str, changed: bool) -> None:
    """What others set meanwhile is as desired."""
    wanted = Sysctl(Scope.NODE, "net/ipv6/conf/up0/accept_ra", "2", instead_of="1")
    assert bool(plan([wanted], state([replace(wanted, value=value)])).steps) == changed


def test_a_change_tells_what_was_there_before() -> None:
    """The step of a change carries what the kernel held, so that a log can tell it."""
    was = Link(Scope.WORKLOAD, "eth0", mtu=1400, peer=NAME)
    node = Link(Scope.NODE, NAME, group=LINK_GROUP, alias=alias_of(KEY), peer="eth0")
    wanted = [node, replace(was, mtu=1500)]
    (step,) = plan(wanted, state([node, was])).steps
    assert step == Step(Verb.CHANGE, wanted[1], was)
    assert "mtu 1400" in str(step)
