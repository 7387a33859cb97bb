"""PURE: what the translation of addresses missed ends nowhere.

A packet that conntrack finds invalid, such as a FIN after it forgot the connection or a segment outside of the window,
is not translated, and neither is what another table keeps from conntrack. Three things would follow:

- it leaves the node with a workload's own address. So what goes from a workload to elsewhere while masquerading is on
  passes if it answers somebody who asked that address, if its source was replaced, or if that is the node's; nothing
  else does;
- it comes from a workload that ports lead to, and its peer, which asked the port, has never heard of that address and
  resets the connection;
- it is meant for a workload and reaches the node's own stack, which knows no such connection and resets it.

The last is judged behind everything else in the input hook. Invalid packets of connections of the node's own are none
of our business, and there are nodes where they are common; so what has a socket of the node is left alone, but for a
mere listener, which answers nothing but a SYN otherwise than by a reset. What a wrong guess costs is that reset.
"""

from __future__ import annotations

from collections.abc import Iterator

from netplumb.models.network import Node
from netplumb.models.nft import PORT_SETS, NftChain, canonical_rule, hairpin_set
from netplumb.reconciler.decide.render.expressions import (
    COUNTER,
    DROP,
    FROM_LOOPBACK,
    FROM_WORKLOAD,
    INVALID,
    NO_SYN,
    NOT_FROM_WORKLOAD,
    PRIORITY_LAST,
    RETURN,
    TO_ELSEWHERE,
    Expression,
    between_nodes,
    concat,
    in_set,
    jump,
    match,
    meta,
    payload,
    port_key,
)

_ANSWER = match({"ct": {"key": "direction"}}, "reply")
_SOURCE_REPLACED = match({"ct": {"key": "status"}}, "snat", "in")
_SOURCE_OF_NODE = match({"fib": {"result": "type", "flags": ["saddr"]}}, "local")
_OF_FAMILY = {version: match(meta("nfproto"), f"ipv{version}") for version in (4, 6)}
_TCP = 6
_OF_LISTENER = match({"socket": {"key": "wildcard"}}, 1)
_OF_ANY_SOCKET = match({"socket": {"key": "transparent"}}, {"set": [0, 1]})


def _rule(comment: str, *expressions: Expression) -> str:
    return canonical_rule(expressions, comment)


def render_untranslated(node: Node) -> Iterator[NftChain]:
    yield NftChain("leaving_workload", rules=tuple(_leaving(node)))
    leaving = (canonical_rule([FROM_WORKLOAD, jump("leaving_workload")]),)
    yield NftChain("leaving", "filter", "postrouting", PRIORITY_LAST, "accept", leaving)
    yield NftChain("invalid_to_node", rules=tuple(_delivered(node)))
    delivered = (canonical_rule([INVALID, jump("invalid_to_node")]),)
    yield NftChain("delivered", "filter", "input", PRIORITY_LAST, "accept", delivered)


def _leaving(node: Node) -> Iterator[str]:
    yield _rule("answers", _ANSWER, RETURN)
    for version, ip in ((4, "ip"), (6, "ip6")):
        source = payload(ip, "saddr")
        ports_lead_here = in_set(concat(source, source), hairpin_set(version))
        yield _rule("answers that lost their port", INVALID, ports_lead_here, COUNTER, DROP)
    if node.masquerade:
        for inside in between_nodes(node.cluster_prefixes, "saddr", "daddr"):
            yield _rule("between nodes", *inside, RETURN)
        yield _rule("masqueraded", _SOURCE_REPLACED, RETURN)
        yield _rule("translated otherwise", _SOURCE_OF_NODE, RETURN)
        yield _rule("a workload's own source to outside", TO_ELSEWHERE, COUNTER, DROP)


def _delivered(node: Node) -> Iterator[str]:
    for version, (addresses, _) in PORT_SETS:
        at_one = len(addresses.types) > 2
        led = (*(() if at_one else (_OF_FAMILY[version],)), in_set(port_key(version, at_one_address=at_one), addresses))
        yield _rule("to a port that leads to a workload", *led, COUNTER, DROP)
    yield _rule("of the node's own", FROM_LOOPBACK if node.masquerade else NOT_FROM_WORKLOAD, RETURN)
    yield _rule("to a listener", _OF_LISTENER, NO_SYN, COUNTER, DROP)
    yield _rule("to a socket", _OF_ANY_SOCKET, RETURN)
    yield _rule("to nobody of the node", match(meta("l4proto"), _TCP), COUNTER, DROP)
