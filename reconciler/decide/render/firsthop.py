"""PURE: the addresses on the node's loopback: the workloads' first hop, and the node's own in each pool.

The first hop has link scope so that the kernel never picks it as a source towards the outside.
"""

from __future__ import annotations

from collections.abc import Iterator

from netplumb.models.kernel import FIRST_HOP_V4, RT_SCOPE_LINK, Address, KernelObject, LinkUp, Scope
from netplumb.models.network import Node


def render_first_hop(node: Node) -> Iterator[KernelObject]:
    yield LinkUp(Scope.NODE, "lo")
    yield Address(Scope.NODE, "lo", FIRST_HOP_V4, 32, RT_SCOPE_LINK)
    for address in node.node_addresses:
        if address.version == 4 or node.ipv6:
            yield Address(Scope.NODE, "lo", address.packed, address.max_prefixlen)
