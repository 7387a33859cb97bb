"""PURE: whose source address is replaced on its way out: workloads' towards the outside, and those that a workload
could not answer to. What goes from one address of the cluster's pools to another keeps its own, on whichever nodes they
are; who has an address of another pool does not, since nobody there could answer."""

from __future__ import annotations

from collections.abc import Iterator

from netplumb.models.base import IPAddress
from netplumb.models.network import Node
from netplumb.models.nft import NftChain, canonical_rule, hairpin_set
from netplumb.models.nodenetwork import Source
from netplumb.reconciler.decide.render.expressions import (
    ACCEPT,
    COUNTER,
    FROM_WORKLOAD,
    MASQUERADE,
    PRIORITY_SRCNAT,
    TO_ELSEWHERE,
    TO_WORKLOAD,
    Expression,
    between_nodes,
    concat,
    in_set,
    match,
    meta,
    payload,
    prefix,
)


def render_masquerade(node: Node) -> Iterator[NftChain]:
    rules = []
    if node.masquerade:
        inside = between_nodes(node.cluster_prefixes, "saddr", "daddr")
        rules += [canonical_rule([TO_ELSEWHERE, *both, ACCEPT], "between nodes") for both in inside]
        rules += [_as_the_node(source) for source in node.sources]
        rules += list(_not_as_a_pools(node))
        rules.append(canonical_rule([FROM_WORKLOAD, TO_ELSEWHERE, COUNTER, MASQUERADE], "workloads to outside"))
    for version, ip, loopback in ((4, "ip", prefix("127.0.0.0", 8)), (6, "ip6", "::1")):
        replaced = _replaced(ip, next((a for a in node.node_addresses if a.version == version), None))
        saddr, daddr = payload(ip, "saddr"), payload(ip, "daddr")
        itself = in_set(concat(saddr, daddr), hairpin_set(version))
        rules.append(canonical_rule([itself, replaced], "a workload to itself by a port of the node"))
        rules.append(canonical_rule([TO_WORKLOAD, match(saddr, loopback), replaced], "the node by its loopback"))
    yield NftChain("postrouting", "nat", "postrouting", PRIORITY_SRCNAT, "accept", tuple(rules))


def _as_the_node(source: Source) -> str:
    """The source that the node itself would send from, which masquerading does not know where a route says it."""
    ip = "ip" if source.dst.version == 4 else "ip6"
    if not source.dst.prefixlen:
        dst = match(meta("nfproto"), f"ipv{source.dst.version}")
    elif source.dst.prefixlen == source.dst.max_prefixlen:
        dst = match(payload(ip, "daddr"), str(source.dst.network_address))
    else:
        dst = match(payload(ip, "daddr"), prefix(str(source.dst.network_address), source.dst.prefixlen))
    replaced = {"snat": {"family": ip, "addr": str(source.ip)}} if source.ip is not None else MASQUERADE
    return canonical_rule([FROM_WORKLOAD, match(meta("oifname"), source.link), dst, COUNTER, replaced], "as the node")


def _not_as_a_pools(node: Node) -> Iterator[str]:
    """What the node itself sends where it has no address with further reach than the link: the kernel would take the
    node's address in a pool, to which nobody outside can answer."""
    for source in node.sources:
        if source.ip is not None and source.ip.is_link_local:
            for own in (it for it in node.node_addresses if it.version == source.ip.version):
                out = match(meta("oifname"), source.link)
                replaced = {"snat": {"family": "ip6", "addr": str(source.ip)}}
                yield canonical_rule([out, match(payload("ip6", "saddr"), str(own)), COUNTER, replaced], "the node")


def _replaced(ip: str, by: IPAddress | None) -> Expression:
    """By the node's own address where it has one: masquerading would choose among the addresses of a link that has
    none, and in IPv6 take a link-local one, to which no UDP answer comes back."""
    return {"snat": {"family": ip, "addr": str(by)}} if by is not None else MASQUERADE
