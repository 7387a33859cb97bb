"""What is told of network policies: who is selected, who may reach whom and why, and what others would change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from netplumb.models.attachment import AttachmentKey
from netplumb.models.networkpolicy import Manifest


@dataclass(frozen=True, slots=True)
class Denied:
    """How many packets to a workload, and from it, its policies denied; None where they do not isolate it."""

    ingress: int | None = None
    egress: int | None = None


NOTHING_DENIED = Denied()


@dataclass(frozen=True, slots=True)
class PolicyView:
    """What a source declares. It is `in_force` unless another source declared it before; `selects` are the workloads
    that it isolates."""

    manifest: Manifest
    source: str
    in_force: bool
    selects: tuple[AttachmentKey, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """Two ends, each a workload, an interface of it or an address; protocol and port as the second end has them."""

    source: str
    destination: str
    protocol: str = "tcp"
    port: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether it passes, and why at each end, in words."""

    allowed: bool
    source: str
    destination: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Gain:
    """Ports of one protocol that one workload could reach of another, or could no more. Protocol 0 stands for those
    without ports; `version` 0 for both IP versions."""

    source: str
    destination: str
    allowed: bool
    protocol: str
    first: int = 0
    last: int = 0
    version: int = 0


@dataclass(frozen=True, slots=True)
class PolicyDifference:
    """`cut` are flows that exist and would be forgotten, in words; `more` is how many of either are not told. What is
    `waiting` would not count, since another source declares it."""

    gains: Sequence[Gain] = ()
    cut: Sequence[str] = ()
    more: int = 0
    waiting: Sequence[str] = ()
