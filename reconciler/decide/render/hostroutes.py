"""PURE: the node's routes to a workload, one to each of its addresses."""

from __future__ import annotations

from collections.abc import Iterator

from netplumb.models.attachment import Attachment
from netplumb.models.kernel import RT_SCOPE_LINK, RT_SCOPE_UNIVERSE, Route, Scope
from netplumb.models.naming import node_if_name
from netplumb.models.network import Families, Node

HOST_ROUTE_METRIC_V6 = 16
"""Below the 1024 of an IPv6 route without a metric, so that a foreign route to the same host cannot shadow ours. An
IPv4 route has metric 0 and is put before a foreign one instead."""


def preferred_source(attachment: Attachment, version: int) -> bytes | None:
    """The node's address that traffic from the node to this workload comes from, if the node has one."""
    return next((a.packed for a in attachment.node_addresses if a.version == version), None)


def render_host_routes(attachment: Attachment, _: Node, families: Families) -> Iterator[Route]:
    name = node_if_name(attachment.key)
    for address in attachment.addresses:
        if families.has(address):
            yield Route(
                Scope.NODE,
                address.packed,
                address.max_prefixlen,
                name,
                prefsrc=preferred_source(attachment, address.version),
                metric=0 if address.version == 4 else HOST_ROUTE_METRIC_V6,
                rt_scope=RT_SCOPE_LINK if address.version == 4 else RT_SCOPE_UNIVERSE,
            )
