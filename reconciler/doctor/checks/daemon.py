"""PURE: the daemon itself, and what it leaves undone."""

from __future__ import annotations

from collections.abc import Iterator

from netplumb.models.status import PlannedChange
from netplumb.models.words import several
from netplumb.reconciler.doctor.facts import Facts
from netplumb.reconciler.doctor.findings import Finding, broken, risk

TOLD_MOST = 10
_STOPPED = "T"
_LOST = "Lost"
_HEALS = {
    "EtcdWentBack": "restore a newer backup of etcd; or, where it is meant as it is: netplumb cluster accept",
    "NodeNameTaken": "give this node another cluster.node_name, or end the other, then: systemctl restart netplumb",
    "PrefixLost": "attach anew what has addresses of it; they are given to workloads of other nodes",
    "StateFileBroken": "correct the file; it is read when it is saved, and netplumb validate FILE judges it before",
    "MetricsUnavailable": "free that address, or set metrics to another, then: systemctl restart netplumb",
    "PageUnavailable": "free that address, or set ui to another, then: systemctl restart netplumb",
    "RemoteUnavailable": "put right what it names; the daemon tries again by itself",
}
_JUDGED_HERE = frozenset(
    {
        *("ForwardBlocked", "ForwardFiltered", "PoolOverlap", "ForwardingOff", "PolicyRouted", "PortsByMainTable"),
        *("PortsByPoolsTable", "IPv6Disabled", "NodeInSync", "AddressTaken", "RoutedNowhere"),
        *("PolicyRoutedByMark", "GatewaySilent"),
    }
)
"""Conditions that other checks find for themselves."""


def not_running(facts: Facts) -> Iterator[Finding]:
    daemon = facts.daemon
    why = "what is attached keeps its network, but nothing is repaired, and no workload can come or go"
    if not daemon.process:
        yield broken(
            "daemon-down",
            "no netplumb daemon runs on this node",
            why,
            "systemctl start netplumb; if it ends again: journalctl -u netplumb -n 20",
        )
    elif daemon.state == _STOPPED:
        yield broken(
            "daemon-down", f"the daemon (process {daemon.process}) is stopped", why, f"kill -CONT {daemon.process}"
        )
    elif daemon.unreachable:
        yield broken(
            "daemon-silent",
            f"the daemon runs (process {daemon.process}) and does not answer on {facts.settings.socket}: "
            f"{daemon.unreachable}",
            "clients cannot attach or detach; if the socket is another one, name it with --socket",
            "systemctl restart netplumb",
        )


def settings_wrong(facts: Facts) -> Iterator[Finding]:
    for mistake in facts.settings_mistakes:
        yield broken(
            "settings",
            mistake,
            "the daemon does not start with such settings, and one that runs does not take them; the rest of this was "
            "judged by the defaults",
            "correct it, then: netplumb config show",
        )


def store_lost(facts: Facts) -> Iterator[Finding]:
    if facts.store:
        yield risk(
            "store",
            f"{facts.store}; {len(facts.attachments)} attachments were read from the kernel's marks",
            "what only the store knows is lost (container ids, labels, DNS) until clients attach again",
            "systemctl restart netplumb, which rebuilds the store from the kernel",
        )


def told_by_itself(facts: Facts) -> Iterator[Finding]:
    """What only a running daemon knows: who undoes its repairs, which state files are wrong, what was rebuilt."""
    for condition in facts.daemon.conditions:
        if condition.status and condition.type not in _JUDGED_HERE:
            yield _told("", condition.type, condition.message)
    for condition in facts.daemon.conditions:
        if condition.type == "NodeInSync" and not condition.status:
            yield broken("node", condition.message, "what all workloads share is not as it should be", "netplumb plan")


def in_part(facts: Facts) -> Iterator[Finding]:
    """The same of attachments that are attached, and not wholly as wished."""
    unmet = [it for it in facts.daemon.unmet if it[1] not in _JUDGED_HERE]
    for name, reason, message in unmet[:TOLD_MOST]:
        yield _told(name, reason, message)
    if (more := len(unmet) - TOLD_MOST) > 0:
        yield risk("condition", f"{more} more are not wholly as wished", "as above", "netplumb list")


def _told(name: str, condition: str, message: str) -> Finding:
    """What the daemon says of an attachment, or without a name of the node."""
    words = f"{name}: {condition}: {message}" if name else f"{condition}: {message}"
    why = f"the daemon says so of {name or 'the node'}"
    if condition == "Fighting":
        heal = "find who changes it (a file of sysctl.d, the reload of a firewall, a script), and have it stop"
        return risk("fought-over", words, why, heal)
    heal = _described(name) if name else _HEALS.get(condition, "netplumb status")
    return risk("condition", words, why, heal)


def _described(name: str) -> str:
    workload, _, if_name = name.rpartition("/")
    return f"netplumb describe {workload} --if-name {if_name}"


def not_attached(facts: Facts) -> Iterator[Finding]:
    for name, phase, reason in facts.daemon.phases[:TOLD_MOST]:
        workload, _, if_name = name.rpartition("/")
        heal = _described(name)
        if phase == _LOST:
            heal = f"start the workload again, or: netplumb detach {workload} --if-name {if_name}"
        yield broken(
            "not-attached",
            f"{name} is {phase}: {reason or 'no reason was told'}",
            "the workload has no network, or not all of it",
            heal,
        )
    if (more := len(facts.daemon.phases) - TOLD_MOST) > 0:
        yield broken("not-attached", f"{more} more are not attached", "they have no network", "netplumb list")


def not_as_desired(facts: Facts) -> Iterator[Finding]:
    """What a daemon would repair now. One that runs does so within milliseconds; so what is found then is what it
    cannot repair, or what is being repaired."""
    by_key: dict[str, list[PlannedChange]] = {}
    for change in facts.differences:
        by_key.setdefault(str(change.key) if change.key is not None else "the node", []).append(change)
    answers = facts.daemon.process and not facts.daemon.unreachable and facts.daemon.state != _STOPPED
    heal = "netplumb check, and the daemon's log" if answers else "start the daemon, which repairs it"
    for name, changes in list(by_key.items())[:TOLD_MOST]:
        told = several([f"{change.verb} {change.words}" for change in changes], 3)
        yield broken("not-as-desired", f"{name} is not as desired: {told}", "part of its network is missing", heal)
    if (more_keys := len(by_key) - TOLD_MOST) > 0:
        yield broken("not-as-desired", f"{more_keys} more are not as desired", "as above", heal)
