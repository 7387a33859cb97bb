"""What happened, for people: to an attachment or to the node. Made by the reconciler, read by the API."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from netplumb.models.attachment import AttachmentKey


class EventKind(Enum):
    """What happened, in one word."""

    STARTED = "Started"  # the daemon
    ATTACHED = "Attached"  # all is in the kernel, for the first time or in another namespace
    CHANGED = "Changed"  # another wish for what was attached is, or what follows from others'
    DETACHED = "Detached"
    REPAIRED = "Repaired"  # somebody else changed something, and it is as desired again
    RETRYING = "Retrying"  # a step failed and is tried again
    FAILED = "Failed"  # no retry heals it
    LOST = "Lost"  # the namespace is gone, and the interface with it
    FIGHTING = "Fighting"  # somebody undoes each repair at once
    FIGHT_OVER = "FightOver"
    REFUSED = "Refused"  # a wish that was not recorded
    DENIED = "Denied"  # network policies do not let a packet pass
    CROWDING = "Crowding"  # it holds too many of the flows that the node has room for
    CROWDING_OVER = "CrowdingOver"
    POOL_NEARLY_FULL = "PoolNearlyFull"
    UPLINK_CHANGED = "UplinkChanged"
    GATEWAY_SILENT = "GatewaySilent"  # the next hop of a way out answers nobody
    GATEWAY_ANSWERS = "GatewayAnswers"
    FORWARD_BLOCKED = "ForwardBlocked"  # rules of others drop what workloads send or are sent
    FORWARD_FREE = "ForwardFree"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, or the same again and again: then `count` times, from `first_at` to `at`, in seconds
    since the epoch. `key` is None for the node.

    `found` is what was not as desired, and `done` what was done about it, object by object. `lasted_s` is how long it
    had been so: since it was heard of, or with `at_most` since the last look, which found it right; None where neither
    is known. `number` grows with each event; it and the times are given by who keeps them.
    """

    kind: EventKind
    key: AttachmentKey | None
    message: str
    found: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    lasted_s: float | None = None
    at_most: bool = False
    number: int = 0
    at: float = 0.0
    first_at: float = 0.0
    count: int = 1


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events are asked for. `about` is a workload's id, or one interface of it as in `web-1/eth0`; empty means
    all. `most` keeps the newest so many, 0 all that are kept."""

    about: str = ""
    since: float = 0.0
    most: int = 0

    def asks_for(self, event: Event) -> bool:
        if event.at < self.since:
            return False
        return not self.about or (event.key is not None and self.about in (event.key.workload_id, str(event.key)))
