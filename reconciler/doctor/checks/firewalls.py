"""PURE: what other tables do to workloads' packets, weighed as the daemon weighs it."""

from __future__ import annotations

from collections.abc import Iterator

from netplumb.reconciler.decide.firewalls.ipsec import concerning
from netplumb.reconciler.decide.firewalls.owners import whose
from netplumb.reconciler.decide.firewalls.traffic import Ours, tunnel
from netplumb.reconciler.decide.firewalls.untranslated import (
    leaving_as_others,
    redirected,
    translated,
    untracked,
    zoned,
)
from netplumb.reconciler.decide.firewalls.weigh import Drop, weigh
from netplumb.reconciler.decide.firewalls.words import about, does, remedy, where
from netplumb.reconciler.decide.nodenetwork import surveyed
from netplumb.reconciler.decide.render.expressions import PRIORITY_DSTNAT
from netplumb.reconciler.doctor.facts import Facts
from netplumb.reconciler.doctor.findings import Finding, broken, printable, risk


def ours(facts: Facts) -> Ours:
    settings, known = facts.settings, surveyed(facts.network, facts.settings.pools)
    between = (
        tunnel(facts.view, settings.cluster.vxlan_port, known)
        if facts.view is not None and settings.cluster is not None
        else None
    )
    own = frozenset(known.own)
    return Ours(settings.pools, facts.attachments, settings.masquerade, known.uplinks, own, between)


def drops(facts: Facts) -> Iterator[Finding]:
    found, _ = weigh(facts.ruleset, ours(facts))
    for drop in found:
        yield _dropped(
            drop, facts, "a packet has to pass every chain, and no rule of netplumb's can let pass what another drops"
        )


def redirected_to_nowhere(facts: Facts) -> Iterator[Finding]:
    for drop in redirected(facts.ruleset, ours(facts)):
        yield _dropped(
            drop,
            facts,
            "it redirects to an address of the interface that they came by, and workloads' links have none; a DNAT to "
            "an address of the node would do",
        )


def _dropped(drop: Drop, facts: Facts, why: str) -> Finding:
    make, verb = (broken, "drops") if drop.certain else (risk, "may drop")
    return make(
        "foreign-firewall",
        printable(f"chain {where(drop)}{_owner(drop, facts)} {verb} {about(drop)}"),
        why,
        printable(remedy(drop, facts.ruleset)),
    )


def ports_taken_elsewhere(facts: Facts) -> Iterator[Finding]:
    """The first chain that translates a packet is the only one; ours, of the usual priority, may come too late."""
    for drop in translated(facts.ruleset, ours(facts), PRIORITY_DSTNAT):
        make, verb = (broken, "takes") if drop.certain else (risk, "may take")
        yield make(
            "port-translated-elsewhere",
            printable(f"chain {where(drop)}{_owner(drop, facts)} {verb} what is sent to mapped ports elsewhere"),
            "a packet is translated once, by the first chain that wants to; the workload never sees it",
            "map another port, or take the rule away: " + printable(remedy(drop, facts.ruleset)),
        )


def kept_from_tracking(facts: Facts) -> Iterator[Finding]:
    for drop in (*untracked(facts.ruleset, ours(facts)), *zoned(facts.ruleset, ours(facts))):
        make = broken if drop.certain else risk
        yield make(
            "not-tracked",
            printable(f"chain {where(drop)}{_owner(drop, facts)} {does(drop)} {about(drop)}"),
            "what is not tracked as one is not translated: it reaches no mapped port, and workloads get no answers",
            printable(remedy(drop, facts.ruleset)),
        )


def leaves_as_others(facts: Facts) -> Iterator[Finding]:
    for drop in leaving_as_others(facts.ruleset, ours(facts)):
        verb = "gives" if drop.certain else "may give"
        yield risk(
            "source-translated-elsewhere",
            printable(f"chain {where(drop)}{_owner(drop, facts)} {verb} {about(drop)} a source of its own choice"),
            "netplumb gives none then: answers come back only if that address leads to this node",
            "if it should leave with the uplink's address: " + printable(remedy(drop, facts.ruleset)),
        )


def taken_by_ipsec(facts: Facts) -> Iterator[Finding]:
    for policy, is_wide in concerning(facts.ipsec, [pool.cidr for pool in facts.settings.pools]):
        make = broken if policy.blocks and is_wide else risk
        verb = "blocks" if policy.blocks else "takes into IPsec"
        yield make(
            "ipsec",
            f"the IPsec policy `{policy}` {verb} packets of workloads",
            "it holds for whatever is forwarded, and no firewall's rule lets pass what it stops; IPsec drops what it "
            "takes and has no keys for",
            f"if that is not meant: {policy.heal}",
        )


def _owner(drop: Drop, facts: Facts) -> str:
    rule_chain = drop.rule.chain.name if drop.rule is not None else ""
    owner = whose(drop.chain.id, set(facts.ruleset.chains), rule_chain)
    return f", which is {owner}'s," if owner else ""
