"""PURE: routes, refusals and rules in the words of whoever reads a trace."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from shlex import quote

from netplumb.models.errors import errno_name
from netplumb.models.kernel import RT_TABLE_LOCAL, RT_TABLE_MAIN
from netplumb.models.lookups import Lookup, Question
from netplumb.models.networkpolicy import Direction
from netplumb.models.nft import is_of_policies
from netplumb.models.nodenetwork import EndingRoute, NodeAddress
from netplumb.models.nodestate import LinkState
from netplumb.models.policy import ForeignRule
from netplumb.models.words import link_switch
from netplumb.reconciler.decide.firewalls.owners import whose
from netplumb.reconciler.decide.firewalls.ruleset import Chain, Rule, Ruleset
from netplumb.reconciler.decide.firewalls.weigh import DROPS, SOURCES, Drop
from netplumb.reconciler.decide.firewalls.words import remedy, remedy_by_port, rule_words
from netplumb.reconciler.tracing.flow import Flow

OUR_TABLE = "netplumb"
_TABLES = {RT_TABLE_MAIN: "main", RT_TABLE_LOCAL: "local", 253: "default"}
_OURS = {
    "from_workload": ("its source address is not the workload's", "send from an address that netplumb gave"),
    "guard": ("a loopback address does not come by a link", "send to an address of the node instead"),
    "workload_to_node": ("the workload is isolated from the node (isolate_node)", "isolate_node: false, if it should"),
    "between_workloads": (
        "workloads are isolated from each other (isolate_workloads)",
        "isolate_workloads: false for one of the two, if they should",
    ),
    **dict.fromkeys(
        ("departing_forward", "departing_input"), ("a workload is being detached", "nothing: it is gone in a moment")
    ),
    **dict.fromkeys(
        ("crowding_begin_more", "crowding_begun_more"),
        ("the table of flows is nearly full, and the workload holds too much of it", "netplumb status"),
    ),
    "leaving_workload": ("it would leave with the workload's own address", "see what undoes netplumb's masquerading"),
    "invalid_to_node": ("conntrack knows no connection that it is of", "nothing: the sender opens another"),
}
"""Why our own chains drop, and what lets pass."""
_ERRORS = {"blackhole": errno.EINVAL, "unreachable": errno.EHOSTUNREACH, "prohibit": errno.EACCES}
_REFUSALS = {
    errno.ENETUNREACH: "there is no route to {dst}",
    errno.EHOSTUNREACH: "{dst} is unreachable: by a route of that type, or since forwarding is off where it came in",
    errno.EACCES: "a route or a rule prohibits it",
    errno.EINVAL: "it is thrown away: by a blackhole, or since an address of it cannot come that way",
    errno.EXDEV: "the reverse path filter drops it: the way back to {src} leads by another interface",
    errno.ENODATA: "the kernel tells no way to {dst}",
}


@dataclass(frozen=True, slots=True)
class Judges:
    """What a chain judges by: network policies, each with whose it is."""

    direction: Direction
    policies: tuple[str, ...]


def route_words(found: Lookup, name: str, rules: Sequence[ForeignRule], asked: Question) -> str:
    """By which route, and by which rule where it is not of the main table."""
    if found.type == "local":
        return "for this host itself"
    length = f"{found.length}" if found.length else ""
    via = f" via {found.gateway}" if found.gateway is not None else ""
    prefix = f"a /{length} route" if length else "the default route"
    table = "" if found.table in _TABLES else f" (table {found.table}{_by_rule(found.table, rules, asked)})"
    return f"{prefix}{via} dev {name}{table}"


def _by_rule(table: int, rules: Sequence[ForeignRule], asked: Question) -> str:
    rule = next((it for it in rules if it.table == table and it.looks_up and meets(it, asked)), None)
    return f", by the rule `{rule}`" if rule is not None else ""


def meets(rule: ForeignRule, asked: Question, iif: str = "") -> bool:
    """Whether a packet may meet a rule, as far as is known of both."""
    held = (
        rule.version == asked.dst.version
        and (rule.src is None or (asked.src is not None and asked.src in rule.src))
        and (rule.dst is None or asked.dst in rule.dst)
        and (asked.mark & rule.fwmask) == rule.fwmark
        and (not rule.iif or not iif or rule.iif == iif)
    )
    return held is not rule.inverted


def by_mark(rules: Iterable[ForeignRule], asked: Question, iif: str = "") -> Iterator[ForeignRule]:
    """The rules that a packet meets, or does not, by its mark alone."""
    for rule in rules:
        if rule.fwmask and meets(replace(rule, fwmark=0, fwmask=0, inverted=False), asked, iif):
            yield rule


def refusal(
    found: Lookup, asked: Question, rules: Iterable[ForeignRule], ending: Sequence[EndingRoute], iif: str = ""
) -> tuple[str, str]:
    """Why there is no way, and what helps. `rules` are in the order in which the kernel asks them, `ending` the routes
    that end the way."""
    flag = " -6" if asked.dst.version == 6 else ""
    for rule in rules if found.error != errno.EXDEV else ():
        if not meets(rule, asked, iif):
            continue
        if rule.ends:
            return f"the routing rule `{rule}` ends it", rule.heal
        route = _ending_in(rule.table, found.error, asked, ending) if rule.looks_up else None
        if route is not None:
            by = f", which the routing rule `{rule}` leads to," if rule.table not in _TABLES else ""
            return f"the route `{route}`{by} ends it", route.heal
    told = _REFUSALS.get(found.error, "the kernel refuses to route it")
    words = told.format(dst=asked.dst, src=asked.src)
    heal = ""
    if found.error == errno.ENETUNREACH:
        heal = f"ip{flag} route add default via GATEWAY"
    elif found.error == errno.EXDEV:
        heal = f"sysctl -w {link_switch(4, iif, 'rp_filter')}=2"
    return f"{words} ({errno_name(found.error)})", heal


def _ending_in(table: int, error: int, asked: Question, ending: Sequence[EndingRoute]) -> EndingRoute | None:
    """The most specific route of a table that ends the way with this errno."""
    fitting = [it for it in ending if it.table == table and _is_said(it, error) and _leads(it, asked)]
    return max(fitting, key=lambda it: (it.dst.prefixlen, -it.metric), default=None)


def _is_said(route: EndingRoute, error: int) -> bool:
    """Whether the errno is that of such a route. One that only passes on, as a throw does for all that other tables are
    to lead, is none of the end."""
    if route.type == "throw":
        return error == errno.ENETUNREACH and bool(route.dst.prefixlen)
    return _ERRORS.get(route.type) == error


def _leads(route: EndingRoute, asked: Question) -> bool:
    return route.dst.version == asked.dst.version and asked.dst in route.dst


def switched_off(addresses: Iterable[NodeAddress], links: Mapping[int, LinkState]) -> list[str]:
    """Interfaces of others by which there would be a way, as they have an address. What a link that is down had of
    routes and of IPv6 addresses is gone."""
    addressed = {it.index for it in addresses if not it.ours}
    return [link.name for index, link in links.items() if index in addressed and not link.up]


def dropped_by(
    chain: Chain, rule: Rule | None, ruleset: Ruleset, flow: Flow, *, ours: bool, policed: Mapping[str, Judges]
) -> tuple[str, str]:
    """Which chain and rule, and what lets it pass. `ours` is what comes or goes by a workload's link of the node,
    `policed` the chains that judge by network policies."""
    inside = rule.chain.name if rule is not None else chain.id.name
    if chain.id.table == OUR_TABLE:
        why, heal = _our_reason(inside, flow, policed)
        return f"dropped by netplumb: {why}", heal
    owner = whose(chain.id, set(ruleset.chains), inside)
    table = f"table {chain.id.family} {chain.id.table}" + (" of iptables-legacy" if chain.id.legacy else "")
    words = f"dropped by chain {chain.id.name} of {table}{f' ({owner})' if owner else ''}"
    if rule is None:
        words += ", policy drop"
    else:
        where = f" of chain {rule.chain.name}" if rule.chain != chain.id else ""
        words += f", rule {rule.position}{where}: {rule_words(rule)}"
    by = SOURCES if (chain.type, chain.hook) == ("nat", "postrouting") else DROPS
    drop = Drop(chain, rule, certain=True, packets=(), by=by)
    if ours:
        return words, remedy(drop, ruleset)
    port = (flow.sport if flow.answer else flow.dport) if flow.told_protocol != "icmp" else 0
    return words, remedy_by_port(drop, flow.protocol, port, ruleset, answer=flow.answer)


def _our_reason(chain: str, flow: Flow, policed: Mapping[str, Judges]) -> tuple[str, str]:
    """The table is never to be changed by hand."""
    if chain in _OURS:
        return _OURS[chain]
    port = f" --port {flow.dport}" if flow.dport else ""
    explain = f"netplumb policy explain {flow.src} {flow.dst}{port} --protocol {flow.told_protocol}"
    if (judges := policed.get(chain)) is not None:
        kind = "policy" if len(judges.policies) == 1 else "policies"
        named = ", ".join(judges.policies)
        return f"no rule of the network {kind} {named} allows this {judges.direction.lower()}", explain
    if is_of_policies(chain):
        return "network policies do not allow it", explain
    return f"by its chain {chain}", "netplumb status"


def inside_workload(heal: str, path: str) -> str:
    """A command as it is run in a workload's namespace; as it is where that is the node's."""
    return f"nsenter --net={quote(path)} sh -c {quote(heal)}" if heal and path else heal
