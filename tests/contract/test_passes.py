"""What a pass promises, on the fake kernel and on the real one alike."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from netplumb.models.attachment import NetnsRef
from netplumb.models.errors import Conflict
from netplumb.models.kernel import Address, Link, Route, Scope
from netplumb.models.naming import node_if_name
from netplumb.reconciler.converge.attachment import converge
from netplumb.reconciler.converge.observe import NodeSnapshot
from netplumb.reconciler.converge.removal import Doomed
from netplumb.reconciler.converge.work import Reach, Work
from netplumb.reconciler.decide.ownership import is_ours
from netplumb.reconciler.decide.render import render_attachment
from tests.contract.damages import inflict, named
from tests.contract.worlds import (
    NODE,
    World,
    attached,
    cookie_of,
    linux_world,
    mark_of,
    passed,
    path_of,
    planned,
    seen,
    wish,
)


@pytest.fixture
def workload(world: World) -> None:
    world.place("w")


@pytest.mark.usefixtures("workload")
def test_a_fresh_attachment_is_made_in_one_pass(world: World) -> None:
    """After one pass every object that was rendered is in the kernel."""
    attachment = wish(world)
    outcome = passed(world, attachment)
    assert outcome.errors == []
    assert outcome.attached
    missing = {
        thing.key: thing
        for thing in render_attachment(attachment, NODE, outcome.families)
        if thing.key not in {there.key for there in seen(world, attachment)}
    }
    assert missing == {}


@pytest.mark.usefixtures("workload")
def test_a_second_pass_plans_nothing(world: World) -> None:
    """What was attached is as desired: nothing is planned, and a pass changes nothing."""
    attachment = wish(world)
    passed(world, attachment)
    assert planned(world, attachment) == []
    before = seen(world, attachment)
    again = passed(world, attachment)
    assert again.attached
    assert again.applied == []
    assert seen(world, attachment) == before


def test_what_a_read_that_was_interrupted_lacks_is_looked_at_by_itself() -> None:
    """A read of all that others' changes interrupted does not tell of this attachment. Its pass finds it as it is."""
    with linux_world() as world:
        attachment = attached(world)
        nothing = NodeSnapshot({}, {}, {}, {}, {}, whole=False)
        outcome = converge(Work(attachment, NODE, snapshot=nothing), world.kernel)
        assert outcome.attached
        assert outcome.applied == []


@pytest.mark.usefixtures("workload")
def test_a_preview_changes_nothing(world: World) -> None:
    """Planning a fresh attachment tells its objects, and the kernel stays as it was."""
    attachment = wish(world)
    before = seen(world, attachment)
    words = planned(world, attachment)
    assert any(line.startswith("+ link np") for line in words)
    assert seen(world, attachment) == before


@pytest.mark.usefixtures("workload")
def test_a_changed_wish_changes_in_place(world: World) -> None:
    """Another MTU and another address need no new link."""
    attachment = wish(world)
    index = _index(passed(world, attachment).node_link)
    changed = attachment.model_copy(
        update={
            "spec": attachment.spec.model_copy(update={"mtu": 1400}),
            "addresses": (ip_address("10.215.0.9"), ip_address("fd15::9")),
        }
    )
    outcome = passed(world, changed)
    assert outcome.errors == []
    assert _index(outcome.node_link) == index
    assert planned(world, changed) == []
    ips = {thing.ip for thing in seen(world, changed) if isinstance(thing, Address)}
    assert ips == {address.packed for address in changed.addresses}


@pytest.mark.usefixtures("workload")
@pytest.mark.parametrize("scope", Scope, ids=["on the node", "in the workload"])
def test_a_foreign_link_in_the_way_is_a_conflict(world: World, scope: Scope) -> None:
    """An interface that is not ours under the name that is needed is told, and not touched."""
    attachment = wish(world)
    name = node_if_name(attachment.key) if scope is Scope.NODE else "eth0"
    world.add_foreign_link(scope, name)
    before = seen(world, attachment)
    outcome = passed(world, attachment)
    assert [type(error) for error in outcome.errors] == [Conflict]
    assert name in str(outcome.errors[0])
    assert outcome.applied == []
    assert seen(world, attachment) == before


@pytest.mark.usefixtures("workload")
def test_ipv6_that_is_off_in_the_workload_is_left_out(world: World) -> None:
    """Where the workload has no IPv6, the rest is attached, in one pass, and nothing more is planned."""
    world.switch_ipv6_off("w")
    attachment = wish(world)
    outcome = passed(world, attachment)
    assert outcome.errors == []
    assert outcome.attached
    assert not outcome.families.v6
    assert planned(world, attachment) == []
    ours = [thing for thing in seen(world, attachment) if is_ours(thing) and isinstance(thing, Route)]
    assert {len(route.dst) for route in ours} == {4}


@pytest.mark.usefixtures("workload")
def test_ipv6_that_is_switched_off_later_is_taken_back(world: World) -> None:
    """IPv6 that goes from under an attachment leaves its IPv4 whole, and no error."""
    attachment = wish(world)
    passed(world, attachment)
    world.switch_ipv6_off("w")
    outcome = passed(world, attachment)
    assert outcome.errors == []
    assert not outcome.families.v6
    assert planned(world, attachment) == []


def test_a_missing_namespace_is_told(world: World) -> None:
    """Without a namespace at the path nothing is made, and the outcome says what is missing."""
    attachment = wish(world, source="file/a.yaml")
    outcome = passed(world, attachment)
    assert outcome.reach is Reach.MISSING
    assert path_of("w") in outcome.reach_message
    assert outcome.applied == []
    assert outcome.node_link is None


def test_what_is_no_namespace_is_told(world: World) -> None:
    """A plain file at the path is no namespace."""
    world.place_file("w")
    outcome = passed(world, wish(world, source="file/a.yaml"))
    assert outcome.reach is Reach.WRONG
    assert outcome.applied == []


def test_the_nodes_own_namespace_is_refused(world: World) -> None:
    """A path that leads to the node itself is no workload's namespace."""
    world.place_node("w")
    outcome = passed(world, wish(world, source="file/a.yaml"))
    assert outcome.reach is Reach.WRONG
    assert "own" in outcome.reach_message or "not a network namespace" in outcome.reach_message


@pytest.mark.usefixtures("workload")
def test_a_stranger_at_an_rpcs_path_is_not_touched(world: World) -> None:
    """An RPC meant one namespace; another at the same path is left as it is."""
    attachment = wish(world)
    passed(world, attachment)
    world.displace("w")
    world.place("w")
    before = seen(world, attachment)
    outcome = passed(world, attachment)
    assert outcome.reach is Reach.OTHER
    assert not outcome.attached
    assert seen(world, attachment) - before == set()


@pytest.mark.usefixtures("workload")
def test_a_state_file_follows_its_path(world: World) -> None:
    """A state file means whatever is at the path: a namespace made anew there is attached again."""
    attachment = wish(world, source="file/a.yaml")
    first = passed(world, attachment)
    world.displace("w")
    world.place("w")
    again = passed(world, attachment)
    assert again.errors == []
    assert again.attached
    assert again.netns_cookie != first.netns_cookie
    assert planned(world, attachment) == []


def test_a_namespace_is_made_where_the_wish_says_so(world: World) -> None:
    """With `create` a missing namespace is made, marked as ours, and attached in the same pass."""
    attachment = wish(world, NetnsRef(name="w", create=True), source="file/a.yaml")
    outcome = passed(world, attachment)
    try:
        assert outcome.errors == []
        assert outcome.netns_created
        assert planned(world, attachment) == []
        assert world.kernel.mark_of("w") == mark_of(attachment)
    finally:
        world.displace("w")


@pytest.mark.usefixtures("workload")
def test_a_namespace_that_was_there_is_not_taken_for_made(world: World) -> None:
    """With `create` a namespace that others made is used, and not remembered as ours to remove."""
    attachment = wish(world, NetnsRef(name="w", create=True), source="file/a.yaml")
    outcome = passed(world, attachment)
    assert outcome.attached
    assert not outcome.netns_created


def test_a_name_that_cannot_be_made_is_a_conflict(world: World) -> None:
    """A link that leads nowhere stands where the namespace must be made: that is told, and it is not touched."""
    world.place_dangling("w")
    outcome = passed(world, wish(world, NetnsRef(name="w", create=True), source="file/a.yaml"))
    assert [type(error) for error in outcome.errors] == [Conflict]
    assert path_of("w") in str(outcome.errors[0])


def test_making_a_namespace_waits_for_a_thread_that_may_block(world: World) -> None:
    """A pass that must not block makes no namespace, and says that it is to be done elsewhere."""
    attachment = wish(world, NetnsRef(name="w", create=True), source="file/a.yaml")
    outcome = passed(world, attachment, may_block=False)
    assert outcome.deferred
    assert outcome.applied == []


@pytest.mark.usefixtures("workload")
def test_remaking_a_link_waits_for_a_thread_that_may_block(world: World) -> None:
    """A wish for another namespace must remove the link first, which blocks: nothing is changed before."""
    attachment = wish(world)
    passed(world, attachment)
    world.place("w2")
    moved = attachment.model_copy(
        update={
            "spec": attachment.spec.model_copy(update={"netns": NetnsRef(path=path_of("w2"))}),
            "netns_cookie": cookie_of(world, path_of("w2")),
        }
    )
    before = seen(world, attachment)
    assert passed(world, moved, may_block=False).deferred
    assert seen(world, attachment) == before
    outcome = passed(world, moved)
    assert outcome.errors == []
    assert planned(world, moved) == []
    assert not any(isinstance(thing, Link) and thing.scope is Scope.WORKLOAD for thing in seen(world, attachment))


@pytest.mark.usefixtures("workload")
def test_a_removed_attachment_leaves_nothing_and_takes_nothing_else(world: World) -> None:
    """Removal takes the pair, with all that is on it, and no other attachment's."""
    attachment = wish(world)
    world.place("w2")
    spec = attachment.spec.model_copy(update={"workload_id": "w2", "netns": NetnsRef(path=path_of("w2"))})
    other = attachment.model_copy(
        update={
            "spec": spec,
            "netns_cookie": cookie_of(world, path_of("w2")),
            "addresses": (ip_address("10.215.0.3"), ip_address("fd15::3")),
        }
    )
    passed(world, attachment)
    assert passed(world, other).errors == []
    assert world.kernel.remove_links([Doomed(attachment.key)]) == {attachment.key: None}
    assert not any(isinstance(thing, Link | Route | Address) for thing in seen(world, attachment))
    assert planned(world, other) == []


@pytest.mark.usefixtures("workload")
def test_removing_what_is_not_there_succeeds(world: World) -> None:
    """An attachment without a link has been removed."""
    attachment = wish(world)
    assert world.kernel.remove_links([Doomed(attachment.key)]) == {attachment.key: None}


@pytest.mark.usefixtures("workload")
def test_a_foreign_link_under_our_name_is_not_removed(world: World) -> None:
    """Removal asks the link itself whether it is ours."""
    attachment = wish(world)
    name = node_if_name(attachment.key)
    world.add_foreign_link(Scope.NODE, name)
    world.kernel.remove_links([Doomed(attachment.key)])
    assert any(isinstance(thing, Link) and thing.name == name for thing in seen(world, attachment))


@pytest.mark.usefixtures("workload")
def test_a_path_that_is_gone_keeps_the_nodes_side_in_repair(world: World) -> None:
    """While the interface lives its node side is kept, although the namespace cannot be reached by its path."""
    attachment = wish(world)
    passed(world, attachment)
    elsewhere = replace(
        Work(attachment, NODE),
        attachment=attachment.model_copy(
            update={"spec": attachment.spec.model_copy(update={"netns": NetnsRef(path=path_of("gone"))})}
        ),
    )
    outcome = converge(elsewhere, world.kernel)
    assert outcome.reach is Reach.MISSING
    assert outcome.errors == []
    assert outcome.node_link is not None
    assert outcome.applied == []


@pytest.mark.usefixtures("workload")
def test_a_link_whose_alias_was_overwritten_is_removed(world: World) -> None:
    """Two of a link's three marks are enough to remove it, as they are to keep it."""
    attachment = wish(world)
    passed(world, attachment)
    inflict(world, named("alias changed"))
    assert world.kernel.remove_links([Doomed(attachment.key)]) == {attachment.key: None}
    assert not any(isinstance(thing, Link) for thing in seen(world, attachment))


@pytest.mark.usefixtures("workload")
def test_a_renamed_link_is_made_anew_elsewhere_whole(world: World) -> None:
    """A wish that moves on while its link has another name gets every object in the new place, in one pass."""
    attachment = wish(world)
    index = _index(passed(world, attachment).node_link)
    inflict(world, named("link renamed", Scope.NODE))
    world.place("w2")
    moved = attachment.model_copy(
        update={
            "spec": attachment.spec.model_copy(update={"netns": NetnsRef(path=path_of("w2"))}),
            "netns_cookie": cookie_of(world, path_of("w2")),
        }
    )
    outcome = passed(world, moved, hint_index=index)
    assert outcome.errors == []
    assert planned(world, moved) == []


def _index(link: Link | None) -> int:
    assert link is not None
    return link.index


def test_a_pass_for_what_is_wished_no_more_changes_nothing(world: World) -> None:
    """Where another wish comes while it reads: what it would take away may be somebody else's by then."""
    attachment = attached(world)
    before = seen(world, attachment)
    changed = attachment.model_copy(update={"addresses": (ip_address("10.215.0.9"),)})
    outcome = converge(Work(changed, NODE, is_wished=lambda: False), world.kernel)
    assert outcome.is_outdated_by(changed)
    assert not outcome.attached
    assert seen(world, attachment) == before
