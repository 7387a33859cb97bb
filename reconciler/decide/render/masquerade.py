"""PURE: whose source address is replaced on its way out: workloads' towards the outside, and those that a workload
could not answer to."""

from __future__ import annotations

from collections.abc import Iterator

from netplumb.models.base import IPAddress
from netplumb.models.network import Node
from netplumb.models.nft import NftChain, canonical_rule, hairpin_set
from netplumb.reconciler.decide.render.expressions import (
    COUNTER,
    FROM_WORKLOAD,
    MASQUERADE,
    PRIORITY_SRCNAT,
    TO_ELSEWHERE,
    TO_WORKLOAD,
    Expression,
    concat,
    in_set,
    match,
    payload,
    prefix,
)


def render_masquerade(node: Node) -> Iterator[NftChain]:
    rules = []
    if node.masquerade:
        rules.append(canonical_rule([FROM_WORKLOAD, TO_ELSEWHERE, COUNTER, MASQUERADE], "workloads to outside"))
    for version, ip, loopback in ((4, "ip", prefix("127.0.0.0", 8)), (6, "ip6", "::1")):
        replaced = _replaced(ip, next((a for a in node.node_addresses if a.version == version), None))
        saddr, daddr = payload(ip, "saddr"), payload(ip, "daddr")
        itself = in_set(concat(saddr, daddr), hairpin_set(version))
        rules.append(canonical_rule([itself, replaced], "a workload to itself by a port of the node"))
        rules.append(canonical_rule([TO_WORKLOAD, match(saddr, loopback), replaced], "the node by its loopback"))
    yield NftChain("postrouting", "nat", "postrouting", PRIORITY_SRCNAT, "accept", tuple(rules))


def _replaced(ip: str, by: IPAddress | None) -> Expression:
    """By the node's own address where it has one: masquerading would choose among the addresses of a link that has
    none, and in IPv6 take a link-local one, to which no UDP answer comes back."""
    return {"snat": {"family": ip, "addr": str(by)}} if by is not None else MASQUERADE
