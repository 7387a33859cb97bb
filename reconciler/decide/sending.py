"""PURE: rules of others that end what workloads send, as those do that shut a host off from elsewhere.

Only what is sure is told with an attachment: what ends the way to some destinations, or of what somebody marked, is
somebody's wish.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netplumb.models.attachment import Attachment
from netplumb.models.base import IPNetwork, is_within
from netplumb.models.kernel import RT_TABLE_LOCAL
from netplumb.models.naming import node_if_name
from netplumb.models.nodenetwork import NetworkFacts, NodeNetwork
from netplumb.models.policy import ForeignRule
from netplumb.reconciler.decide.uplinks import is_way_out


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


def _is_for_all(rule: ForeignRule, prefixes: Sequence[IPNetwork]) -> bool:
    if not rule.looks_up or rule.table == RT_TABLE_LOCAL or rule.suppress or rule.dst is not None:
        return False
    if rule.selectors or rule.inverted or rule.fwmask or rule.iif or rule.oif:
        return False
    src = rule.src
    if src is None or not prefixes:
        return src is None
    return all(is_within(it, src) for it in prefixes)


def ends_of(attachment: Attachment, known: NodeNetwork) -> tuple[ForeignRule, ...]:
    """The rules that end something of what this one sends."""
    return tuple(rule for rule in known.ending_rules if rule.ends_sending and _meets(attachment, rule))


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
