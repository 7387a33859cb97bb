"""What went over the links on the node: RTM_GETSTATS, which tells of a link nothing but its counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct
from typing import TypeVar

from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.netlink.wire import attributes

_RTM_GETSTATS = 94
_MESSAGE = Struct("=BxxxII")  # struct if_stats_msg: family, ifindex, filter_mask
_LINK_64 = 1  # IFLA_STATS_LINK_64
_COUNTS = Struct("=QQQQ")  # the first of struct rtnl_link_stats64: packets and bytes received, then sent


Whose = TypeVar("Whose")


@dataclass(frozen=True, slots=True)
class Traffic:
    """As the link counts it; of a workload's link on the node, what is received is what the workload sends."""

    received_packets: int
    sent_packets: int
    received_bytes: int
    sent_bytes: int


def traffic() -> Mapping[int, Traffic]:
    """That of every link of the calling thread's namespace, by index. Raises Retryable."""
    found = {}
    with Channel() as channel:
        for _, body in channel.dump(_RTM_GETSTATS, _MESSAGE.pack(0, 0, 1 << _LINK_64 - 1)):
            _, index, _ = _MESSAGE.unpack_from(body)
            told = attributes(body, _MESSAGE.size).get(_LINK_64)
            if told is not None:
                found[index] = Traffic(*_COUNTS.unpack_from(told))
    return found


def traffic_of(links: Mapping[int, Whose]) -> Mapping[Whose, Traffic]:
    """That of these links, which are given by index. Raises Retryable."""
    return {links[index]: counts for index, counts in traffic().items() if index in links} if links else {}
