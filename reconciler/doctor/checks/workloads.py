"""PURE: what concerns single workloads, and the addresses that are left for others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from netplumb.models.words import link_switch
from netplumb.reconciler.decide.listeners import in_use
from netplumb.reconciler.decide.nodenetwork import lost_to, surveyed
from netplumb.reconciler.doctor.facts import Facts
from netplumb.reconciler.doctor.findings import Finding, broken, risk

NEARLY = 0.9
_STRICT = "1"


def host_ports_in_use(facts: Facts) -> Iterator[Finding]:
    for it in facts.attachments:
        for words in in_use(it.spec, it.spec.port_mappings, facts.listeners):
            yield broken(
                "host-port-in-use",
                f"{words}, and is mapped to {it.key}",
                "the workload gets what is sent there, and the process nothing",
                "stop the process, or map another port",
            )


def host_addresses_missing(facts: Facts) -> Iterator[Finding]:
    """One that moves between nodes may well be elsewhere now. Addresses of the loopback's network are all there."""
    own = {it.ip for it in facts.network.addresses}
    for it in facts.attachments:
        for mapping in it.spec.port_mappings:
            ip = mapping.bound_ip
            if facts.network.addresses and ip is not None and not ip.is_loopback and ip not in own:
                yield risk(
                    "host-address-missing",
                    f"{it.key} has {mapping} published, and the node does not have the address {ip}",
                    "nobody reaches the port while it is so",
                    f"give the node that address, or attach {it.spec.workload_id} again with one that it has, or none",
                )


def address_held_twice(facts: Facts) -> Iterator[Finding]:
    known = surveyed(facts.network, facts.settings.pools)
    for it in facts.attachments:
        for address in it.addresses:
            if whose := lost_to(address, known):
                yield broken(
                    "address-taken",
                    f"{it.key} has {address}, which is {whose}",
                    "one of the two is not reached",
                    f"attach {it.spec.workload_id} again with another address, or take that from the node",
                )


def sysctls(facts: Facts) -> Iterator[Finding]:
    """Those of the workload's own namespace, which nobody tells of when they change."""
    inside = {it.name: it.sysctls for it in facts.workloads}
    for it in facts.attachments:
        values, link = inside.get(str(it.key), {}), it.spec.if_name
        enter = f"nsenter --net={it.spec.netns.where}"
        for name, wanted in it.spec.sysctls.items():
            if values.get(name, wanted) != " ".join(wanted.split()):
                dotted = name.replace("/", ".")
                yield risk(
                    "workload-sysctl",
                    f"{it.key} asked for {dotted}={wanted} and has {values[name]}",
                    "somebody changed it inside; the daemon puts it back with the next resync",
                    f"{enter} sysctl -w {dotted}='{wanted}'",
                )
        if any(a.version == 6 for a in it.addresses) and values.get(f"net/ipv6/conf/{link}/disable_ipv6") == "1":
            yield risk(
                "workload-sysctl",
                f"{it.key} has IPv6 switched off inside",
                "its IPv6 addresses are gone",
                f"{enter} sysctl -w {link_switch(6, link, 'disable_ipv6')}=0",
            )
        strict = [values.get(f"net/ipv4/conf/{which}/rp_filter") == _STRICT for which in ("all", link)]
        if it.siblings and any(strict) and not it.default_route:
            yield risk(
                "workload-sysctl",
                f"{it.key} filters by the reverse path, strictly, and does not hold the workload's default route",
                "what comes in by it from beyond the node is dropped inside the workload",
                f"{enter} sysctl -w {link_switch(4, link, 'rp_filter')}=2",
            )


def pools_nearly_full(facts: Facts) -> Iterator[Finding]:
    held = Counter(
        pool.prefix
        for it in facts.attachments
        for address in it.addresses
        for pool in facts.settings.pools
        if address.version == pool.version and address in pool.cidr
    )
    for pool in facts.settings.pools:
        # Less the network's address, the node's and the broadcast address, and what is kept from workloads.
        size = pool.cidr.num_addresses - 3 - len(pool.reserved)
        if held[pool.prefix] >= NEARLY * size:
            yield risk(
                "pool-nearly-full",
                f"pool {pool.prefix} has {held[pool.prefix]} of {size} addresses given out",
                "when the last one is, Attach is refused with RESOURCE_EXHAUSTED",
                "add another pool to the settings, then: systemctl reload netplumb",
            )
