"""PURE: what a workload is kept from. All of it is on the node, where the workload cannot lift it, and all of it is a
part of the table, which is in place before any link comes up.

A source address is a workload's own if the node has a route to it over the link that the packet came by. So the guard
against spoofing needs no elements, holds for both families, and cannot be wrong about an address. A workload with
several interfaces answers from each of their addresses over the one that holds its default route: those are elements.
Neighbour discovery from a link-local address, or from none, ends, and is no spoofing: the node has no link-local
address on the link and cannot answer, but each would be one more neighbour to the kernel, which keeps a thousand of
them, in one table for all of its namespaces. Who asks from the workload's own addresses is answered; most need not ask,
for their first hop is a permanent neighbour. Of IPv4 the link itself answers only the workload's own (`arp_filter`).
What comes in by an interface that others put on top of a workload's link would pass all that asks for that link's
group; it is the workload's, and ends.

The kernel refuses what comes to 127.0.0.0/8, or from it, by any interface but the loopback, yet only when it routes,
and a translated destination is no longer that one; nor does it where route_localnet is on, which the node's own way to
mapped ports needs. So such packets end before they are translated, whoever sent them. Other martians need no rule:
their sources are looked at behind the translation, their destinations are no addresses of the node and so never
translated, and for ::1 the kernel looks before all.

Isolation counts by workload: one whose wish says so is kept in a set of closed or of open links, the rest go by the
node's setting. `isolate_workloads: false` opens a workload to all others, also to those that are isolated; between two
that say nothing, and from or to one that says true, only answers pass. An answer goes the other way than the packet
that began the flow; who began a flow is judged by each packet, so that none stays open that began while the rules were
away, or before they were asked for.
"""

from __future__ import annotations

from collections.abc import Iterator

from netplumb.models.attachment import Attachment, AttachmentKey
from netplumb.models.naming import node_if_name
from netplumb.models.network import Node
from netplumb.models.nft import (
    NODE_CLOSED,
    NODE_OPEN,
    WORKLOADS_CLOSED,
    WORKLOADS_OPEN,
    NftChain,
    NftElement,
    canonical_rule,
    sibling_set,
)
from netplumb.reconciler.decide.render.expressions import (
    ACCEPT,
    COUNTER,
    DROP,
    FROM_WORKLOAD,
    NEIGHBOUR_DISCOVERY,
    NOT_FROM_LOOPBACK,
    NOT_FROM_WORKLOAD,
    PRIORITY_FILTER,
    PRIORITY_RAW,
    TO_ELSEWHERE,
    TO_WORKLOAD,
    Expression,
    answers,
    between_nodes,
    concat,
    in_set,
    jump,
    match,
    meta,
    payload,
    prefix,
    to_itself,
)

_LINK_LOCAL_OR_NONE = match(payload("ip6", "saddr"), {"set": ["::", prefix("fe80::", 10)]})
_NO_ROUTE_BACK = match({"fib": {"result": "oif", "flags": ["saddr", "iif"]}}, False)
_LOOPBACK_V4 = prefix("127.0.0.0", 8)


def _rule(comment: str, *expressions: Expression) -> str:
    return canonical_rule(expressions, comment)


def _of_sibling(version: int) -> Expression:
    saddr = payload("ip" if version == 4 else "ip6", "saddr")
    return in_set(concat(meta("iifname"), saddr), sibling_set(version))


def render_guard_chains(node: Node) -> Iterator[NftChain]:
    yield NftChain(
        "from_workload",
        rules=(
            _rule("neighbour discovery", NEIGHBOUR_DISCOVERY, _LINK_LOCAL_OR_NONE, DROP),
            *(_rule("a workload's other interfaces", _of_sibling(version), ACCEPT) for version in (4, 6)),
            _rule("spoofed sources", _NO_ROUTE_BACK, COUNTER, DROP),
        ),
    )
    martians = (
        _rule(f"loopback {what} from elsewhere", NOT_FROM_LOOPBACK, match(where, _LOOPBACK_V4), COUNTER, DROP)
        for what, where in (("destinations", payload("ip", "daddr")), ("sources", payload("ip", "saddr")))
    )
    above = [_rule("on top of a workload's link", match(meta("iifname"), name), COUNTER, DROP) for name in node.uppers]
    guard = (*martians, canonical_rule([FROM_WORKLOAD, jump("from_workload")]), *above)
    yield NftChain("guard", "filter", "prerouting", PRIORITY_RAW, "accept", guard)

    to_node = [
        *answers(),
        _rule("neighbour discovery", NEIGHBOUR_DISCOVERY, ACCEPT),
        _rule("isolate_node: false", in_set(meta("iifname"), NODE_OPEN), ACCEPT),
        _rule("isolate_node: true", in_set(meta("iifname"), NODE_CLOSED), COUNTER, DROP),
    ]
    if node.isolate_node:
        to_node.append(_rule("the node's setting", COUNTER, DROP))
    yield NftChain("workload_to_node", rules=tuple(to_node))
    guard = (canonical_rule([FROM_WORKLOAD, jump("workload_to_node")]),)
    yield NftChain("input", "filter", "input", PRIORITY_FILTER, "accept", guard)

    between = [
        *answers(),
        *(_rule("a workload to itself", to_itself(version), ACCEPT) for version in (4, 6)),
        _rule("isolate_workloads: false", in_set(meta("iifname"), WORKLOADS_OPEN), ACCEPT),
        _rule("isolate_workloads: false", in_set(meta("oifname"), WORKLOADS_OPEN), ACCEPT),
        _rule("isolate_workloads: true", in_set(meta("iifname"), WORKLOADS_CLOSED), COUNTER, DROP),
        _rule("isolate_workloads: true", in_set(meta("oifname"), WORKLOADS_CLOSED), COUNTER, DROP),
    ]
    if node.isolate_workloads:
        between.append(_rule("the node's setting", COUNTER, DROP))
    yield NftChain("between_workloads", rules=tuple(between))
    guard = (canonical_rule([FROM_WORKLOAD, TO_WORKLOAD, jump("between_workloads")]), *_of_other_nodes(node))
    yield NftChain("forward", "filter", "forward", PRIORITY_FILTER, "accept", guard)


def _of_other_nodes(node: Node) -> Iterator[str]:
    """Workloads there are workloads too. What they say of themselves is judged where they are."""
    for there in between_nodes(node.cluster_prefixes, "daddr"):
        yield canonical_rule([FROM_WORKLOAD, TO_ELSEWHERE, *there, jump("between_workloads")], "to other nodes")
    for there in between_nodes(node.cluster_prefixes, "saddr"):
        yield canonical_rule([NOT_FROM_WORKLOAD, TO_WORKLOAD, *there, jump("between_workloads")], "from other nodes")


def render_guard_elements(attachment: Attachment) -> Iterator[NftElement]:
    """The links whose wish says something of its own, and the link that the workload's answers leave by."""
    name = node_if_name(attachment.key)
    spec = attachment.spec
    if attachment.default_route_by not in ("", spec.if_name):
        link = node_if_name(AttachmentKey(spec.workload_id, attachment.default_route_by))
        for address in attachment.addresses:
            yield NftElement(sibling_set(address.version).name, (link, str(address)), owner=name)
    if spec.isolate_node is not None:
        declared = NODE_CLOSED if spec.isolate_node else NODE_OPEN
        yield NftElement(declared.name, (name,), owner=name)
    if spec.isolate_workloads is not None:
        declared = WORKLOADS_CLOSED if spec.isolate_workloads else WORKLOADS_OPEN
        yield NftElement(declared.name, (name,), owner=name)
