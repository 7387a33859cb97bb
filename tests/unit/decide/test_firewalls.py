"""What listed rulesets drop of ours, and what is told of it. Real rulesets in a real kernel: tests/netns."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplumb.models.kernel import LINK_GROUP
from netplumb.models.network import Pool
from netplumb.models.status import Condition
from netplumb.reconciler.decide.firewalls.answers import Answer, covered, merged
from netplumb.reconciler.decide.firewalls.ruleset import Ruleset
from netplumb.reconciler.decide.firewalls.traffic import Ours
from netplumb.reconciler.decide.firewalls.weigh import weigh
from netplumb.reconciler.decide.firewalls.words import conditions

Listed = list[dict[str, Any]]

OURS = Ours(
    pools=(Pool(cidr=ip_network("10.213.0.0/24")), Pool(cidr=ip_network("fd13::/64"))),
    uplinks=frozenset({"up0"}),
    node_addresses=frozenset({ip_address("192.0.2.1")}),
)
ACCEPT, DROP = {"accept": None}, {"drop": None}
ESTABLISHED = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}


def chain(
    name: str = "FORWARD", *, family: str = "ip", table: str = "filter", policy: str = "accept", hook: str = "forward"
) -> dict[str, Any]:
    fields = {"family": family, "table": table, "name": name}
    hooked = {"type": "filter", "hook": hook, "prio": 0, "policy": policy} if hook else {}
    return {"chain": fields | hooked}


def rule(*expressions: object, into: str = "FORWARD", family: str = "ip", handle: int = 7) -> dict[str, Any]:
    fields = {"family": family, "table": "filter", "chain": into, "handle": handle}
    return {"rule": fields | {"expr": list(expressions)}}


def match(left: object, right: object, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def meta(key: str, right: object, op: str = "==") -> dict[str, Any]:
    return match({"meta": {"key": key}}, right, op)


def payload(protocol: str, field: str, right: object, op: str = "==") -> dict[str, Any]:
    return match({"payload": {"protocol": protocol, "field": field}}, right, op)


def told(listed: Listed, unread: tuple[str, ...] = (), ours: Ours = OURS) -> tuple[Condition, ...]:
    ruleset = Ruleset.of(listed)
    drops, unweighed = weigh(ruleset, ours)
    return conditions(drops, ruleset, [*unread, *unweighed])


def verdict(listed: Listed) -> str:
    blocked, *filtered = told(listed)
    return "drops" if blocked.status else "may" if filtered else ""


LEAVING, ARRIVING = rule(meta("iifgroup", LINK_GROUP), ACCEPT), rule(meta("oifgroup", LINK_GROUP), ACCEPT)
JUMP = rule({"jump": {"target": "USER"}})
IN_USER = [
    chain("USER", hook=""),
    rule(meta("iifname", "np*"), {"counter": None}, ACCEPT, into="USER"),
    rule(meta("oifname", "np*"), ACCEPT, into="USER"),
]
REJECT = rule({"xt": {"type": "target", "name": "REJECT"}})
ELEMENT = {"elem": {"val": "np*", "comment": "theirs"}}

RULESETS: dict[str, tuple[Listed, str]] = {
    "none": ([], ""),
    "an open chain": ([chain()], ""),
    "a closed bridge": ([chain(family="bridge", policy="drop")], ""),
    "a closed chain": ([chain(policy="drop")], "drops"),
    "all but answers": ([chain(), rule(ESTABLISHED, ACCEPT), rule({"counter": None}, DROP)], "drops"),
    "a native reject": ([chain(), rule({"reject": {"type": "icmpx"}})], "drops"),
    "iptables' reject": ([chain(), REJECT], "drops"),
    "another of its targets": ([chain(), rule({"xt": {"type": "target", "name": "LOG"}})], ""),
    "a match that is only named": ([chain(), rule({"xt": {"type": "match", "name": "set"}}, DROP)], "may"),
    "a part that is not listed": ([chain(), rule(None, DROP)], "may"),
    "a part of tomorrow": ([chain(), rule({"tomorrow": {"a": 1}}, DROP)], "may"),
    "to userspace": ([chain(), rule({"queue": {"num": 1}})], "may"),
    "another interface": ([chain(), rule(meta("iifname", "eth9"), DROP)], ""),
    "another interface by index": ([chain(), rule(meta("iif", 17), DROP)], ""),
    "a set with comments": ([chain(), rule(meta("iifname", {"set": [ELEMENT]}), DROP)], "drops"),
    "one of one": ([chain(), rule(meta("iifname", {"set": "np*"}), DROP)], "drops"),
    "a set that was not read": ([chain(), rule(meta("iifname", "@links"), DROP)], "may"),
    "a map that was not read": ([chain(), rule({"vmap": {"key": {"meta": {"key": "iif"}}, "data": "@m"}})], "may"),
    "flags as newer ones write": (
        [
            chain(),
            rule(
                match(
                    {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, {"|": ["fin", "syn"]}]},
                    {"|": ["fin", "syn"]},
                ),
                DROP,
            ),
        ],
        "",
    ),
    "a mask of addresses": (
        [chain(), rule(match({"&": [{"payload": {"protocol": "ip", "field": "saddr"}}, 1]}, 1), DROP)],
        "may",
    ),
    "only one way is let through": ([chain(policy="drop"), LEAVING], "drops"),
    "both ways": ([chain(policy="drop"), LEAVING, ARRIVING], ""),
    "one way and answers": ([chain(policy="drop"), LEAVING, rule(ESTABLISHED, ACCEPT)], ""),
    "all but ours": ([chain(policy="drop"), rule(meta("iifgroup", LINK_GROUP, "!="), ACCEPT), ARRIVING], "drops"),
    "in a chain of users": ([chain(policy="drop"), JUMP, *IN_USER], ""),
    "in a chain that nobody asks": ([chain(policy="drop"), *IN_USER], "drops"),
    "a chain that is not there": ([chain(policy="drop"), JUMP], "drops"),
}


@pytest.mark.parametrize(("listed", "expected"), RULESETS.values(), ids=RULESETS)
def test_a_ruleset_is_weighed(listed: Listed, expected: str) -> None:
    """What certainly drops ours, what may, and what does not."""
    assert verdict(listed) == expected


def test_the_condition_names_each_chain_with_its_remedy() -> None:
    """iptables' chains by iptables, in Docker's chain where there is one; others by nft."""
    docker = [chain(policy="drop"), chain("DOCKER-USER", hook="")]
    firewalld = [
        chain("filter_FORWARD", family="inet"),
        rule(meta("iifname", "np*"), DROP, into="filter_FORWARD", family="inet"),
    ]
    (found,) = told([*docker, *firewalld, chain(family="ip6", policy="drop")])
    assert (found.type, found.status, found.reason) == ("ForwardBlocked", True, "ForeignChain")
    sent, answered, between = "what workloads send out", "answers to workloads", "what workloads send each other"
    all_ = f"{sent}, {answered}, {between}, ICMP errors to workloads"
    docker_words = "iptables -I DOCKER-USER -i np+ -j ACCEPT && iptables -I DOCKER-USER -o np+ -j ACCEPT"
    nft = "nft insert rule inet filter filter_FORWARD"
    nft_words = f"{nft} iifgroup 28272 accept && {nft} oifgroup 28272 accept"
    ip6_words = "ip6tables -I FORWARD -i np+ -j ACCEPT && ip6tables -I FORWARD -o np+ -j ACCEPT"
    where = "chain inet filter filter_FORWARD (rule handle 7: iifname np* drop)"
    expected = (
        f"chain ip filter FORWARD (policy drop) drops {all_}; let it pass: {docker_words}",
        f"{where} drops {sent}, {between}; let it pass: {nft_words}",
        f"chain ip6 filter FORWARD (policy drop) drops {all_}; let it pass: {ip6_words}",
    )
    assert found.message == "; ".join(expected)


REMEDIES = {
    "nft delete rule inet filter c handle 7": [
        chain("c", family="inet", hook="prerouting"),
        rule(DROP, into="c", family="inet"),
    ],
    "nft chain inet filter c '{ policy accept; }'": [chain("c", family="inet", hook="prerouting", policy="drop")],
    "nft insert rule inet filter c oifgroup 28272 accept": [chain("c", family="inet", hook="output", policy="drop")],
    "iptables -t raw -P PREROUTING ACCEPT": [chain("PREROUTING", table="raw", hook="prerouting", policy="drop")],
    "iptables -I OUTPUT -o np+ -j ACCEPT": [chain("OUTPUT", hook="output", policy="drop")],
    "iptables -D U 2": [
        chain("POSTROUTING", hook="postrouting"),
        rule({"goto": {"target": "U"}}, into="POSTROUTING"),
        rule(meta("iifname", "docker0"), DROP, into="U"),
        rule(DROP, into="U"),
    ],
}


@pytest.mark.parametrize(("remedy", "listed"), REMEDIES.items(), ids=REMEDIES)
def test_a_hook_that_cannot_tell_ours_has_another_remedy(remedy: str, listed: Listed) -> None:
    """Where a chain cannot know by our links what is ours, the rule itself goes, or the policy."""
    (found,) = told(listed)
    assert found.message.endswith(f"; let it pass: {remedy}")


def test_what_was_not_looked_at_is_said() -> None:
    """Beside what drops, and where nothing else is to be told."""
    (found,) = told([], ("table inet large",))
    assert (found.status, found.reason, found.message) == (False, "NotAllLookedAt", "not looked at: table inet large")
    (found,) = told([chain(policy="drop")], ("table inet large",))
    assert found.status
    assert found.message.endswith("; not looked at: table inet large")


def test_a_chain_that_is_not_understood_is_said_not_to_be_looked_at() -> None:
    """Words of another libnftables end no look: the other chains are weighed."""
    odd = [chain("odd"), rule({"vmap": {"key": 1, "data": {"set": [["too", "many", "values"]]}}}, into="odd")]
    (found,) = told([*odd, chain(policy="drop")])
    assert found.message.startswith("chain ip filter FORWARD (policy drop) drops")
    assert "not looked at: chain ip filter odd, which is not understood" in found.message


def test_jumps_that_lead_too_far_are_not_followed() -> None:
    """A small ruleset whose jumps make it a very long way is said not to be looked at."""
    listed = [chain(), rule({"jump": {"target": "c0"}})]
    for number in range(40):
        listed += [rule({"jump": {"target": f"c{number + 1}"}}, into=f"c{number}")] * 2
    (found,) = told(listed)
    assert found.message == "not looked at: chain ip filter FORWARD, which leads too far"


def test_a_message_stays_short() -> None:
    """Of hundreds of drops the first few are named and the rest counted, and a long rule is cut."""
    many = {"set": [f"10.213.0.{number}" for number in range(200)]}
    rules = [rule(payload("ip", "saddr", many), DROP, handle=number) for number in range(300)]
    (blocked, filtered) = told([chain(), *rules])
    assert not blocked.status
    assert filtered.message.endswith("; and 295 more")
    assert len(filtered.message) < 2000


def test_names_that_are_no_text_are_told_as_text() -> None:
    """A chain may have any bytes for a name: the message is printable all the same, and its commands are quoted."""
    (found,) = told([chain("a\udcff\x1b[2J b;c", family="inet", hook="output", policy="drop")])
    assert found.message.isprintable()
    assert found.message.encode()
    assert "filter 'a" in found.message


def test_without_workloads_nothing_is_in_the_way() -> None:
    """Neither pools nor addresses: nothing is forwarded."""
    assert not told([chain(policy="drop")], ours=Ours())[0].status


RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda pair: (min(pair), max(pair))))


@given(RANGES, RANGES)
def test_ranges_cover_as_their_numbers_do(wanted: list[tuple[int, int]], by: list[tuple[int, int]]) -> None:
    """All, some or none of the numbers of one are numbers of the other."""
    mine = {number for first, last in wanted for number in range(first, last + 1)}
    theirs = {number for first, last in by for number in range(first, last + 1)}
    expected = Answer.NO if not mine & theirs else Answer.YES if mine <= theirs else Answer.SOME
    assert covered(merged(wanted), merged(by)) is expected
