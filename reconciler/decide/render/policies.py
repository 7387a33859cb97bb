"""PURE: network policies, as nftables enforces them.

A packet is judged twice where it is forwarded: by what its sender may ask, then by what its receiver may be asked. Each
is a hook of its own, in which "accept" means that this end allows it. One look-up by the link tells whether the end is
isolated, and leads to the chain of the policies that select it; these ask whether the other end is in a set of links,
or its address in a set of those of other nodes' workloads, or among ranges. So what a packet costs follows from the
policies of its two ends and from no others, and a workload that comes, goes or has other labels is elements alone.

Addresses are judged before a source is replaced and after a port of the node has led on: an ipBlock sees the client's
address as it came. What the node itself sends is not forwarded, so it reaches its workloads. Guards stand in a hook of
their own before these, so whatever forbids, wins.

What is denied is counted by the workload that denies it, in an element for its link, and now and then told (NFLOG): so
often for each link that nobody's denials hide another's, and never so often that they are a burden.

Answers pass. A flow that was cut would come back with its first late answer, which conntrack would take for the
beginning of a flow the other way, and what its asker sends for answers of that one. So where an end is isolated, in
whichever direction, nothing is the first packet of a TCP connection but what begins one. Of other protocols any packet
begins a flow, so one that is cut is not forgotten but marked, and nothing of it passes until nobody sends any more.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import product

from netplumb.models.attachment import Attachment
from netplumb.models.flows import CUT
from netplumb.models.naming import node_if_name
from netplumb.models.network import Node
from netplumb.models.networkpolicy import Direction, NetworkPolicy, Rule
from netplumb.models.nft import (
    EGRESS_ALONE,
    INGRESS_ALONE,
    POLICY_DENIED,
    POLICY_MAPS,
    NftChain,
    NftElement,
    NftSet,
    canonical_rule,
    peer_addresses,
    peers_set,
)
from netplumb.models.policyset import DENIED_BYTES, DENIED_GROUP, Combination, PolicySet, direction_of
from netplumb.reconciler.decide.policies import ranges
from netplumb.reconciler.decide.policies.selection import peers_name, policy_chain, selection
from netplumb.reconciler.decide.render.expressions import (
    ACCEPT,
    CONTINUE,
    COUNTER,
    DROP,
    FROM_WORKLOAD,
    NEW,
    NO_SYN,
    NOT_FROM_WORKLOAD,
    PRIORITY_POLICY,
    TO_ELSEWHERE,
    TRANSLATED,
    Expression,
    answers,
    in_set,
    jump,
    match,
    meta,
    payload,
    to_itself,
)

_COMMENT_CHARS = 100
_HOOKS = {
    Direction.EGRESS: ("egress", PRIORITY_POLICY, NOT_FROM_WORKLOAD, "iifname", INGRESS_ALONE),
    Direction.INGRESS: ("ingress", PRIORITY_POLICY + 1, TO_ELSEWHERE, "oifname", EGRESS_ALONE),
}
_OTHER_END = {Direction.EGRESS: ("oifname", "daddr"), Direction.INGRESS: ("iifname", "saddr")}


def _rule(comment: str, *expressions: Expression) -> str:
    return canonical_rule(expressions, comment[:_COMMENT_CHARS])


def render_policy_chains(node: Node) -> Iterator[NftSet | NftChain]:
    """Nothing where there are no policies: then no packet pays for them."""
    if not node.policies.policies:
        return
    yield from _of_each(node.policies, _versions_elsewhere(node))
    yield from render_combinations(node.combinations, tells=node.tells_denied)
    # Of what comes from elsewhere nobody knows whose the source is.
    itself = (_rule("a workload to itself", FROM_WORKLOAD, to_itself(version), ACCEPT) for version in (4, 6))
    yield NftChain("policy_to_itself", rules=tuple(itself))
    isolating = _isolating(node)
    for direction, (name, priority, *_) in _HOOKS.items():
        rules = tuple(_asking(direction, isolating))
        yield NftChain(f"policy_{name}", "filter", "forward", priority, "accept", rules)


@lru_cache(maxsize=4)
def _of_each(policies: PolicySet, elsewhere: tuple[int, ...]) -> tuple[NftSet | NftChain, ...]:
    """What policies are, each by itself. They change more seldom by far than the node is looked at."""
    made: list[NftSet | NftChain] = []
    for name in selection(policies).peers:
        made.append(peers_set(name))
        made += (peer_addresses(name, version) for version in elsewhere)
    for policy in policies.policies:
        for direction in policy.spec.directions:
            rules = tuple(_allowing(policy, direction, elsewhere))
            made.append(NftChain(policy_chain(policy.policy_key, direction), rules=rules))
    return tuple(made)


def render_combinations(combinations: Iterable[Combination], *, tells: bool) -> list[NftChain]:
    """The chains to which the links of workloads lead."""
    return sorted((_of_together(it, tells=tells) for it in combinations), key=lambda it: it.name)


@lru_cache(maxsize=10_000)
def _of_together(combination: Combination, *, tells: bool) -> NftChain:
    return NftChain(combination.chain, rules=tuple(_judging(combination, tells=tells)))


def _isolating(node: Node) -> frozenset[Direction]:
    """The directions in which somebody can be isolated, also by what only a lost store knew. Most people's policies are
    of one alone."""
    if node.unlabelled:
        return frozenset(Direction)
    known = {direction for policy in node.policies.policies for direction in policy.spec.directions}
    return frozenset(known.union(filter(None, map(direction_of, node.policies.held))))


def _asking(direction: Direction, isolating: Container[Direction]) -> Iterator[str]:
    """A hook's rules. No packet is looked up where nobody can be found."""
    _, _, elsewhere, link, others_alone = _HOOKS[direction]
    yield canonical_rule([elsewhere, ACCEPT])
    yield _rule("flows that were cut", match({"ct": {"key": "mark"}}, CUT), COUNTER, DROP)
    if direction in isolating:
        yield canonical_rule([{"vmap": {"key": meta(link), "data": f"@{POLICY_MAPS[direction].name}"}}])
    if any(other in isolating for other in Direction if other is not direction):
        yield _rule("late answers", NEW, NO_SYN, in_set(meta(link), others_alone), COUNTER, DROP)


def _judging(combination: Combination, *, tells: bool) -> Iterator[str]:
    direction = combination.direction
    yield from answers()
    yield _rule("late answers", NEW, NO_SYN, COUNTER, DROP)
    yield canonical_rule([TRANSLATED, jump("policy_to_itself")])
    for key in combination.policies:
        yield _rule(str(key), jump(policy_chain(key, direction)))
    told = {"log": {"prefix": direction.lower(), "group": DENIED_GROUP, "snaplen": DENIED_BYTES}}
    yield canonical_rule([in_set(meta(_HOOKS[direction][3]), POLICY_DENIED[direction]), told if tells else CONTINUE])
    yield _rule(f"no policy allows this {direction.lower()}", COUNTER, DROP)


def _allowing(policy: NetworkPolicy, direction: Direction, elsewhere: Sequence[int]) -> Iterator[str]:
    """Ports first: a packet of another protocol is then asked for no address and no link."""
    for number, rule in enumerate(policy.spec.rules(direction), 1):
        for peer, port in product(_peers(policy, rule, direction, elsewhere), _ports(rule)):
            yield _rule(f"rule {number} of {policy.policy_key}", *port, *peer, ACCEPT)


def _versions_elsewhere(node: Node) -> tuple[int, ...]:
    """Of which IP versions workloads of other nodes have addresses."""
    return tuple(sorted({pool.version for pool in node.cluster_prefixes}))


def _peers(
    policy: NetworkPolicy, rule: Rule, direction: Direction, elsewhere: Sequence[int]
) -> Iterator[tuple[Expression, ...]]:
    """Each way in which the other end can be meant, by the IP versions that workloads `elsewhere` have."""
    if not rule.peers:
        yield ()
    link, address = _OTHER_END[direction]
    if (name := peers_name(policy, rule.peers)) is not None:
        yield (in_set(meta(link), peers_set(name)),)
        for version in elsewhere:
            family = "ip" if version == 4 else "ip6"
            yield (in_set(payload(family, address), peer_addresses(name, version)),)
    blocks = [peer.ip_block for peer in rule.peers if peer.ip_block is not None]
    for version, ip in ((4, "ip"), (6, "ip6")):
        if allowed := ranges.addresses(blocks, version):
            if ranges.is_all_addresses(allowed, version):
                yield (match(meta("nfproto"), f"ipv{version}"),)
            else:
                yield (match(payload(ip, address), ranges.address_words(allowed, version)),)


def _ports(rule: Rule) -> Iterator[tuple[Expression, ...]]:
    """Each protocol that is meant, with its ports."""
    if not rule.ports:
        yield ()
    for protocol in sorted({it.protocol for it in rule.ports}):
        meant = [it.range for it in rule.ports if it.protocol == protocol]
        numbers = [it for it in meant if it is not None]
        if len(numbers) < len(meant):
            yield (match(meta("l4proto"), protocol.known.number),)
        else:
            yield (match(payload(protocol.known, "dport"), ranges.port_words(ranges.joined(numbers))),)


def render_policy_elements(attachment: Attachment, node: Node) -> Iterator[NftElement]:
    """The sets that the workload's link is a member of, and where its packets are judged. Of what was rebuilt nobody
    knows the labels, so that nothing is said of it: what the table has stays."""
    if not node.policies.policies or attachment.is_rebuilt:
        return
    name = node_if_name(attachment.key)
    for declared, chain in selection(node.policies).of(attachment).elements:
        yield NftElement(declared, (name,), chain, owner=name)
