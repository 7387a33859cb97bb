"""PURE: the rules that keep traffic to workloads on the main table, where our routes are, whatever tables others have
rules for: `from <an address of the node> lookup T`, as for a second uplink, `not fwmark M lookup T`, as VPNs have.

They stand at one place unless a rule that may divert such traffic stands before it; then they go before that one. Not
at the very front, where rules that are added without a preference would come behind one another and no more before.

Only routes to single addresses answer, as ours are. The node's own address in a pool is in the local table, whose rule
stands behind ours where it was moved, as guides to VRFs have it: a default route, or a network's around the pool, would
take what goes to the node elsewhere. Of the cluster's pools those to single nodes' prefixes answer, too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from netplumb.models.base import IPNetwork
from netplumb.models.cluster import ClusterMode
from netplumb.models.kernel import Rule, Scope
from netplumb.models.network import Node
from netplumb.models.policy import ForeignRule

RULE_PREFERENCE = 1078
"""Behind 1000, where the kernel puts its rule for VRFs, which are to stay apart."""


def render_policy(node: Node) -> Iterator[Rule]:
    for prefix in node.workload_prefixes:
        if prefix.version == 4 or node.ipv6:
            yield Rule(
                Scope.NODE,
                preference(node, prefix.version),
                dst=prefix.network_address.packed,
                dst_len=prefix.prefixlen,
                suppress_prefix_len=prefix.max_prefixlen - 1,
            )
    for pool in _routed(node):
        if pool.version == 4 or node.ipv6:
            yield Rule(
                Scope.NODE,
                preference(node, pool.version),
                dst=pool.network_address.packed,
                dst_len=pool.prefixlen,
                suppress_prefix_len=pool.prefixlen,
            )


def _routed(node: Node) -> tuple[IPNetwork, ...]:
    """Pools to whose nodes there are routes of ours."""
    return () if node.cluster is None or node.cluster.mode is ClusterMode.NONE else node.cluster.pools


def preference(node: Node, version: int) -> int:
    return place(node.around.rules, (*node.workload_prefixes, *_routed(node)), version)


def place(rules: Iterable[ForeignRule], prefixes: Collection[IPNetwork], version: int) -> int:
    """Before whatever of others may divert traffic to workloads, if there is room."""
    diverting = (it.preference for it in rules if it.version == version and it.may_divert(prefixes))
    return max(0, min(RULE_PREFERENCE, min(diverting, default=RULE_PREFERENCE + 1) - 1))
