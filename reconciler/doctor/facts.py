"""All that is known of the node when it is judged: read once, frozen, and nothing is asked for again.

A part that could not be read has its empty value, which no check finds fault with, and a line in `unread`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from netplumb.models.attachment import Attachment
from netplumb.models.base import IPAddress
from netplumb.models.cluster import ClusterView
from netplumb.models.network import Surroundings
from netplumb.models.nodenetwork import NetworkFacts
from netplumb.models.nodestate import (
    NOTHING,
    Fullness,
    IpsecPolicy,
    LinkProgram,
    LinkState,
    NeighbourTable,
    RefusedAddress,
    SharedAddress,
    SilentGateway,
)
from netplumb.models.settings import Settings
from netplumb.models.sockets import Listener
from netplumb.models.status import Condition, PlannedChange
from netplumb.reconciler.decide.firewalls.ruleset import Ruleset


@dataclass(frozen=True, slots=True)
class DaemonFacts:
    """`process` holds the node's lock, 0 where nobody does; `state` is the letter that proc_pid_stat(5) has for it.
    `unreachable` is why its socket does not answer. The rest it told itself: `phases` are attachments that are not
    attached, each with the reason, `unmet` what of those that are attached is not as wished: the condition and its
    message; `pools` are the prefixes of those that it has, which flags of its own may have given it."""

    process: int = 0
    state: str = ""
    unreachable: str = ""
    conditions: tuple[Condition, ...] = ()
    phases: tuple[tuple[str, str, str], ...] = ()
    unmet: tuple[tuple[str, str, str], ...] = ()
    descriptors: Fullness = NOTHING
    pools: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolFacts:
    """What other tools on the node were told. `running` are the processes in the node's namespace, by name; `files` are
    the texts of their settings, by path, in the order in which they are read."""

    running: frozenset[str] = frozenset()
    networkd: Mapping[str, str] = field(default_factory=dict)
    networks: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    network_manager: Mapping[str, str] = field(default_factory=dict)
    udev_leaves_veths: bool = True
    sysctls: Mapping[str, str] = field(default_factory=dict)
    cni: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkloadFacts:
    """What is inside of a workload's namespace. `sysctls` are those that its wish states and some that matter to all;
    `found` is False where there is none at the recorded path."""

    name: str
    found: bool = True
    sysctls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What the machine has left. `lacking` are features that its kernel was built without, or modules that cannot be
    loaded. `clock_unset` is how many seconds the clock is behind the youngest thing that netplumb wrote."""

    lacking: tuple[str, ...] = ()
    modules_gone: str = ""
    conntrack: Fullness = NOTHING
    conntrack_drops: int = 0
    inotify: Fullness = NOTHING
    files: Fullness = NOTHING
    disk: Fullness = NOTHING
    inodes: Fullness = NOTHING
    disk_read_only: bool = False
    clock_unsynchronised: bool = False
    clock_behind_s: float = 0.0


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """A member of etcd, and why it does not answer this node; `refused` where it does not want to."""

    endpoint: str
    trouble: str = ""
    refused: bool = False


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """By which etcd and this node know each other, by the name of the setting: in how many seconds it becomes valid and
    ends to be, both less than 0 where that is past."""

    name: str
    path: Path
    trouble: str = ""
    valid_in_s: float = 0.0
    ends_in_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    endpoints: tuple[EndpointFacts, ...] = ()
    certificates: tuple[CertificateFacts, ...] = ()
    clock_ahead_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PathMtu:
    """A destination that the node found to take no larger packets."""

    dst: IPAddress
    mtu: int


@dataclass(frozen=True, slots=True)
class Facts:
    settings: Settings = field(default_factory=Settings)
    settings_mistakes: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    store: str = ""
    """Where it is what could not be read of desired state; the attachments are then those that the kernel's marks tell
    of."""
    daemon: DaemonFacts = DaemonFacts()
    view: ClusterView | None = None
    """What the node last knew of its cluster, where it is in one."""
    cluster: ClusterFacts = ClusterFacts()
    network: NetworkFacts = field(default_factory=NetworkFacts)
    links: tuple[LinkState, ...] = ()
    refused: tuple[RefusedAddress, ...] = ()
    shared: tuple[SharedAddress, ...] = ()
    silent: tuple[SilentGateway, ...] = ()
    programs: tuple[LinkProgram, ...] = ()
    """On the node's links, by others."""
    neighbours: tuple[NeighbourTable, ...] = ()
    path_mtus: tuple[PathMtu, ...] = ()
    around: Surroundings = field(default_factory=Surroundings)
    forwarding: Mapping[str, str] = field(default_factory=dict)
    unrouted_v6: int = 0
    """Packets that came to be forwarded since the boot, and no IPv6 route led on."""
    filtered_v4: int = 0
    """Packets that the reverse path filter dropped since the boot."""
    ipv6_off: str = ""
    ruleset: Ruleset = field(default_factory=Ruleset)
    ipsec: tuple[IpsecPolicy, ...] = ()
    listeners: tuple[Listener, ...] = ()
    differences: tuple[PlannedChange, ...] = ()
    tools: ToolFacts = ToolFacts()
    workloads: tuple[WorkloadFacts, ...] = ()
    host: HostFacts = HostFacts()
    unread: tuple[str, ...] = ()
