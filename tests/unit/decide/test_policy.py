"""Routing rules: which of others may divert traffic to workloads, and where ours stand."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from netplumb.models.cluster import ClusterMode, ClusterView
from netplumb.models.kernel import RT_PROTOCOL, RT_TABLE_LOCAL, RT_TABLE_MAIN, Rule
from netplumb.models.network import Node, Surroundings
from netplumb.models.nodenetwork import NodeNetwork
from netplumb.models.policy import ForeignRule
from netplumb.reconciler.decide.nodeconditions import node_conditions
from netplumb.reconciler.decide.render.policy import RULE_PREFERENCE, render_policy

V4, V6 = ip_network("10.99.0.0/16"), ip_network("fd99::/64")
NODE = Node(workload_prefixes=(V4, V6))
ANY_BIT = 0xFFFFFFFF
DIVERTING = ForeignRule(4, 200, src=ip_network("192.0.2.1/32"), table=100)


def beside(*rules: ForeignRule, ipv6: bool = True) -> Node:
    return replace(NODE, around=Surroundings(rules=rules), ipv6=ipv6)


def places(node: Node) -> list[int]:
    return [rule.preference for rule in render_policy(node)]


@pytest.mark.parametrize(
    "rule",
    [
        DIVERTING,
        replace(DIVERTING, src=None),
        replace(DIVERTING, dst=ip_network("10.99.7.0/24")),
        replace(DIVERTING, dst=ip_network("10.0.0.0/8")),
        replace(DIVERTING, fwmark=51820, fwmask=ANY_BIT, inverted=True),
        replace(DIVERTING, dst=ip_network("192.0.2.0/24"), inverted=True),
        replace(DIVERTING, iif="up0"),
        replace(DIVERTING, fwmark=7, fwmask=ANY_BIT),
        replace(DIVERTING, fwmark=0, fwmask=1),
        replace(DIVERTING, fwmark=0, fwmask=1, looks_up=False, ends="prohibit"),
        replace(DIVERTING, looks_up=False, ends="prohibit"),
        replace(DIVERTING, table=RT_TABLE_MAIN, looks_up=False, ends="prohibit"),
    ],
    ids=str,
)
def test_ours_go_before_what_may_divert(rule: ForeignRule) -> None:
    """Also where it takes only some of the traffic to some of the workloads."""
    assert places(beside(rule)) == [199, RULE_PREFERENCE]


@pytest.mark.parametrize(
    "rule",
    [
        replace(DIVERTING, dst=ip_network("192.0.2.0/24")),
        replace(DIVERTING, fwmark=7, fwmask=ANY_BIT, delivers=True),
        replace(DIVERTING, fwmark=7, fwmask=ANY_BIT, looks_up=False, ends="prohibit"),
        replace(DIVERTING, oif="up0"),
        replace(DIVERTING, table=RT_TABLE_MAIN),
        replace(DIVERTING, table=RT_TABLE_LOCAL),
        replace(DIVERTING, looks_up=False),  # a VRF's, or one that does nothing
        replace(DIVERTING, preference=RULE_PREFERENCE + 1),
    ],
    ids=str,
)
def test_ours_stay_behind_what_does_not(rule: ForeignRule) -> None:
    """What is marked for the node itself is a proxy's; what is bound to an interface finds no route over another."""
    assert places(beside(rule)) == [RULE_PREFERENCE, RULE_PREFERENCE]


def test_each_family_goes_by_its_own_rules() -> None:
    """The first of those that may divert counts; without IPv6 there is nothing to keep."""
    rules = (replace(DIVERTING, version=6, src=None, preference=30), replace(DIVERTING, preference=1), DIVERTING)
    assert places(beside(*rules)) == [0, 29]
    assert places(beside(*rules, ipv6=False)) == [0]


def test_a_rule_at_the_very_front_is_told() -> None:
    """There is no place before the preference 0."""
    (told,) = node_conditions(beside(replace(DIVERTING, preference=0)))
    assert (told.type, told.status) == ("PolicyRouted", True)
    assert "0: from 192.0.2.1/32 lookup 100" in told.message
    assert not list(node_conditions(beside(DIVERTING, ForeignRule(4, 0, table=RT_TABLE_LOCAL))))
    (told,) = node_conditions(beside(replace(DIVERTING, preference=0, fwmark=7, fwmask=ANY_BIT)))
    assert (told.type, told.status) == ("PolicyRoutedByMark", True)
    assert "may take traffic to workloads elsewhere (0: from 192.0.2.1/32 fwmark 0x7 lookup 100)" in told.message


def test_of_many_rules_some_are_named() -> None:
    """A rule that is added without a preference comes before all others; whoever adds thousands ends at 0."""
    many = (replace(DIVERTING, preference=0, src=ip_network(f"10.77.0.{number}/32")) for number in range(200))
    (told,) = node_conditions(beside(*many))
    assert "10.77.0.0/32" in told.message
    assert "and 195 more" in told.message
    assert len(told.message) < 600


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (DIVERTING, True),
        (replace(DIVERTING, src=ip_network("192.0.2.0/24")), True),
        (replace(DIVERTING, src=ip_network("192.0.2.9/32")), False),
        (replace(DIVERTING, src=None), False),
        (replace(DIVERTING, table=RT_TABLE_MAIN), False),
        (replace(DIVERTING, fwmark=7, fwmask=ANY_BIT, selects_more=True), False),
    ],
    ids=str,
)
def test_ports_at_a_second_uplink_are_told(rule: ForeignRule, told: bool) -> None:
    """Where what the node answers from one of its addresses goes by a table of its own, what a workload answers for it
    does not."""
    conditions = {it.type: it for it in node_conditions(beside(rule), (ip_address("192.0.2.1"), ip_address("fd00::1")))}
    assert ("PortsByMainTable" in conditions) is told


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (replace(DIVERTING, src=ip_network("10.99.0.0/16")), True),
        (replace(DIVERTING, src=ip_network("10.99.4.0/24")), True),
        (replace(DIVERTING, src=ip_network("10.99.4.0/24"), inverted=True), False),
        (replace(DIVERTING, src=ip_network("10.98.0.0/16")), False),
        (DIVERTING, False),
    ],
    ids=str,
)
def test_a_table_of_the_pools_own_answers_for_their_ports(rule: ForeignRule, told: bool) -> None:
    """A rule that holds for workloads leads their answers too, by whichever uplink they were asked; it is not one for
    an address of the node."""
    conditions = {it.type for it in node_conditions(beside(rule), (ip_address("192.0.2.1"),))}
    assert ("PortsByPoolsTable" in conditions) is told
    assert ("PortsByMainTable" in conditions) is (rule == DIVERTING)


def test_a_vpn_s_table_answers_for_ports() -> None:
    """By its rule for all but its own packets."""
    rule = ForeignRule(4, 32765, table=51820, inverted=True, fwmark=51820, fwmask=ANY_BIT)
    (told,) = node_conditions(beside(), known=NodeNetwork(leading_rules=(rule,)))
    assert told.type == "PortsByPoolsTable"
    assert "32765: not from all fwmark 0xca6c lookup 51820" in told.message


def test_a_rule_is_the_same_in_another_place() -> None:
    """So that it is moved, and not added and removed, and a fight over its place is seen as one."""
    first, second = (next(iter(render_policy(beside(*rules)))) for rules in ((), (DIVERTING,)))
    assert first != second
    assert first.key == second.key
    assert first.words == second.words == "rule to 10.99.0.0/16 lookup main suppress_prefixlength 31"
    assert isinstance(first, Rule)
    assert first.protocol == RT_PROTOCOL


@pytest.mark.parametrize(("mode", "count"), [(ClusterMode.ROUTES, 4), (ClusterMode.VXLAN, 4), (ClusterMode.NONE, 2)])
def test_ways_to_other_nodes_answer_before_rules_of_others(mode: ClusterMode, count: int) -> None:
    """Routes within the cluster's pools do, and none that is as wide as a pool; where others make the ways, nothing."""
    pools = (ip_network("10.0.0.0/8"), ip_network("fd80::/48"))
    own = (ip_network("10.99.0.0/16"), ip_network("fd80:0:0:1::/64"))
    node = Node(workload_prefixes=own, cluster=ClusterView("node-1", mode, pools=pools))
    rules = list(render_policy(node))
    assert len(rules) == count
    assert [rule.words for rule in rules[2:]] == [
        "rule to 10.0.0.0/8 lookup main suppress_prefixlength 8",
        "rule to fd80::/48 lookup main suppress_prefixlength 48",
    ][: count - 2]
    around = Surroundings(rules=(replace(DIVERTING, dst=ip_network("10.7.0.0/16")),))
    assert places(replace(node, around=around))[2:3] == [199][: count - 2]
