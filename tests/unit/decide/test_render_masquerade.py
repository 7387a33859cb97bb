"""Rendering of whose source is replaced. That the kernel lists it back so is held by tests/netns/test_nftables.py."""

from __future__ import annotations

import json
from typing import Any

import pytest

from netplumb.models.kernel import LINK_GROUP
from netplumb.models.network import Node
from netplumb.models.nft import canonical_rule
from netplumb.reconciler.decide.render.masquerade import render_masquerade


def masqueraded() -> dict[str, Any]:
    (chain,) = render_masquerade(Node(masquerade=True))
    rule, *_ = chain.rules
    parsed: dict[str, Any] = json.loads(rule)
    return parsed


def test_source_addresses_are_changed_after_routing() -> None:
    """The chain is where the kernel knows both interfaces, at the priority of source NAT, and drops nothing."""
    (chain,) = render_masquerade(Node(masquerade=False))
    assert (chain.type, chain.hook, chain.priority, chain.policy) == ("nat", "postrouting", 100, "accept")


def test_only_what_goes_from_a_workload_to_elsewhere_is_masqueraded() -> None:
    """Both ends are told by our link group, so that neither a workload's nor the node's traffic to workloads is."""
    *matches, counter, verdict = masqueraded()["expr"]
    assert [(m["match"]["left"]["meta"]["key"], m["match"]["op"], m["match"]["right"]) for m in matches] == [
        ("iifgroup", "==", LINK_GROUP),
        ("oifgroup", "!=", LINK_GROUP),
    ]
    assert (counter, verdict) == ({"counter": None}, {"masquerade": None})


def test_the_rule_says_what_it_is_for() -> None:
    """Who lists the ruleset reads why the rule is there."""
    assert masqueraded()["comment"] == "workloads to outside"


@pytest.mark.parametrize("counted", [{"packets": 7, "bytes": 900}, {"packets": 0, "bytes": 0}, None])
def test_what_was_counted_does_not_make_a_rule_another(counted: dict[str, int] | None) -> None:
    """Counters change by themselves, and are no drift."""
    assert canonical_rule([{"counter": counted}, {"drop": None}]) == canonical_rule([{"counter": None}, {"drop": None}])


def test_the_order_of_a_rules_fields_does_not_make_it_another() -> None:
    """Equal rules have one text."""
    match = {"op": "==", "left": {"meta": {"key": "iifgroup"}}, "right": 1}
    assert canonical_rule([{"match": match}]) == canonical_rule([{"match": dict(reversed(match.items()))}])


def test_another_comment_makes_another_rule() -> None:
    """The comment is part of the rule, so a changed one is drift; an empty one is not the same as none."""
    assert len({canonical_rule([{"drop": None}], comment) for comment in (None, "", "why")}) == 3


def test_a_rule_stays_as_it_is_when_made_canonical_again() -> None:
    """What is rendered has already the form in which it is compared."""
    rule = masqueraded()
    assert canonical_rule(rule["expr"], rule["comment"]) == next(render_masquerade(Node())).rules[0]
