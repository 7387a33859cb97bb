"""PURE: rules and routes of others that end what workloads send, as those do that shut a host off from elsewhere.

Only what is sure is told with an attachment: what ends the way to some destinations, or of what somebody marked, is
somebody's wish.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from netplumb.models.attachment import Attachment
from netplumb.models.base import IPNetwork, is_within
from netplumb.models.kernel import RT_TABLE_LOCAL, RT_TABLE_MAIN
from netplumb.models.naming import node_if_name
from netplumb.models.nodenetwork import EndedWay, EndingRoute, NetworkFacts, NodeNetwork, NodeRoute
from netplumb.models.policy import ForeignRule
from netplumb.reconciler.decide.uplinks import in_use, is_as_wide, is_way_out


def ending_rules(facts: NetworkFacts, prefixes: Sequence[IPNetwork]) -> Iterator[ForeignRule]:
    """Those that what workloads send may come to: one behind a table that leads all of it out ends nothing."""
    for version in (4, 6):
        inside = [it for it in prefixes if it.version == version]
        for rule in facts.rules:
            if rule.version != version:
                continue
            if rule.is_end:
                yield rule
            if _is_for_all(rule, inside) and any(
                it.table == rule.table and it.dst.version == version and is_way_out(it) for it in facts.routes
            ):
                break


def leading_rules(facts: NetworkFacts, prefixes: Sequence[IPNetwork]) -> Iterator[ForeignRule]:
    """Those that lead all that workloads send out by a table that does not lead to an uplink of the main table's, as
    those of a VPN do: the first of each IP version that leads anything out."""
    for version in (4, 6):
        inside = [it for it in prefixes if it.version == version]
        ways = [it for it in facts.routes if it.dst.version == version and is_way_out(it)]
        uplinks = _links(it for it in ways if it.table == RT_TABLE_MAIN)
        for rule in facts.rules:
            led = [it for it in ways if it.table == rule.table] if inside and rule.version == version else []
            if led and _is_for_all(rule, inside):
                if rule.table != RT_TABLE_MAIN and uplinks - _links(led):
                    yield rule
                break


def _links(routes: Iterable[NodeRoute]) -> set[int]:
    return {hop.index for it in in_use(routes) for hop in it.hops}


def _is_for_all(rule: ForeignRule, prefixes: Sequence[IPNetwork]) -> bool:
    if not rule.looks_up or rule.table == RT_TABLE_LOCAL or rule.suppress:
        return False
    if rule.is_for_unmarked:
        return True
    if rule.dst is not None or rule.selectors or rule.inverted or rule.fwmask or rule.iif or rule.oif:
        return False
    src = rule.src
    if src is None or not prefixes:
        return src is None
    return all(is_within(it, src) for it in prefixes)


def ended_ways(facts: NetworkFacts, prefixes: Sequence[IPNetwork]) -> Iterator[EndedWay]:
    """In the tables that workloads' packets come to, in that order, as far as the first that leads all of them out or
    ends all of them: what stands behind it is not asked. Of a family that the node has addresses of. In the main table
    only what ends all: people end the way there to what should not leave the node."""
    having = {it.ip.version for it in facts.addresses if not it.ours}
    for version in sorted(having & {it.version for it in prefixes}):
        for rule in facts.rules:
            if rule.version != version or not _looks_up_for_all(rule, prefixes):
                continue
            ways = [it for it in facts.routes if _is_of(it, rule) and is_way_out(it)]
            ending = [it for it in facts.ending if _is_of(it, rule) and it.type != "throw"]
            wide = [it for it in ending if is_as_wide(it.dst)]
            ends = [it for it in wide if not any(_goes_before(way, it) for way in ways)]
            ends += [it for it in ending if it not in wide and rule.table != RT_TABLE_MAIN]
            yield from (EndedWay(it, rule) for it in ends)
            if rule.dst is None and (ways or wide):
                break


def unused_main(facts: NetworkFacts, prefixes: Sequence[IPNetwork]) -> Iterator[int]:
    """The IP versions of which the main table has a way out, and no rule leads what workloads send to any, as where the
    kernel's own rule for that table was deleted."""
    for version in (4, 6):
        inside = [it for it in prefixes if it.version == version]
        led = {it.table for it in facts.rules if it.version == version and _may_lead_out(it, inside)}
        having = {it.table for it in facts.routes if it.dst.version == version and is_way_out(it)}
        if inside and RT_TABLE_MAIN in having and led.isdisjoint(having):
            yield version


def narrow_ways(
    rules: Sequence[ForeignRule], routes: Sequence[NodeRoute], prefixes: Sequence[IPNetwork]
) -> Iterator[tuple[IPNetwork, NodeRoute]]:
    """Prefixes whose workloads have no way out, though others have: by routes of their own (`default from PREFIX`), as
    those have them who were given a prefix by each of two providers. Each prefix with one such route."""
    for prefix in prefixes:
        led = {it.table for it in rules if it.version == prefix.version and _may_lead_out(it, [prefix])}
        ways = [it for it in routes if it.dst.version == prefix.version and it.table in led and is_way_out(it)]
        if ways and not any(is_from_any(it.src, [prefix]) for it in ways):
            yield prefix, ways[0]


def _may_lead_out(rule: ForeignRule, prefixes: Collection[IPNetwork]) -> bool:
    """Whether something that nobody marked may come to a default route by it."""
    return rule.looks_up and not rule.wants_mark and not rule.suppress and is_from_any(rule.src, prefixes)


def _is_of(route: NodeRoute | EndingRoute, rule: ForeignRule) -> bool:
    return route.table == rule.table and route.dst.version == rule.version


def _goes_before(way: NodeRoute, route: EndingRoute) -> bool:
    return (way.dst.prefixlen, -way.metric) > (route.dst.prefixlen, -route.metric)


def _looks_up_for_all(rule: ForeignRule, prefixes: Collection[IPNetwork]) -> bool:
    """Whether a table is looked up for whatever some workload sends, if nobody marked it."""
    picks = rule.inverted or rule.fwmask or rule.iif or rule.oif or rule.selects_more
    return rule.looks_up and (rule.is_for_unmarked or (not picks and is_from_any(rule.src, prefixes)))


def is_from_any(src: IPNetwork | None, prefixes: Collection[IPNetwork]) -> bool:
    """Whether something from one of the prefixes comes from there."""
    return src is None or any(it.version == src.version and it.overlaps(src) for it in prefixes)


def ends_of(attachment: Attachment, known: NodeNetwork) -> tuple[ForeignRule | EndedWay, ...]:
    """The rules that end something of what this one sends, and the routes that end all of it."""
    return (
        *(rule for rule in known.ending_rules if rule.ends_sending and _meets(attachment, rule)),
        *(way for way in known.ended_ways if _meets(attachment, way.rule)),
    )


def _meets(attachment: Attachment, rule: ForeignRule) -> bool:
    if rule.iif and rule.iif != node_if_name(attachment.key):
        return False
    named = dict(rule.selectors)
    if "sport" in named:
        first, _, last = named["sport"].partition("-")
        ports = range(int(first), int(last or first) + 1)
        protocol = named.get("ipproto")
        mapped = attachment.spec.port_mappings
        if not any(it.container_port in ports and protocol in (None, it.protocol) for it in mapped):
            return False
    src = rule.src
    return any(it.version == rule.version and (src is None or it in src) for it in attachment.addresses)
