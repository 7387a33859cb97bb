"""What a scrape tells, frozen: what the daemon counts anyway, and what is read for it of the kernel and the disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from netplumb.models.attachment import Attachment, AttachmentKey
from netplumb.models.networkpolicy import Direction
from netplumb.models.status import NodeStatus
from netplumb.reconciler.kernel.nftables.counters import Dropped
from netplumb.reconciler.kernel.rtnetlink.linkstats import Traffic
from netplumb.reconciler.status.tally import Distribution


@dataclass(frozen=True, slots=True)
class Counted:
    """What the event loop's thread tells. `links` are the workloads' links on the node by index, None where traffic is
    not told by workload; `policed` is whether there are network policies."""

    status: NodeStatus
    attachments: Sequence[Attachment]
    attaching: Distribution
    detaching: Distribution
    passing: Distribution
    passing_node: Distribution
    resyncing: Distribution
    repaired: Mapping[str, Distribution]
    fights: int
    refusals: int
    transactions: int
    links: Mapping[int, AttachmentKey] | None = None
    policed: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """What is read beside it, of which any may fail by itself and is left out then. `denied` is what network policies
    denied, by the link of the workload that they isolate."""

    dropped: Sequence[Dropped] | None = None
    traffic: Mapping[AttachmentKey, Traffic] = field(default_factory=dict)
    denied: Mapping[Direction, Mapping[str, int]] = field(default_factory=dict)
    store_bytes: Mapping[str, int] = field(default_factory=dict)
