"""What the doctor says: one finding for each thing that is wrong, in words for whoever is woken by it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Literal, TypeAlias, get_args

CheckName: TypeAlias = Literal[
    "address-taken",
    "arp-ignored",
    "clock",
    "cluster-clock",
    "cluster-pool-overlap",
    "cluster-underlay",
    "cni-order",
    "condition",
    "conntrack-full",
    "daemon-down",
    "daemon-silent",
    "descriptors",
    "disk",
    "duplicate-address",
    "etcd",
    "etcd-certificate",
    "foreign-firewall",
    "foreign-program",
    "foreign-queue",
    "forwarding-off",
    "fought-over",
    "gateway-silent",
    "host-address-missing",
    "host-port-in-use",
    "inotify-full",
    "ipsec",
    "ipv6-off",
    "kernel-module",
    "mtu",
    "neighbours-full",
    "networkd-claims",
    "networkd-foreign",
    "networkmanager-claims",
    "no-default-route",
    "no-ipv6",
    "node",
    "not-as-desired",
    "not-attached",
    "not-tracked",
    "policy-routing",
    "pool-nearly-full",
    "pool-overlap",
    "port-translated-elsewhere",
    "reverse-path-filter",
    "settings",
    "source-translated-elsewhere",
    "store",
    "sysctl-file",
    "udev-renames",
    "uplink-down",
    "uplink-gone",
    "workload-sysctl",
]
CHECK_NAMES: tuple[str, ...] = get_args(CheckName)


class Severity(StrEnum):
    BROKEN = "broken"  # traffic that should flow does not, or nothing is repaired
    RISK = "risk"  # nothing hurts yet, or only some of it


@dataclass(frozen=True, slots=True)
class Finding:
    """`check` is the name by which a script can tell it or leave it out, `heal` a command, or what to do where no
    command can know it."""

    check: CheckName
    severity: Severity
    what: str
    why: str
    heal: str

    def plain(self) -> dict[str, str]:
        return {name: str(value) for name, value in asdict(self).items()}


def broken(check: CheckName, what: str, why: str, heal: str) -> Finding:
    return Finding(check, Severity.BROKEN, what, why, heal)


def risk(check: CheckName, what: str, why: str, heal: str) -> Finding:
    return Finding(check, Severity.RISK, what, why, heal)


def printable(text: str) -> str:
    """Names of others may hold any bytes."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
