"""Checks of what no test may do to the machine that it runs on: each finds its fault in the facts, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from netplumb.models.nodestate import Fullness, LinkState, NeighbourTable
from netplumb.models.settings import Settings
from netplumb.models.status import Condition
from netplumb.reconciler.doctor.checks import CHECKS, examine
from netplumb.reconciler.doctor.facts import CertificateFacts, DaemonFacts, Facts, HostFacts, ToolFacts
from netplumb.reconciler.doctor.findings import Finding, Severity

ROOMS = ("netplumb.reconciler.doctor", "netplumb.reconciler.tracing")
SOUND = Facts(
    settings=Settings.model_validate({"pools": ["10.99.0.0/24"]}),
    daemon=DaemonFacts(process=77, state="S"),
    host=HostFacts(conntrack=Fullness(10, 262144), inotify=Fullness(3, 128), files=Fullness(1000, 100000)),
    neighbours=(NeighbourTable(4, 10, 1024), NeighbourTable(6, 10, 1024)),
)


def found(facts: Facts) -> Finding:
    (finding,) = examine(facts)
    return finding


def test_a_sound_node_has_no_finding() -> None:
    assert examine(SOUND) == []


def on_host(**facts: object) -> Facts:
    return replace(SOUND, host=replace(SOUND.host, **facts))  # type: ignore[arg-type]


def of_cluster(**facts: object) -> Facts:
    return replace(SOUND, cluster=replace(SOUND.cluster, **facts))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "check", "words", "heal"),
    [
        (
            on_host(conntrack=Fullness(52429, 65536), conntrack_drops=3),
            "conntrack-full",
            "52429 of 65536 connections; 3 found no room",
            "nf_conntrack_max=131072",
        ),
        (on_host(inotify=Fullness(103, 128)), "inotify-full", "103 of 128", "max_inotify_instances=512"),
        (on_host(files=Fullness(90000, 100000)), "descriptors", "the machine has 90000", "fs.file-max=200000"),
        (on_host(inodes=Fullness(99, 100)), "disk", "no inodes left", "df -i /run/netplumb"),
        (on_host(lacking=("module sch_tbf",)), "kernel-module", "lacks module sch_tbf", "modprobe sch_tbf"),
        (on_host(modules_gone="/lib/modules/6.1.0"), "kernel-module", "/lib/modules/6.1.0 is gone", "reboot"),
        (on_host(clock_behind_s=3600.0), "clock", "3600 s behind", "timedatectl"),
        (on_host(clock_unsynchronised=True), "clock", "nobody keeps the clock", "set-ntp"),
        (
            replace(SOUND, neighbours=(NeighbourTable(4, 900, 1024, 7),)),
            "neighbours-full",
            "ARP table has 900 of 1024 entries, and overflowed 7 times",
            "net.ipv4.neigh.default.gc_thresh3=4096",
        ),
        (
            replace(SOUND, tools=ToolFacts(cni=("05-calico.conflist", "10-netplumb.conflist"))),
            "cni-order",
            "05-calico.conflist comes before 10-netplumb.conflist",
            "remove it",
        ),
        (
            of_cluster(certificates=(CertificateFacts("cert", Path("/c"), valid_in_s=7200, ends_in_s=9e9),)),
            "etcd-certificate",
            "the certificate of cluster.cert, /c, is valid only in 2.0 hours",
            "whether the clock is right",
        ),
        (of_cluster(clock_ahead_s=-3600.0), "cluster-clock", "3600 s behind that of etcd", "timedatectl"),
        (
            replace(SOUND, daemon=DaemonFacts(process=77, state="S", unreachable="Connection refused")),
            "daemon-silent",
            "process 77) and does not answer on /run/netplumb/workloadnet.sock: Connection refused",
            "systemctl restart",
        ),
    ],
)
def test_a_fault_is_found(facts: Facts, check: str, words: str, heal: str) -> None:
    finding = found(facts)
    assert (finding.check, words in finding.what, heal in finding.heal) == (check, True, True), finding


def test_what_the_daemon_says_of_attachments_is_told_but_for_what_is_judged_here() -> None:
    unmet = (("web/eth0", "TooLarge", "nft set is too large"), ("web/eth0", "AddressTaken", "10.99.0.2 is the node's"))
    told = found(replace(SOUND, daemon=replace(SOUND.daemon, unmet=unmet)))
    assert told.check == "condition"
    assert told.what == "web/eth0: TooLarge: nft set is too large"
    assert told.heal == "netplumb describe web --if-name eth0"
    many = tuple((f"web-{number}/eth0", "Fighting", "a route") for number in range(12))
    *each, more = examine(replace(SOUND, daemon=replace(SOUND.daemon, unmet=many)))
    assert {it.check for it in each} == {"fought-over"}
    assert more.what == "2 more are not wholly as wished"


def test_a_node_that_the_daemon_cannot_set_up_is_told_in_its_words() -> None:
    condition = Condition("NodeInSync", False, "NftablesFailed", "nftables: EPERM: set_node")
    told = found(replace(SOUND, daemon=replace(SOUND.daemon, conditions=(condition,))))
    assert (told.check, told.severity, told.what) == ("node", Severity.BROKEN, "nftables: EPERM: set_node")


@pytest.mark.parametrize(
    ("phase", "heal"),
    [("Lost", "start the workload again, or: netplumb detach web"), ("Retrying", "netplumb describe")],
)
def test_what_is_not_attached_is_told_with_what_helps(phase: str, heal: str) -> None:
    told = found(replace(SOUND, daemon=replace(SOUND.daemon, phases=(("web/eth0", phase, "it is so"),))))
    assert (told.check, told.heal.startswith(heal)) == ("not-attached", True), told


@pytest.mark.parametrize(
    ("type_", "heal"), [("StateFileBroken", "correct the file"), ("PageUnavailable", "free that address")]
)
def test_a_condition_is_told_with_what_heals_it(type_: str, heal: str) -> None:
    condition = Condition(type_, True, "Unreadable", "file/web.yaml: line 1")
    told = found(replace(SOUND, daemon=replace(SOUND.daemon, conditions=(condition,))))
    assert (told.check, told.heal.startswith(heal)) == ("condition", True), told


def test_a_node_that_nobody_uses_need_not_forward() -> None:
    off = replace(SOUND, forwarding={"net.ipv4.ip_forward": "0"})
    assert found(off).check == "forwarding-off"
    assert [it.check for it in examine(replace(off, daemon=DaemonFacts()))] == ["daemon-down"]


def test_just_below_its_limit_nothing_is_told() -> None:
    assert examine(on_host(conntrack=Fullness(52428, 65536), inotify=Fullness(102, 128))) == []


def test_what_is_broken_is_told_first_and_a_skipped_check_not_at_all() -> None:
    facts = replace(on_host(clock_unsynchronised=True), daemon=DaemonFacts(), links=(LinkState("lo", 1),))
    assert [it.check for it in examine(facts)] == ["daemon-down", "uplink-gone", "clock"]
    assert [it.severity for it in examine(facts, {"uplink-gone"})] == [Severity.BROKEN, Severity.RISK]


def test_every_check_is_listed() -> None:
    """One that is written and not listed would never be asked."""
    modules = {sys.modules[check.__module__] for check in CHECKS}
    written = {
        it
        for module in modules
        for it in vars(module).values()
        if getattr(it, "__module__", "") == module.__name__
        and getattr(it, "__annotations__", {}).get("return") == "Iterator[Finding]"
    }
    assert written == set(CHECKS)


@pytest.mark.parametrize(
    ("imported", "unloaded"),
    [
        (
            "netplumb.reconciler.main",
            ("grpc", "pydantic", "pyroute2", "netplumb.reconciler.doctor", "netplumb.reconciler.tracing"),
        ),
        ("netplumb.reconciler.daemon", ("netplumb.reconciler.doctor", "netplumb.reconciler.tracing")),
    ],
)
def test_who_does_not_ask_for_it_does_not_load_it(imported: str, unloaded: tuple[str, ...]) -> None:
    """Neither `netplumb --help` nor the daemon."""
    program = f"import sys, {imported}; print(*{{*{unloaded!r}}} & {{*sys.modules}})"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).split() == []


def test_a_switch_of_a_vlan_is_named_as_sysctl_takes_it() -> None:
    """Whose link has a dot in its name, which would divide it."""
    around = replace(SOUND.around, not_forwarding=("eth0.100",))
    (finding,) = [it for it in examine(replace(SOUND, around=around)) if it.check == "forwarding-off"]
    assert finding.heal == "sysctl -w net.ipv4.conf.eth0/100.forwarding=1"
