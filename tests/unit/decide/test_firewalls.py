"""Which listed rulesets drop what is forwarded for workloads, and what would let it pass."""

from __future__ import annotations

from typing import Any

import pytest

from netplumb.models.kernel import LINK_GROUP
from netplumb.reconciler.decide.firewalls import blocking, condition

Listed = list[dict[str, Any]]

ACCEPT, DROP = {"accept": None}, {"drop": None}
ESTABLISHED = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}


def chain(
    name: str = "FORWARD", *, family: str = "ip", policy: str = "accept", hook: str = "forward"
) -> dict[str, Any]:
    fields = {"family": family, "table": "filter", "name": name}
    hooked = {"type": "filter", "hook": hook, "prio": 0, "policy": policy} if hook else {}
    return {"chain": fields | hooked}


def rule(*expressions: dict[str, Any], into: str = "FORWARD", family: str = "ip") -> dict[str, Any]:
    return {"rule": {"family": family, "table": "filter", "chain": into, "expr": list(expressions)}}


def meta(key: str, right: object, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": {"meta": {"key": key}}, "right": right}}


LEAVING, ARRIVING = rule(meta("iifgroup", LINK_GROUP), ACCEPT), rule(meta("oifgroup", LINK_GROUP), ACCEPT)
BY_NAME = [rule(meta("iifname", "np*"), ACCEPT), rule(meta("oifname", "np*"), ACCEPT)]
JUMP = rule({"jump": {"target": "USER"}})
IN_USER = [
    chain("USER", hook=""),
    rule(meta("iifname", "np*"), {"counter": None}, ACCEPT, into="USER"),
    rule(meta("oifname", "np*"), ACCEPT, into="USER"),
]
REJECT = rule({"xt": {"type": "target", "name": "REJECT"}})


@pytest.mark.parametrize(
    ("listed", "how"),
    [
        ([], None),
        ([chain()], None),
        ([chain(hook="input", policy="drop")], None),
        ([chain(family="bridge", policy="drop")], None),
        ([chain(policy="drop")], "policy drop"),
        ([chain(), rule(ESTABLISHED, ACCEPT), rule({"counter": None}, DROP)], "its last rule is drop"),
        ([chain(), rule({"reject": {"type": "icmpx"}})], "its last rule is reject"),
        ([chain(), REJECT], "its last rule is reject"),
        ([chain(), rule(meta("iifname", "eth9"), DROP)], None),
        ([chain(), rule({"xt": {"type": "match", "name": "conntrack"}}, DROP)], None),
        ([chain(policy="drop"), LEAVING], "policy drop"),
        ([chain(policy="drop"), LEAVING, ARRIVING], None),
        ([chain(policy="drop"), LEAVING, rule(ESTABLISHED, ACCEPT)], None),
        ([chain(policy="drop"), *BY_NAME], None),
        ([chain(policy="drop"), rule(meta("iifgroup", LINK_GROUP, "!="), ACCEPT), ARRIVING], "policy drop"),
        ([chain(policy="drop"), rule(meta("iifgroup", LINK_GROUP), DROP), ARRIVING], "policy drop"),
        ([chain(policy="drop"), JUMP, *IN_USER], None),
        ([chain(policy="drop"), *IN_USER], "policy drop"),
        (
            [chain(policy="drop"), JUMP, chain("USER", hook=""), rule({"goto": {"target": "USER"}}, into="USER")],
            "policy drop",
        ),
    ],
)
def test_a_chain_is_in_the_way_unless_it_lets_our_links_pass(listed: Listed, how: str | None) -> None:
    """By its policy or by its last rule; a jump is followed, a condition on something else is not weighed."""
    assert [it.how for it in blocking(listed)] == ([how] if how else [])


def test_the_condition_names_each_chain_with_its_remedy() -> None:
    """iptables' chains by iptables, in Docker's chain where there is one; others by nft."""
    docker = [chain(policy="drop"), chain("DOCKER-USER", hook="")]
    firewalld = [chain("filter_FORWARD", family="inet"), rule(DROP, into="filter_FORWARD", family="inet")]
    found = condition(blocking([*docker, *firewalld, chain(family="ip6", policy="drop")]))
    assert (found.type, found.status, found.reason) == ("ForwardBlocked", True, "ForeignChain")
    drops = "drops what is forwarded for workloads; let it pass:"
    docker_words = "iptables -I DOCKER-USER -i np+ -j ACCEPT && iptables -I DOCKER-USER -o np+ -j ACCEPT"
    nft = "nft insert rule inet filter filter_FORWARD"
    nft_words = f"{nft} iifgroup 28272 accept && {nft} oifgroup 28272 accept"
    ip6_words = "ip6tables -I FORWARD -i np+ -j ACCEPT && ip6tables -I FORWARD -o np+ -j ACCEPT"
    expected = (
        f"chain ip filter FORWARD (policy drop) {drops} {docker_words}",
        f"chain inet filter filter_FORWARD (its last rule is drop) {drops} {nft_words}",
        f"chain ip6 filter FORWARD (policy drop) {drops} {ip6_words}",
    )
    assert found.message == "; ".join(expected)


def test_nothing_in_the_way_is_a_condition_that_is_false() -> None:
    assert not condition(()).status
