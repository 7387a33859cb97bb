"""Traffic control: what limits a link's rate. All of it is on the node.

A token bucket (tbf) shapes what leaves a link. What comes in can't be queued where it arrives, so it is redirected to
an ifb, a link of its own, whose token bucket shapes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

HANDLE = 0x6E70_0000
"""Our mark on a root qdisc: its handle, 6e70: ("np"), as our links' group."""

PREFERENCE = 0x6E70
"""Our mark on a filter."""

LATENCY_S = 0.05
"""How long a packet may wait for its turn; what would wait longer is dropped, which is what slows TCP down."""

WAITING_PACKETS = 2
"""Beside a burst, so many full packets may wait, however long each takes: with fewer TCP loses more than it sends."""

_TICK_NS = 64  # 1 << PSCHED_SHIFT, include/net/pkt_sched.h


def burst_ticks(burst_bytes: int, rate_bytes_s: int) -> int:
    """The burst in the kernel's ticks, rounded as psched_ratecfg_precompute and psched_l2t_ns round it, so that what
    is read back equals what was wished."""
    factor, shift = 1_000_000_000, 0
    while True:
        multiplier = factor // rate_bytes_s
        if multiplier & 1 << 31 or factor & 1 << 63:
            break
        factor, shift = factor << 1, shift + 1
    return (burst_bytes * (multiplier & 0xFFFFFFFF) >> shift) // _TICK_NS


def queue_bytes(rate_bytes_s: int, packet_bytes: int) -> int:
    """How much may wait beside a burst."""
    return max(int(rate_bytes_s * LATENCY_S), WAITING_PACKETS * packet_bytes)


@dataclass(frozen=True, slots=True)
class Tbf:
    """A token bucket as the root qdisc of a link. `rate` is in bytes a second, `burst` in the kernel's ticks as the
    kernel rounds it, `limit` is the bytes that may wait."""

    rank: ClassVar[int] = 30

    link: str
    rate: int
    burst: int
    limit: int
    burst_bytes: int = field(default=0, compare=False)
    handle: int = HANDLE

    @property
    def key(self) -> tuple[object, ...]:
        return (Tbf, self.link)

    def __str__(self) -> str:
        return f"qdisc tbf dev {self.link} root rate {self.rate * 8}bit limit {self.limit}b"


@dataclass(frozen=True, slots=True)
class IngressQdisc:
    """Where filters on what comes in are hung up. There is one kind and one place, so it is there or not. It is
    `ours` where only our filter hangs there, or none while our ifb is there: it has no mark of its own."""

    rank: ClassVar[int] = 30

    link: str
    ours: bool = field(default=True, compare=False)

    @property
    def key(self) -> tuple[object, ...]:
        return (IngressQdisc, self.link)

    def __str__(self) -> str:
        return f"qdisc ingress dev {self.link}"


@dataclass(frozen=True, slots=True)
class Redirect:
    """A filter that hands all that comes in on a link to another link's egress. `to` is empty where it is not that."""

    rank: ClassVar[int] = 35

    link: str
    to: str

    @property
    def key(self) -> tuple[object, ...]:
        return (Redirect, self.link)

    def __str__(self) -> str:
        return f"filter dev {self.link} ingress pref {PREFERENCE} redirect dev {self.to or '?'}"
