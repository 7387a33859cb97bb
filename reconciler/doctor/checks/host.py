"""PURE: what the machine runs out of, or never had."""

from __future__ import annotations

from collections.abc import Iterator

from netplumb.reconciler.doctor.facts import Facts
from netplumb.reconciler.doctor.findings import Finding, broken, risk

NEARLY = 0.8
DISK_NEARLY = 0.95
BEHIND_S = 60.0


def kernel_lacks(facts: Facts) -> Iterator[Finding]:
    for feature in facts.host.lacking:
        name = feature.removeprefix("module ")
        is_module = name != feature
        yield broken(
            "kernel-module",
            f"the kernel lacks {feature}",
            "netplumb renders what needs it: attaching fails, or a part of it such as ports or limits",
            f"install the package with the kernel's further modules, then: modprobe {name}"
            if is_module
            else "boot a kernel that was built with it",
        )
    if facts.host.modules_gone:
        yield risk(
            "kernel-module",
            f"{facts.host.modules_gone} is gone, and not all modules that netplumb needs are loaded",
            "the kernel was upgraded under the running one, which can load no more modules",
            "reboot into the new kernel",
        )


def tables_nearly_full(facts: Facts) -> Iterator[Finding]:
    host = facts.host
    if host.conntrack.is_nearly(NEARLY):
        lost = f"; {host.conntrack_drops} found no room so far" if host.conntrack_drops else ""
        yield risk(
            "conntrack-full",
            f"the kernel tracks {host.conntrack} connections{lost}",
            "when the table is full, new connections are dropped, of workloads and of the node",
            f"sysctl -w net.netfilter.nf_conntrack_max={host.conntrack.most * 2}; who has so many: conntrack -L",
        )
    for table in facts.neighbours:
        if table.most and table.entries >= NEARLY * table.most:
            family, name = ("ipv4", "ARP") if table.version == 4 else ("ipv6", "neighbour discovery")
            yield risk(
                "neighbours-full",
                f"the {name} table has {table.entries} of {table.most} entries, and overflowed {table.overflows} times "
                "since the boot",
                "when it is full, hosts that are not in it are not reached; the kernel's log says `table overflow`",
                f"sysctl -w net.{family}.neigh.default.gc_thresh3={table.most * 4}",
            )
    if host.inotify.is_nearly(NEARLY):
        yield risk(
            "inotify-full",
            f"{host.inotify} inotify instances of this user are in use",
            "a daemon that starts without one cannot watch its state files and namespaces",
            f"sysctl -w user.max_inotify_instances={host.inotify.most * 4}",
        )


def disk(facts: Facts) -> Iterator[Finding]:
    host, place = facts.host, facts.settings.data_dir
    why = "desired state cannot be written: every Attach and Detach is refused; what runs is still repaired"
    if host.disk_read_only:
        yield broken(
            "disk", f"{place} lies on a read-only file system", why, "dmesg tells why; then mount -o remount,rw"
        )
    elif host.disk.is_nearly(DISK_NEARLY):
        share = 100 * host.disk.used // host.disk.most
        yield risk("disk", f"the file system of {place} is {share}% full", why, f"df -h {place}; make room there")
    if host.inodes.is_nearly(DISK_NEARLY):
        yield risk("disk", f"the file system of {place} has no inodes left ({host.inodes})", why, f"df -i {place}")


def descriptors(facts: Facts) -> Iterator[Finding]:
    daemon, machine = facts.daemon.descriptors, facts.host.files
    if daemon.is_nearly(NEARLY):
        yield risk(
            "descriptors",
            f"the daemon has {daemon} file descriptors open",
            "without one it can open no namespace and accept no client",
            f"prlimit --pid {facts.daemon.process} --nofile={daemon.most * 4}; for good: LimitNOFILE= in its unit",
        )
    if machine.is_nearly(NEARLY):
        yield risk(
            "descriptors",
            f"the machine has {machine} files open",
            "nothing can be opened when they are used up, by the daemon neither",
            f"sysctl -w fs.file-max={machine.most * 2}",
        )


def clock(facts: Facts) -> Iterator[Finding]:
    host = facts.host
    if host.clock_behind_s > BEHIND_S:
        yield risk(
            "clock",
            f"the clock is {round(host.clock_behind_s)} s behind what it was when the store was begun",
            "it was set back: times in events and conditions mislead, and pods' addresses are kept for longer",
            "timedatectl status; systemctl restart systemd-timesyncd or chronyd",
        )
    elif host.clock_unsynchronised:
        yield risk(
            "clock",
            "nobody keeps the clock in step",
            "times in logs cannot be compared with those of other nodes, and certificates may count as expired",
            "timedatectl set-ntp true; or --skip clock, where the host of this machine sees to it",
        )
