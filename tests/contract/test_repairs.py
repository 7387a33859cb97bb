"""Each damage is found and repaired, on the fake kernel and on the real one alike; what is foreign stays."""

from __future__ import annotations

import pytest

from netplumb.models.kernel import Address, Link, Route, Scope
from netplumb.models.naming import node_if_name
from tests.contract.damages import DAMAGES, NODE_LINK_RENAMED, Damage, inflict, named
from tests.contract.worlds import FakeWorld, LinuxWorld, World, attached, passed, planned, seen, wish


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_damage_is_repaired_in_one_pass(world: World, damage: Damage) -> None:
    """After the damage something is planned; after one pass all is as before, and nothing is planned."""
    attachment = attached(world)
    before = seen(world, attachment)
    inflict(world, damage)
    assert planned(world, attachment)
    outcome = passed(world, attachment)
    assert outcome.errors == []
    assert outcome.attached
    assert planned(world, attachment) == []
    assert seen(world, attachment) == before


def test_a_renamed_node_link_is_found_by_where_it_was(world: World) -> None:
    """A link that lost its name is found by its index, named back, and not made anew."""
    world.place("w")
    attachment = wish(world)
    link = passed(world, attachment).node_link
    assert link is not None
    name = node_if_name(attachment.key)
    inflict(world, NODE_LINK_RENAMED)
    outcome = passed(world, attachment, hint_index=link.index, may_block=False)
    assert outcome.errors == []
    assert not outcome.deferred
    assert outcome.node_link is not None
    assert (outcome.node_link.name, outcome.node_link.index) == (name, link.index)
    assert planned(world, attachment) == []


def test_what_is_foreign_beside_ours_stays(world: World) -> None:
    """An address and a route that others put on the workload's interface are kept, also through a repair."""
    attachment = attached(world)
    address = Address(Scope.WORKLOAD, "eth0", bytes((192, 0, 2, 7)), 32, protocol=0)
    route = Route(Scope.WORKLOAD, bytes((198, 51, 100, 0)), 24, "eth0", rt_scope=253, protocol=4)
    if isinstance(world, FakeWorld):
        side = world.side(Scope.WORKLOAD, "w")
        side.add(address)
        side.add(route)
    else:
        assert isinstance(world, LinuxWorld)
        host = world.host(Scope.WORKLOAD, "w")
        host.ip("address add 192.0.2.7/32 dev eth0")
        host.ip("route add 198.51.100.0/24 dev eth0 proto static")
    assert planned(world, attachment) == []
    inflict(world, named("IPv4 default route gone", Scope.WORKLOAD))
    assert passed(world, attachment).errors == []
    assert {address, route} <= seen(world, attachment)


def test_an_old_address_of_ours_goes(world: World) -> None:
    """What carries our mark and is no longer wished is removed."""
    attachment = attached(world)
    fewer = attachment.model_copy(update={"addresses": attachment.addresses[:1]})
    assert passed(world, fewer).errors == []
    left = seen(world, fewer)
    assert {len(thing.ip) for thing in left if isinstance(thing, Address)} == {4}
    assert any(isinstance(thing, Link) for thing in left)
