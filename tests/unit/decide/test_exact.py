"""One packet before a chain: what is certain, and what cannot be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from netplumb.reconciler.decide.firewalls.exact import OnePacket, judge
from netplumb.reconciler.decide.firewalls.ruleset import Ruleset
from netplumb.reconciler.decide.firewalls.weigh import DROPS, TRANSLATES, met_by

PACKET = OnePacket(
    ip_address("10.99.0.2"), ip_address("203.0.113.7"), 6, 40000, 443, "npabc", "up0", iif_group=28272, mark=7
)
DROP = {"drop": None}


def rule(*expressions: Mapping[str, Any]) -> dict[str, Any]:
    return {"rule": {"family": "inet", "table": "t", "chain": "c", "handle": 1, "expr": list(expressions)}}


def match(left: Mapping[str, Any], right: object, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def payload(protocol: str, field: str) -> dict[str, Any]:
    return {"payload": {"protocol": protocol, "field": field}}


def meta(key: str) -> dict[str, Any]:
    return {"meta": {"key": key}}


def met(
    rules: Sequence[Mapping[str, Any]],
    packet: OnePacket = PACKET,
    *,
    policy: str = "accept",
    tracked: bool = True,
    verdicts: frozenset[str] = DROPS,
) -> list[bool]:
    """Whether each rule that it meets is certain."""
    base = {"family": "inet", "table": "t", "name": "c", "type": "filter", "hook": "forward", "prio": 0}
    ruleset = Ruleset.of([{"chain": base | {"policy": policy}}, *rules])
    (chain,) = ruleset.chains.values()
    return list(met_by(chain, ruleset, judge(packet, lambda _: None, tracked=tracked), verdicts).values())


@pytest.mark.parametrize(
    "condition",
    [
        match(payload("ip", "daddr"), {"prefix": {"addr": "203.0.113.0", "len": 24}}),
        match(payload("ip", "saddr"), "10.99.0.3", "!="),
        match(payload("tcp", "dport"), {"range": [400, 500]}),
        match(payload("th", "sport"), {"set": [39999, 40000]}),
        match(meta("iifname"), "np*"),
        match(meta("oifname"), "up0"),
        match(meta("iifgroup"), 28272),
        match(meta("iifgroup"), {"range": [28000, 29000]}),
        match(meta("mark"), 7),
        match(meta("mark"), {"range": [5, 9]}),
        match(meta("l4proto"), 6),
        match({"ct": {"key": "state"}}, ["new"], "in"),
        match({"fib": {"result": "oif", "flags": ["saddr", "iif"]}}, True),
        match(
            {"concat": [payload("ip", "daddr"), payload("tcp", "dport")]}, {"set": [{"concat": ["203.0.113.7", 443]}]}
        ),
    ],
)
def test_what_holds_for_it_drops_it(condition: dict[str, Any]) -> None:
    """And the same turned round does not."""
    assert met([rule(condition, DROP)]) == [True]
    opposite = {"==": "!=", "!=": "==", "in": "!"}[condition["match"]["op"]]
    assert met([rule({"match": condition["match"] | {"op": opposite}}, DROP)]) == []


@pytest.mark.parametrize("condition", [{"limit": {"rate": 1}}, match(meta("skuid"), 0), match(meta("mark"), "@unread")])
def test_what_cannot_be_told_is_no_certain_drop(condition: dict[str, Any]) -> None:
    """Nor is anything behind what may have let it pass."""
    assert met([rule(condition, DROP)]) == [False]
    assert met([rule(condition, {"accept": None}), rule(DROP)]) == [False]


def test_a_mark_that_is_not_known_is_no_certain_drop() -> None:
    marked = replace(PACKET, mark=None)
    assert met([rule(match(meta("mark"), 7), DROP)], marked) == [False]


def test_what_accepts_it_ends_the_chain() -> None:
    assert met([rule({"accept": None}), rule(DROP)], policy="drop") == []
    assert met([rule(match(meta("l4proto"), 17), {"accept": None})], policy="drop") == [True]


def test_before_conntrack_it_has_no_state() -> None:
    condition = rule(match({"ct": {"key": "state"}}, ["new"], "in"), DROP)
    assert met([condition], tracked=False) == []


def test_an_answer_is_established() -> None:
    answer = replace(PACKET, state="established")
    assert met([rule(match({"ct": {"key": "state"}}, ["established"], "in"), DROP)], answer) == [True]


def test_translations_are_found_as_drops_are() -> None:
    rules = [rule(match(payload("tcp", "dport"), 443), {"dnat": None})]
    assert met(rules, verdicts=TRANSLATES) == [True]
    assert met(rules, replace(PACKET, dport=80), verdicts=TRANSLATES) == []
