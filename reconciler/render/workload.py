"""PURE: the workload's side of an attachment: loopback, addresses, first hop and default routes.

The route to the IPv4 first hop is a route of its own, not the onlink flag, which gVisor does not know.
"""

from __future__ import annotations

from collections.abc import Iterator

from models.attachment import Attachment
from models.kernel import (
    FIRST_HOP_MAC,
    FIRST_HOP_V4,
    FIRST_HOP_V6,
    IPV6_METRIC,
    RT_SCOPE_LINK,
    Address,
    KernelObject,
    LinkUp,
    Neighbour,
    Route,
    Scope,
)
from models.network import Families, Node

MAX_PREFERENCE = 1 << 16  # far from where a metric would overflow its 32 bits


def default_route_preference(if_name: str) -> int:
    """The number at the end of the interface's name: of several default routes in one workload, that over eth0 is
    preferred to that over eth1. Equal metrics would make IPv6 share the traffic out over both (ECMP)."""
    digits = if_name[len(if_name.rstrip("0123456789")) :]
    return int(digits or 0)


def render_workload(attachment: Attachment, _: Node, families: Families) -> Iterator[KernelObject]:
    name = attachment.spec.if_name
    addresses = [address for address in attachment.addresses if families.has(address)]
    preference = min(default_route_preference(name), MAX_PREFERENCE)
    yield LinkUp(Scope.WORKLOAD, "lo")
    for address in addresses:
        yield Address(Scope.WORKLOAD, name, address.packed, address.max_prefixlen)
    yield LinkUp(Scope.WORKLOAD, name)
    if (first_v4 := next((a.packed for a in addresses if a.version == 4), None)) is not None:
        yield Neighbour(Scope.WORKLOAD, name, FIRST_HOP_V4, FIRST_HOP_MAC)
        yield Route(Scope.WORKLOAD, FIRST_HOP_V4, 32, name, prefsrc=first_v4, rt_scope=RT_SCOPE_LINK)
        yield Route(Scope.WORKLOAD, bytes(4), 0, name, FIRST_HOP_V4, first_v4, metric=preference)
    if (first_v6 := next((a.packed for a in addresses if a.version == 6), None)) is not None:
        yield Neighbour(Scope.WORKLOAD, name, FIRST_HOP_V6, FIRST_HOP_MAC)
        yield Route(Scope.WORKLOAD, bytes(16), 0, name, FIRST_HOP_V6, first_v6, metric=IPV6_METRIC + preference)
