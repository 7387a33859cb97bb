"""What netplumb says of itself: phases, conditions, generations, counters. Made by the loop, read by the API."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from enum import Enum

from netplumb.models.attachment import Attachment, AttachmentKey
from netplumb.models.bandwidth import NO_LIMITS, Bandwidth
from netplumb.models.events import Event
from netplumb.models.kernel import FIRST_HOP_V4, FIRST_HOP_V6, Scope
from netplumb.models.nodenetwork import Uplink
from netplumb.models.policyviews import NOTHING_DENIED, Denied
from netplumb.models.words import ip_words


class Phase(Enum):
    """An attachment's state in one word."""

    PENDING = "Pending"  # nothing failed, but something that it needs is missing, such as a state file's namespace
    ATTACHED = "Attached"  # every object is in the kernel
    RETRYING = "Retrying"  # a step failed and is tried again
    FAILED = "Failed"  # no retry heals it while the wish stays as it is
    DETACHING = "Detaching"  # the wish is gone, the kernel's objects are going
    LOST = "Lost"  # an RPC's namespace is gone, and its interface with it
    CONFLICT = "Conflict"  # another source holds the key; this wish waits for it


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that is true or false of an attachment or of the node, as Kubernetes words it.

    `last_transition` is in seconds since the epoch and moves when `status` changes, not when the message does.
    """

    type: str
    status: bool
    reason: str = ""
    message: str = ""
    last_transition: float = 0.0


@dataclass(frozen=True, slots=True)
class AttachmentStatus:
    phase: Phase = Phase.PENDING
    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    retries: int = 0
    repairs: int = 0

    def condition(self, type_: str) -> Condition | None:
        return next((c for c in self.conditions if c.type == type_), None)


OBSTACLES = frozenset(
    {
        "AddressTaken",
        "Fighting",
        "HostPortInUse",
        "NetnsUnreachable",
        "RoutedNowhere",
        "TooLarge",
        "UpperInterface",
    }
)
"""Conditions of an attachment by which traffic of the workload, or of the process of the node that listened where one
of its ports is mapped now, does not flow, though it is attached; or flows past its guards. The others tell of what was
not wished for (a pool that is gone), or is off by a switch of the workload's own, and then no part of the wish."""

IPV6_DISABLED, OFF_IN_WORKLOAD = "IPv6Disabled", "SwitchedOffInWorkload"
"""The condition, of an attachment and of the node, and its reason where the node has no part in it."""

PEER_NOT_ON_LINK = "PeerNotOnLink"
PEER_WITHOUT_ADDRESS = "PeerWithoutAddress"
UNDERLAY_MISSING = "UnderlayMissing"
UNDERLAY_SHARED = "UnderlayShared"
FOREIGN_WAY = "ForeignWay"
WAYS_FAILED = "WaysFailed"
_WAYS = {PEER_NOT_ON_LINK, PEER_WITHOUT_ADDRESS, UNDERLAY_MISSING, FOREIGN_WAY, WAYS_FAILED}

NODE_OBSTACLES = frozenset(
    {
        "DefaultRouteOfOthers",
        "EtcdWentBack",
        "Fighting",
        "FlowsCrowded",
        "ForwardBlocked",
        "ForwardingOff",
        IPV6_DISABLED,
        "MainTableUnused",
        "ModesDiffer",
        "NodeNameTaken",
        "NoSourceAddress",
        "PolicyRouted",
        "PrefixLost",
        "PrefixOutsidePools",
        UNDERLAY_SHARED,
        *_WAYS,
    }
)
"""The same of the node. What only may be in the way of some traffic, such as ForwardFiltered, is told and no obstacle:
on many nodes it is meant."""

BROKEN_WISHES = frozenset({"SettingsRefused", "StateFileBroken"})
"""Conditions of the node that say that a wish is not even known, or what was set is not in force."""

_NOT_SEEN = "no pass over it has ended yet"


@dataclass(frozen=True, slots=True)
class Unmet:
    """One reason why something is not as wished: an attachment, a state file's claim that waits for the key of another
    (`source` tells the two apart), or the node, which has no key. `reason` is one CamelCase word."""

    key: AttachmentKey | None
    reason: str
    message: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class AttachmentView:
    """An attachment and its status at one moment; what Get, List and Watch show.

    `answered` are the assigned addresses less those of a family that is switched off, node or workload. `bandwidth`
    are the limits in force; `default_route`, `isolate_node` and `isolate_workloads` what holds when the wish, the
    workload's other interfaces and the daemon's settings are taken together. `policies` are the network policies that
    isolate it, and `denied` is how many of its packets they denied, where that was read.
    """

    attachment: Attachment
    status: AttachmentStatus
    bandwidth: Bandwidth = NO_LIMITS
    default_route: bool = True
    isolate_node: bool = False
    isolate_workloads: bool = False
    policies: tuple[str, ...] = ()
    denied: Denied = NOTHING_DENIED

    @property
    def key(self) -> AttachmentKey:
        return self.attachment.key

    @property
    def is_claim(self) -> bool:
        """Whether it is no attachment, but what a state file wishes and cannot have now."""
        return not self.attachment.generation

    @property
    def place(self) -> tuple[AttachmentKey, str]:
        """Where it stands among all. Only claims share a key with another, and come behind its holder."""
        return self.key, self.attachment.source if self.is_claim else ""

    @property
    def unmet(self) -> tuple[Unmet, ...]:
        """Why it is not as wished, as far as is known without another look at the kernel; empty if it is. The one place
        from which every view takes it."""
        return tuple(self.unmet_for(it.reason, it.message) for it in self._obstacles())

    def unmet_for(self, reason: str, message: str) -> Unmet:
        return Unmet(self.key, reason, message, self.attachment.source)

    def _obstacles(self) -> Iterator[Condition]:
        phase, removing = self.status.phase, self.attachment.removing
        if removing and phase is not Phase.DETACHING:
            yield Condition("Ready", status=False, reason=Phase.DETACHING.value, message=_NOT_SEEN)
        elif phase is not Phase.ATTACHED:
            yield self.status.condition("Ready") or Condition("Ready", False, phase.value, _NOT_SEEN)
        for condition in self.status.conditions:
            if condition.status and (condition.type in OBSTACLES or self._is_without_ipv6(condition)):
                yield replace(condition, reason=condition.type)

    def _is_without_ipv6(self, condition: Condition) -> bool:
        """Whether an address of a family that is off was wished for. A workload, or who made its namespace, may do
        without what pools give it, but nobody said so of what the node has off."""
        if condition.type != IPV6_DISABLED:
            return False
        stated = any(a.version == 6 for a in self.attachment.spec.addresses)
        return stated or condition.reason != OFF_IN_WORKLOAD

    @property
    def answered(self) -> tuple[bytes, ...]:
        ipv6_off = (c := self.status.condition(IPV6_DISABLED)) is not None and c.status
        return tuple(a.packed for a in self.attachment.addresses if not (ipv6_off and a.version == 6))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is true of it beside that it is attached."""
        return tuple(it.message for it in self.status.conditions if it.status and it.type != "Ready")

    @property
    def gateways(self) -> tuple[str, ...]:
        """The first hop of each family that has an address."""
        lengths = {len(address) for address in self.answered}
        return tuple(ip_words(hop) for hop in (FIRST_HOP_V4, FIRST_HOP_V6) if len(hop) in lengths)


def node_unmet(conditions: Iterable[Condition], types: Set[str]) -> tuple[Unmet, ...]:
    """Why the node is not as wished: those of its conditions that have one of these types and hold, and NodeInSync
    where that does not. Empty if it is."""
    return tuple(
        Unmet(None, it.type if it.status else it.reason, it.message)
        for it in conditions
        if (it.status if it.type in types else it.type == "NodeInSync" and not it.status)
    )


class Change(Enum):
    """What a Watch tells of one attachment."""

    PRESENT = "present"  # part of the snapshot
    SNAPSHOT_COMPLETE = "snapshot_complete"  # the mark after the last PRESENT
    UPDATED = "updated"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class WatchEvent:
    change: Change
    view: AttachmentView | None = None


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """One difference between desired and observed, in a network engineer's words; `verb` is `+`, `~` or `-`."""

    key: AttachmentKey | None
    verb: str
    kind: str
    words: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the node or a part of it compares with the kernel: what differs, and why it is not as wished beside that."""

    differences: tuple[PlannedChange, ...] = ()
    unmet: tuple[Unmet, ...] = ()

    @property
    def in_sync(self) -> bool:
        return not self.differences and not self.unmet


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport(Comparison):
    """That of an attachment, or of a claim that waits."""

    view: AttachmentView


@dataclass(frozen=True, slots=True)
class DescribedObject:
    """One object of an attachment in the kernel. `deviation` says how it is not as desired; empty where it is."""

    where: Scope
    kind: str
    words: str
    deviation: str = ""


@dataclass(frozen=True, slots=True)
class Description:
    """All about one attachment: as it is said to be, as the kernel holds it, and what happened to it."""

    report: CheckReport
    objects: tuple[DescribedObject, ...]
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class PoolUsage:
    name: str
    held: int
    size: int


@dataclass(frozen=True, slots=True)
class Counters:
    """Totals since the daemon started; `repairs` counts repaired objects by kind."""

    passes: int = 0
    repairs: Mapping[str, int] = field(default_factory=dict)
    retries: int = 0
    resyncs: int = 0
    events: int = 0
    lost_events: int = 0


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """The daemon as a whole. `queue_age_s` is how long the oldest marked key has waited, 0.0 when none does. `unmet`
    are the first of `unmet_total` reasons why the node, an attachment or a claim is not as wished."""

    ready: bool
    version: str
    started_at: float
    conditions: tuple[Condition, ...]
    pools: tuple[PoolUsage, ...]
    phases: Mapping[str, int]
    counters: Counters
    queue_length: int = 0
    queue_age_s: float = 0.0
    last_slice_at: float = 0.0
    unmet: tuple[Unmet, ...] = ()
    unmet_total: int = 0
    uplinks: tuple[Uplink, ...] = ()


@dataclass(frozen=True, slots=True)
class Traffic:
    """What went over an attachment since its link was made, seen from the workload."""

    key: AttachmentKey
    received_bytes: int
    received_packets: int
    sent_bytes: int
    sent_packets: int
