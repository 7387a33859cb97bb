"""Several interfaces of one workload: what each needs so that its answers leave by it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from itertools import combinations

from netplumb.models.kernel import FIRST_HOP_V4, FIRST_HOP_V6, LINK_GROUP, RT_TABLE_MAIN, Link, Route, Rule, Scope
from netplumb.models.naming import routing_table
from netplumb.reconciler.desired.assignment import changed_with
from tests.unit.decide.test_render import V4, V6, attachment, of, rendered

SIBLING = ip_address("10.1.0.9")


def test_one_interface_needs_nothing() -> None:
    """The common attachment has no rule, one table and no link group of ours inside."""
    things = rendered(attachment())
    assert of(Rule, things) == []
    assert {route.table for route in of(Route, things, Scope.WORKLOAD)} == {RT_TABLE_MAIN, 255}
    assert [link.group for link in of(Link, things, Scope.WORKLOAD)] == [None]


def test_each_address_leads_to_the_table_of_its_interface() -> None:
    """Behind the main table less default routes and less our interfaces; and that table leads to the first hop."""
    things = rendered(attachment("eth1", siblings=(SIBLING,), default_route_by="eth0"))
    table = routing_table("eth1")
    assert [(rule.preference, rule.src, rule.src_len, rule.table) for rule in of(Rule, things, Scope.WORKLOAD)] == [
        (78, V4.packed, 32, RT_TABLE_MAIN),
        (79, V4.packed, 32, table),
        (78, V6.packed, 128, RT_TABLE_MAIN),
        (79, V6.packed, 128, table),
    ]
    routes = [route for route in of(Route, things, Scope.WORKLOAD) if route.table == table]
    assert [(route.prefix_len, route.gateway, route.prefsrc) for route in routes] == [
        (32, None, V4.packed),
        (0, FIRST_HOP_V4, V4.packed),
        (0, FIRST_HOP_V6, V6.packed),
    ]
    assert [link.group for link in of(Link, things, Scope.WORKLOAD)] == [LINK_GROUP]


def test_one_alone_that_leaves_the_default_route_to_others_has_its_own_way() -> None:
    """Who else is there holds it, and answers would leave by that."""
    things = rendered(attachment(default_route_by=""))
    assert len(of(Rule, things)) == 4
    assert [link.group for link in of(Link, things, Scope.WORKLOAD)] == [LINK_GROUP]


def test_a_family_that_is_off_has_no_rule() -> None:
    """Nothing of IPv6 is asked of a namespace that has none."""
    things = rendered(attachment(siblings=(SIBLING,)), v6=False)
    assert {len(rule.src or b"") for rule in of(Rule, things)} == {4}


def test_tables_differ_by_the_interfaces_name() -> None:
    """So that each is known without asking the others."""
    names = ("eth0", "eth1", "eth10", "net1", "eth01", "ethernet", "eth1000")
    assert all(routing_table(one) != routing_table(other) for one, other in combinations(names[:4], 2))
    assert all(routing_table(name) > RT_TABLE_MAIN for name in names)


def test_the_others_are_told_of_who_comes_and_goes() -> None:
    """Each record knows the addresses of its siblings, so that its pass tells their rules from what was left behind."""
    first, second = attachment("eth0", siblings=()), attachment("eth1", addresses=(SIBLING,), default_route_by="eth0")
    (told,) = changed_with(second, [first])
    assert told.siblings == (SIBLING,)
    (told,) = changed_with(second.model_copy(update={"removing": True}), [told])
    assert told.siblings == ()
    assert changed_with(second.model_copy(update={"removing": True}), [told]) == []


def test_a_rule_knows_its_place_and_its_kind() -> None:
    """In words for a plan, and apart from one that suppresses more."""
    connected, own = of(Rule, rendered(attachment(siblings=(SIBLING,)), v6=False))
    assert str(connected) == (
        "rule from 10.1.0.2/32 lookup main suppress_prefixlength 0 suppress_ifgroup 28272 proto netplumb preference 78"
    )
    assert str(own) == "rule from 10.1.0.2/32 lookup 78000 proto netplumb preference 79"
    assert replace(connected, suppress_group=None).key != connected.key
