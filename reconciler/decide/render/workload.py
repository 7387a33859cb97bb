"""PURE: the workload's side of an attachment: loopback, kernel parameters, addresses, first hop and routes.

The route to the IPv4 first hop is a route of its own, not the onlink flag, which gVisor does not know.
"""

from __future__ import annotations

from collections.abc import Iterator
from zlib import crc32

from netplumb.models.attachment import Attachment
from netplumb.models.kernel import (
    FIRST_HOP_MAC,
    FIRST_HOP_V4,
    FIRST_HOP_V6,
    RT_SCOPE_LINK,
    RT_SCOPE_SITE,
    RT_SCOPE_UNIVERSE,
    RT_TABLE_LOCAL,
    RTN_LOCAL,
    Address,
    KernelObject,
    LinkUp,
    Neighbour,
    Route,
    Scope,
    Sysctl,
)
from netplumb.models.network import Families, Node

ANSWERING_METRIC = 1
"""That of the kernel's own route is 0; the two stand side by side."""


_METRICS_V6 = 512  # behind the kernel's own ways to connected networks, before what others leave it to choose: 1024
_METRICS_OF_A_KIND = 256


def metric_v6(if_name: str) -> int:
    """The metric of an interface's IPv6 routes: before a default route of others, as a router's advertisement on a
    second interface brings it, and one of its own for each name of a workload, but for names that hardly meet.

    The kernel makes one route over several interfaces (ECMP) of those that share destination and metric. It would
    share the traffic out over both while one hands its default route to another, and show the preferred source of one
    for both.
    """
    stem = if_name.rstrip("0123456789")
    number = int(if_name[len(stem) :] or 0)
    if stem == "eth" and number < _METRICS_OF_A_KIND:
        return _METRICS_V6 + number
    return _METRICS_V6 + _METRICS_OF_A_KIND + (crc32(stem.encode()) + number) % _METRICS_OF_A_KIND


def render_workload(attachment: Attachment, _: Node, families: Families) -> Iterator[KernelObject]:
    name = attachment.spec.if_name
    addresses = [address for address in attachment.addresses if families.has(address)]
    routes = [(route.dst.network_address.packed, route.dst.prefixlen) for route in attachment.spec.routes]
    if attachment.default_route:
        routes += [(bytes(4), 0), (bytes(16), 0)]
    for switch, value in attachment.spec.sysctls.items():
        yield Sysctl(Scope.WORKLOAD, switch, value)
    yield LinkUp(Scope.WORKLOAD, "lo")
    for address in addresses:
        yield Address(Scope.WORKLOAD, name, address.packed, address.max_prefixlen)
    yield LinkUp(Scope.WORKLOAD, name)
    if (first_v4 := next((a.packed for a in addresses if a.version == 4), None)) is not None:
        yield Neighbour(Scope.WORKLOAD, name, FIRST_HOP_V4, FIRST_HOP_MAC)
        yield Route(Scope.WORKLOAD, FIRST_HOP_V4, 32, name, prefsrc=first_v4, rt_scope=RT_SCOPE_LINK)
        for dst, prefix_len in routes:
            if len(dst) == 4:
                # Of default routes of one metric the kernel takes now this and now that, but where their scopes differ.
                reach = RT_SCOPE_UNIVERSE if prefix_len else RT_SCOPE_SITE
                yield Route(Scope.WORKLOAD, dst, prefix_len, name, FIRST_HOP_V4, first_v4, rt_scope=reach)
    if (first_v6 := next((a.packed for a in addresses if a.version == 6), None)) is not None:
        yield Neighbour(Scope.WORKLOAD, name, FIRST_HOP_V6, FIRST_HOP_MAC)
        for address in addresses:
            if address.version == 6:
                yield _answering(address.packed, name)
        for dst, prefix_len in routes:
            if len(dst) == 16:
                yield Route(Scope.WORKLOAD, dst, prefix_len, name, FIRST_HOP_V6, first_v6, metric=metric_v6(name))


def _answering(ip: bytes, link: str) -> Route:
    """What makes the workload answer at an IPv6 address. The kernel adds a route of its own for that, but from a work
    queue, which on a busy machine has its turn tens of milliseconds after the attachment was said to be complete."""
    return Route(Scope.WORKLOAD, ip, 128, link, metric=ANSWERING_METRIC, table=RT_TABLE_LOCAL, type=RTN_LOCAL)
