"""PURE: the addresses on the node's loopback: the workloads' first hop, and the node's own in each pool.

Both are for workloads alone. The kernel would take one of global scope for a source towards the outside where the
uplink has no address of its own and the node's are on the loopback too (unnumbered uplinks, as routing daemons have
them). So IPv4's have link scope, which still serves as the source that a host route prefers, and IPv6's are deprecated.
"""

from __future__ import annotations

from collections.abc import Iterator

from netplumb.models.base import IPAddress
from netplumb.models.kernel import FIRST_HOP_V4, RT_SCOPE_LINK, Address, KernelObject, LinkUp, Scope
from netplumb.models.network import Node


def render_first_hop(node: Node) -> Iterator[KernelObject]:
    yield LinkUp(Scope.NODE, "lo")
    yield Address(Scope.NODE, "lo", FIRST_HOP_V4, 32, RT_SCOPE_LINK)
    for address in node.node_addresses:
        if address.version == 4 or node.ipv6:
            yield _own(address)


def _own(address: IPAddress) -> Address:
    if address.version == 4:
        return Address(Scope.NODE, "lo", address.packed, 32, RT_SCOPE_LINK)
    return Address(Scope.NODE, "lo", address.packed, 128, deprecated=True)
