"""PURE: what others set up on the node that netplumb cannot make irrelevant, as conditions that say what helps."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from netplumb.models.base import IPAddress
from netplumb.models.network import Node
from netplumb.models.nodenetwork import NodeNetwork
from netplumb.models.policy import ForeignRule
from netplumb.models.status import IPV6_DISABLED, Condition
from netplumb.models.words import link_switch, several

FORWARDING_OFF = "ForwardingOff"
POLICY_ROUTED = "PolicyRouted"
POLICY_ROUTED_BY_MARK = "PolicyRoutedByMark"
PORTS_BY_MAIN_TABLE = "PortsByMainTable"
PORTS_BY_POOLS_TABLE = "PortsByPoolsTable"
NO_SOURCE = "NoSourceAddress"
MAIN_TABLE_UNUSED = "MainTableUnused"
DEFAULT_OF_OTHERS = "DefaultRouteOfOthers"

TOLD_MAX = 5

_NOTHING_KNOWN = NodeNetwork()


def node_conditions(
    node: Node, own: Collection[IPAddress] = (), known: NodeNetwork = _NOTHING_KNOWN
) -> Iterator[Condition]:
    """Only what is in the way now. `own` are the node's addresses, less ours."""
    of_pools = (rule for rule in node.around.rules if rule.sends_for(node.workload_prefixes))
    if rules := [*dict.fromkeys((*of_pools, *known.leading_rules))]:
        message = (
            f"what workloads send goes by a table of its own ({_named(rules)}), and so do their answers "
            "at published ports: who comes in by an uplink that this table does not lead to gets none"
        )
        yield Condition(PORTS_BY_POOLS_TABLE, status=True, reason="SourceRule", message=message)
    if rules := [rule for rule in node.around.rules if any(map(rule.answers_for, own))]:
        message = (
            f"answers of published ports do not go by the table of the address that was asked "
            f"({_named(rules)}), but by the main table: who comes in by another uplink gets none"
        )
        yield Condition(PORTS_BY_MAIN_TABLE, status=True, reason="SourceRule", message=message)
    if not node.ipv6 and any(prefix.version == 6 for prefix in node.workload_prefixes):
        message = (
            f"the node's loopback has IPv6 switched off by {node.ipv6_switch}, so workloads have IPv4 alone; "
            f"to give them IPv6 too, run: sysctl -w {node.ipv6_switch}=0"
        )
        yield Condition(IPV6_DISABLED, status=True, reason="SwitchedOff", message=message)
    if names := node.around.not_forwarding:
        switches = " ".join(f"{link_switch(4, name, 'forwarding')}=1" for name in names)
        message = (
            f"the kernel forwards no IPv4 packet that arrives by {', '.join(names)}, so what comes in there reaches no "
            f"workload, answers included; where it should, run: sysctl -w {switches}"
        )
        yield Condition(FORWARDING_OFF, status=True, reason="InterfaceSwitch", message=message)
    bare = [way for way in sorted(known.without_source) if any(it.version == way[1] for it in node.workload_prefixes)]
    if bare and node.masquerade:
        ways = ", ".join(f"{link} (IPv{version})" for link, version in bare)
        message = (
            f"the node has no address that could be the source of what leaves by {ways}, so that nobody beyond that "
            "link answers workloads, nor the node itself; give it one, as by: ip address add ADDRESS dev lo"
        )
        yield Condition(NO_SOURCE, status=True, reason="NoAddress", message=message)
    if known.unused_main:
        versions = " and ".join(f"IPv{version}" for version in known.unused_main)
        adds = " && ".join(f"ip -{version} rule add preference 32766 lookup main" for version in known.unused_main)
        message = (
            f"no routing rule leads {versions} to the main table, which has the way out: nothing leaves the node, nor "
            f"what workloads send; to put the kernel's own rule back, run: {adds}"
        )
        yield Condition(MAIN_TABLE_UNUSED, status=True, reason="NoRule", message=message)
    if known.narrow_ways:
        pools = ", ".join(map(str, known.narrow_ways))
        routes = "; ".join(dict.fromkeys(known.narrow_ways.values()))
        message = (
            f"what workloads of {pools} send finds no way out, answers of published ports included: the default route "
            f"is for other senders alone ({routes}); give all one, as by: ip -6 route add default via GATEWAY dev LINK"
        )
        yield Condition(DEFAULT_OF_OTHERS, status=True, reason="SourceRoute", message=message)
    yield from _in_the_way(node)


def _in_the_way(node: Node) -> Iterator[Condition]:
    """Ours cannot be put before one that has the preference 0. Which packets are marked nobody knows who has not all
    rules that mark."""
    prefixes = (*node.workload_prefixes, *node.cluster_prefixes)
    found = [it for it in node.around.rules if not it.preference and it.may_divert(prefixes)]
    for type_, verb, rules in (
        (POLICY_ROUTED, "takes", [it for it in found if not it.wants_mark]),
        (POLICY_ROUTED_BY_MARK, "may take", [it for it in found if it.wants_mark]),
    ):
        if rules:
            message = (
                f"a routing rule {verb} traffic to workloads elsewhere ({_named(rules)}); give it a "
                "preference of 1 or more, so that netplumb's can stand before it"
            )
            yield Condition(type_, status=True, reason="RuleInTheWay", message=message)


def _named(rules: Sequence[ForeignRule]) -> str:
    """A router may have thousands of them."""
    return several([*map(str, rules)], TOLD_MAX)
