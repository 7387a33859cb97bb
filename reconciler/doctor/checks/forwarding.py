"""PURE: whether the node forwards, and by which tables."""

from __future__ import annotations

from collections.abc import Iterator

from netplumb.models.base import IPNetwork
from netplumb.models.policy import ForeignRule
from netplumb.models.words import link_switch
from netplumb.reconciler.decide.sending import ended_ways, ending_rules, is_from_any
from netplumb.reconciler.decide.uplinks import is_as_wide
from netplumb.reconciler.doctor.facts import Facts
from netplumb.reconciler.doctor.findings import Finding, broken, risk

_ARP_FOR_NONE = "8"
_ARP_OF_THE_LINK = frozenset({"1", "2", "3", _ARP_FOR_NONE})
_OFF = {
    "net.ipv4.ip_forward": ("0", "1", 4),
    "net.ipv4.conf.all.forwarding": ("0", "1", 4),
    "net.ipv4.conf.default.forwarding": ("0", "1", 4),
    "net.ipv6.conf.all.forwarding": ("0", "1", 6),
    "net.ipv6.conf.all.disable_ipv6": ("1", "0", 6),
    "net.ipv6.conf.default.disable_ipv6": ("1", "0", 6),
    "net.ipv6.conf.lo.disable_ipv6": ("1", "0", 6),
}
"""Switches in files of sysctl.d: the value that hurts, the one that does not, and the family."""


def prefixes(facts: Facts) -> list[IPNetwork]:
    return [pool.cidr for pool in facts.settings.pools]


def _versions(facts: Facts) -> set[int]:
    """The families that workloads have."""
    return {it.version for it in prefixes(facts)} | {a.version for it in facts.attachments for a in it.addresses}


def switched_off(facts: Facts) -> Iterator[Finding]:
    """The daemon switches it on; where none runs and nobody is attached, nobody is missing it."""
    if not facts.daemon.process and not facts.attachments:
        return
    for name, version in (("net.ipv4.ip_forward", 4), ("net.ipv6.conf.all.forwarding", 6)):
        if facts.forwarding.get(name) == "0" and version in _versions(facts) and not (version == 6 and facts.ipv6_off):
            yield broken(
                "forwarding-off",
                f"the node forwards no IPv{version} packets",
                "workloads reach the node and nobody else",
                f"sysctl -w {name}=1",
            )


def interface_forwards_nothing(facts: Facts) -> Iterator[Finding]:
    for name in facts.around.not_forwarding:
        yield broken(
            "forwarding-off",
            f"IPv4 packets that arrive by {name} are not forwarded",
            "what comes in there reaches no workload, answers included",
            f"sysctl -w {link_switch(4, name, 'forwarding')}=1",
        )


def first_hop_silent(facts: Facts) -> Iterator[Finding]:
    """The first hop is an address of the loopback. A workload whose stack is the kernel's has its MAC from us."""
    value = facts.forwarding.get("net.ipv4.conf.all.arp_ignore", "0")
    if value in _ARP_OF_THE_LINK and 4 in _versions(facts):
        elsewhere = ", and set it on the uplinks alone" if value != _ARP_FOR_NONE else ""
        yield risk(
            "arp-ignored",
            "net.ipv4.conf.all.arp_ignore has the node answer ARP only for addresses of the link that asks",
            "a workload with a network stack of its own, as under gVisor or in a VM, finds no IPv4 first hop",
            f"if there are such workloads: sysctl -w net.ipv4.conf.all.arp_ignore=0{elsewhere}",
        )


def mute(facts: Facts) -> Iterator[Finding]:
    """Who knows the MAC already reaches the node for a while longer."""
    having = {it.index for it in facts.network.addresses if it.ip.version == 4 and not it.ours}
    for link in facts.links:
        if link.mute and link.asks and link.index in having:
            switches = [f"net.ipv4.conf.{which}.arp_ignore=0" for which in ("all", link.name.replace(".", "/"))]
            yield broken(
                "arp-ignored",
                f"the node answers ARP for none of its addresses on {link.name} (arp_ignore is 8)",
                "nobody on that network finds the node, its gateway neither: answers are lost, and published ports are "
                "not reached",
                f"sysctl -w {' '.join(switches)}",
            )


def set_by_files(facts: Facts) -> Iterator[Finding]:
    """Of several files that set a switch the last one wins, with the next `sysctl --system`, ufw or boot."""
    last: dict[str, tuple[str, str]] = {}
    for path, text in facts.tools.sysctls.items():
        for line in map(str.strip, text.splitlines()):
            name, equals, value = line.partition("=")
            if equals and line[0] not in "#;":
                last[name.strip().lstrip("-").replace("/", ".")] = (value.strip(), path)
    for name, (bad, good, version) in _OFF.items():
        value, path = last.get(name, ("", ""))
        if value == bad and version in _versions(facts):
            yield risk(
                "sysctl-file",
                f"{path} sets {name} to {value}",
                "the next time that it is read (at boot, by sysctl --system, by a firewall's reload) workloads lose "
                "their network until the daemon puts it right",
                f"set {name}={good} there",
            )


def rules_in_the_way(facts: Facts) -> Iterator[Finding]:
    own = [it.ip for it in facts.network.addresses if not it.ours]
    pools = prefixes(facts)
    reached = {it for it in ending_rules(facts.network, pools) if not (it.wants_mark or it.oif)}
    for rule in facts.around.rules:
        if not rule.preference and rule.may_divert(pools):
            make, verb = (risk, "may take") if rule.wants_mark else (broken, "takes")
            yield make(
                "policy-routing",
                f"the routing rule `{rule}` {verb} traffic to workloads elsewhere",
                "it stands first of all, so that netplumb's cannot stand before it",
                f"{_ip(rule)} rule del {_selector(str(rule))}, and add it with a preference of 1 or more",
            )
        elif rule in reached and is_from_any(rule.src, pools):
            make, what = (broken, "ends") if rule.ends_sending else (risk, "may end some of")
            yield make(
                "policy-routing",
                f"the routing rule `{rule}` {what} what workloads send",
                "no route is looked up behind it: the packet is dropped, or refused with an ICMP error",
                rule.heal,
            )
        if any(map(rule.answers_for, own)):
            yield risk(
                "policy-routing",
                f"published ports do not follow the routing rule `{rule}`",
                "answers go by the main table: who asks by an uplink without the default route gets none",
                "publish the port at the address of the uplink with the default route",
            )
        if rule.sends_for(pools):
            yield risk(
                "policy-routing",
                f"published ports are answered by the routing rule `{rule}`",
                "it holds for all that workloads send: who asks by an uplink that its table does not lead to gets none",
                f"publish the port at the address of an uplink that table {rule.table} leads to",
            )


def ways_ended(facts: Facts) -> Iterator[Finding]:
    for it in ended_ways(facts.network, prefixes(facts)):
        by = "" if it.is_in_main else f", which the routing rule `{it.rule}` leads to,"
        make, what = broken, "all that workloads send beyond the node"
        if not is_as_wide(it.route.dst):
            make, what = risk, f"what workloads send to {it.route.dst}"
        yield make(
            "policy-routing",
            f"the route `{it.route}`{by} ends {what}",
            "the packet is dropped, or refused with an ICMP error, and no other table is asked",
            it.heal,
        )


def _ip(rule: ForeignRule) -> str:
    return "ip -6" if rule.version == 6 else "ip"


def _selector(rule: str) -> str:
    return rule.partition(": ")[2]


def ipv6_switched_off(facts: Facts) -> Iterator[Finding]:
    if facts.ipv6_off and 6 in _versions(facts):
        yield broken(
            "ipv6-off",
            f"the node's loopback has IPv6 switched off by {facts.ipv6_off}",
            "workloads have IPv4 alone",
            f"sysctl -w {facts.ipv6_off}=0",
        )
