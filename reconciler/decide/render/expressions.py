"""PURE: the words of nftables rules, in the form in which libnftables lists them back (libnftables-json(5))."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from netplumb.models.base import IPNetwork
from netplumb.models.kernel import DEPARTING_GROUPS, LINK_GROUP
from netplumb.models.nft import NftSet, canonical_rule, hairpin_set
from netplumb.reconciler.decide.policies import ranges

Expression = dict[str, Any]

ACCEPT: Expression = {"accept": None}
DROP: Expression = {"drop": None}
RETURN: Expression = {"return": None}
COUNTER: Expression = {"counter": None}
CONTINUE: Expression = {"continue": None}
MASQUERADE: Expression = {"masquerade": None}

# Hooks' priorities, include/uapi/linux/netfilter_ipv4.h
PRIORITY_RAW = -300
PRIORITY_CONNTRACK = -200
PRIORITY_CROWDING = -150  # behind connection tracking, and before what a new flow costs more
PRIORITY_DSTNAT = -100
PRIORITY_FILTER = 0
PRIORITY_POLICY = 1  # and the one behind it
PRIORITY_DEPARTING = 3  # behind all of these
PRIORITY_SRCNAT = 100
PRIORITY_LAST = 200  # behind every translation, and behind IPVS, which takes what it serves out of the input hook


def meta(key: str) -> Expression:
    return {"meta": {"key": key}}


def payload(protocol: str, field: str) -> Expression:
    return {"payload": {"protocol": protocol, "field": field}}


def concat(*parts: Expression) -> Expression:
    return {"concat": list(parts)}


def match(left: Expression, right: Any, op: str = "==") -> Expression:
    return {"match": {"op": op, "left": left, "right": right}}


def in_set(left: Expression, declared: NftSet) -> Expression:
    return match(left, f"@{declared.name}")


def prefix(address: str, length: int) -> Expression:
    return {"prefix": {"addr": address, "len": length}}


def port_key(version: int, *, at_one_address: bool) -> Expression:
    """What the maps of mapped ports are asked with."""
    port = (meta("l4proto"), payload("th", "dport"))
    return concat(payload("ip" if version == 4 else "ip6", "daddr"), *port) if at_one_address else concat(*port)


def jump(chain: str) -> Expression:
    return {"jump": {"target": chain}}


FROM_WORKLOAD = match(meta("iifgroup"), LINK_GROUP)
"""Every workload's link is in our group, so that one rule is enough for all of them, however many there are."""

NOT_FROM_WORKLOAD = match(meta("iifgroup"), LINK_GROUP, "!=")
TO_WORKLOAD = match(meta("oifgroup"), LINK_GROUP)
TO_ELSEWHERE = match(meta("oifgroup"), LINK_GROUP, "!=")

_DEPARTING = {"range": [DEPARTING_GROUPS[0], DEPARTING_GROUPS[-1]]}
FROM_DEPARTING = match(meta("iifgroup"), _DEPARTING)
TO_DEPARTING = match(meta("oifgroup"), _DEPARTING)

FROM_LOOPBACK = match(meta("iiftype"), "loopback")
NOT_FROM_LOOPBACK = match(meta("iiftype"), "loopback", "!=")
"""The loopback interface is told by its kind, since it may be renamed."""

INVALID = match({"ct": {"key": "state"}}, "invalid", "in")

NEIGHBOUR_DISCOVERY = match(
    payload("icmpv6", "type"), {"set": ["nd-router-solicit", "nd-neighbor-solicit", "nd-neighbor-advert"]}
)

STATE: Expression = {"ct": {"key": "state"}}
NEW = match(STATE, "new", "in")
TRANSLATED = match({"ct": {"key": "status"}}, "dnat", "in")
NO_SYN = match(payload("tcp", "flags"), "syn", "!")


def answers() -> Iterator[str]:
    """Rules that let pass what belongs to a flow that was let pass."""
    answering = match({"ct": {"key": "direction"}}, "reply")
    yield canonical_rule([answering, match(STATE, "established", "in"), ACCEPT], "answers")
    yield canonical_rule([match(STATE, "related", "in"), ACCEPT], "what belongs to another flow")


def to_itself(version: int) -> Expression:
    """A workload by a port of the node; its source is replaced only after this."""
    ip = "ip" if version == 4 else "ip6"
    return in_set(concat(payload(ip, "saddr"), payload(ip, "daddr")), hairpin_set(version))


def between_nodes(prefixes: Iterable[IPNetwork], *fields: str) -> Iterator[list[Expression]]:
    """By IP version, that each of these fields, `saddr` or `daddr`, is an address of the cluster's pools."""
    for version, ip in ((4, "ip"), (6, "ip6")):
        if found := [it for it in prefixes if it.version == version]:
            there = ranges.joined((int(it.network_address), int(it.broadcast_address)) for it in found)
            yield [match(payload(ip, field), ranges.address_words(there, version)) for field in fields]
