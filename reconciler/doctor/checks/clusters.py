"""PURE: what keeps a node from its cluster, or will."""

from __future__ import annotations

from collections.abc import Iterator

from netplumb.models.cluster import ClusterMode
from netplumb.models.network import Pool
from netplumb.reconciler.decide.nodenetwork import surveyed
from netplumb.reconciler.doctor.facts import CertificateFacts, Facts
from netplumb.reconciler.doctor.findings import Finding, broken, risk

DAY_S = 24 * 3600.0
SOON_S = 14 * DAY_S
AHEAD_S = 30.0
_AWAY = (
    "what runs goes on by what was last known: no further prefix, no new node and no document is learnt of, and other "
    "nodes do not learn of this one"
)


def etcd_away(facts: Facts) -> Iterator[Finding]:
    """Who is refused by one member is so by all."""
    endpoints = facts.cluster.endpoints
    refused = [it for it in endpoints if it.refused]
    away = [it for it in endpoints if it.trouble and not it.refused]
    if refused:
        yield broken(
            "etcd",
            f"etcd refuses this node: {refused[0].trouble}",
            _AWAY,
            "give its user the role that docs/cluster.md shows under Rights, and see `ca`, `cert`, `key`, `user` and "
            "`password_file`",
        )
    heal = "see whether etcd runs there, and whether its port is let through from here: etcdctl endpoint health"
    if away and len(away) == len(endpoints):
        yield broken("etcd", f"no member of etcd answers: {'; '.join(it.trouble for it in away)}", _AWAY, heal)
    else:
        for it in away:
            yield risk("etcd", it.trouble, "the others answer; when they go, too, etcd is away to this node", heal)


def certificates(facts: Facts) -> Iterator[Finding]:
    for it in facts.cluster.certificates:
        why = "no new connection to etcd is made with it, and etcd is away to this node then: " + _AWAY
        heal = f"put a renewed one at {it.path}; the next connection takes it, and nothing need be restarted"
        if it.trouble:
            yield broken("etcd-certificate", f"cluster.{it.name}: {it.trouble}", why, heal)
        elif it.ends_in_s <= 0:
            yield broken("etcd-certificate", f"{_named(it)} ran out {_long(-it.ends_in_s)} ago", why, heal)
        elif it.valid_in_s > 0:
            what = f"{_named(it)} is valid only in {_long(it.valid_in_s)}"
            yield broken("etcd-certificate", what, why, f"see whether the clock is right: date; else {heal}")
        elif it.ends_in_s < SOON_S:
            yield risk("etcd-certificate", f"{_named(it)} runs out in {_long(it.ends_in_s)}", why, heal)


def _named(it: CertificateFacts) -> str:
    return f"the certificate of cluster.{it.name}, {it.path},"


def _long(seconds: float) -> str:
    return f"{seconds / DAY_S:.0f} days" if seconds >= 2 * DAY_S else f"{seconds / 3600:.1f} hours"


def clock(facts: Facts) -> Iterator[Finding]:
    ahead = facts.cluster.clock_ahead_s
    if abs(ahead) > AHEAD_S:
        yield risk(
            "cluster-clock",
            f"this node's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} that of etcd's members",
            "netplumb itself goes by no clock, but certificates are valid by it, and logs of nodes cannot be compared",
            "timedatectl status; systemctl restart systemd-timesyncd or chronyd, here or there",
        )


def underlay_missing(facts: Facts) -> Iterator[Finding]:
    cluster = facts.settings.cluster
    if cluster is None or cluster.mode is ClusterMode.NONE or not facts.links:
        return
    known, given = surveyed(facts.network, facts.settings.pools), cluster.underlay
    names = {link.name for link in facts.links}
    if given is None:
        having = {link for _, link in known.foreign} & known.uplinks
        missing = "" if having else "no interface with a default route has an address"
    elif not isinstance(given, str):
        missing = "" if any(ip == given for ip, _ in known.foreign) else f"no interface of this node has {given}"
    elif given not in names:
        missing = f"there is no interface {given}"
    else:
        missing = "" if any(link == given for _, link in known.foreign) else f"{given} has no address"
    if missing:
        yield broken(
            "cluster-underlay",
            f"{missing}, by which other nodes are to reach this one (cluster.underlay)",
            "the ways to its workloads lead nowhere; those that are there already stay as they are",
            "set the address up again, or say another one in cluster.underlay and: systemctl restart netplumb",
        )


def pools_overlap(facts: Facts) -> Iterator[Finding]:
    """Beyond the node's own prefixes, of which another check tells."""
    cluster = facts.settings.cluster
    if cluster is None:
        return
    told = {it.what for it in surveyed(facts.network, facts.settings.pools).overlaps}
    pools = [Pool(cidr=it.cidr) for it in cluster.pools]
    for overlap in surveyed(facts.network, pools, [it.cidr for it in pools]).overlaps:
        if overlap.what not in told:
            yield risk(
                "cluster-pool-overlap",
                f"the cluster's pool {overlap.pool} overlaps {overlap.what}",
                "workloads of a node that holds that part are not reached from here, or what is there is cut off by "
                "the way to them",
                "remove it from the node, or take other pools for the cluster",
            )
