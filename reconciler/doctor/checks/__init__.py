"""PURE: what is wrong, out of what was read. Each check is one function from the facts to findings; all are listed
here, in the order in which findings are told: what is broken for all first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from netplumb.reconciler.doctor.checks import clusters, daemon, firewalls, forwarding, host, tools, uplinks, workloads
from netplumb.reconciler.doctor.facts import Facts
from netplumb.reconciler.doctor.findings import Finding, Severity

Check = Callable[[Facts], Iterable[Finding]]

CHECKS: tuple[Check, ...] = (
    daemon.not_running,
    daemon.settings_wrong,
    daemon.store_lost,
    daemon.told_by_itself,
    daemon.not_attached,
    daemon.in_part,
    daemon.not_as_desired,
    host.kernel_lacks,
    forwarding.switched_off,
    forwarding.interface_forwards_nothing,
    forwarding.first_hop_silent,
    forwarding.mute,
    forwarding.set_by_files,
    forwarding.rules_in_the_way,
    forwarding.ways_ended,
    forwarding.ipv6_switched_off,
    uplinks.gone_or_down,
    uplinks.gateway_silent,
    uplinks.no_default_route,
    uplinks.no_ipv6,
    uplinks.reverse_path,
    uplinks.reverse_path_of_some,
    uplinks.refused_addresses,
    uplinks.shared_addresses,
    uplinks.pool_overlaps,
    uplinks.mtu_too_large,
    clusters.etcd_away,
    clusters.certificates,
    clusters.clock,
    clusters.underlay_missing,
    clusters.pools_overlap,
    firewalls.drops,
    firewalls.redirected_to_nowhere,
    firewalls.kept_from_tracking,
    firewalls.ports_taken_elsewhere,
    firewalls.leaves_as_others,
    firewalls.taken_by_ipsec,
    workloads.host_ports_in_use,
    workloads.host_addresses_missing,
    workloads.address_held_twice,
    workloads.sysctls,
    workloads.pools_nearly_full,
    tools.networkd,
    tools.network_manager,
    tools.link_files,
    tools.renamed,
    tools.queued,
    tools.programmed,
    tools.cni_order,
    host.tables_nearly_full,
    host.disk,
    host.descriptors,
    host.clock,
)


def examine(facts: Facts, skipped: Collection[str] = ()) -> list[Finding]:
    """Every finding but those of the checks that are skipped by name: what is broken, then what may break."""
    found = [finding for check in CHECKS for finding in check(facts) if finding.check not in skipped]
    return sorted(found, key=lambda finding: finding.severity is Severity.RISK)
