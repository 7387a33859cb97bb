"""PURE: the node's forwarding switches.

Turning IPv6 forwarding on makes the kernel drop the default route that an interface with accept_ra=1 learnt from
router advertisements (moby/moby #43466), so those interfaces get accept_ra=2 first: they come first here, and a
plan keeps the order of objects of one rank. Whoever makes an interface may switch that off right then, which stays.
"""

from __future__ import annotations

from collections.abc import Iterator

from netplumb.models.kernel import KernelObject, Scope, Sysctl
from netplumb.models.network import Node

IP_FORWARD = "net/ipv4/ip_forward"
IPV6_FORWARDING = "net/ipv6/conf/all/forwarding"


def accept_ra(if_name: str) -> str:
    return f"net/ipv6/conf/{if_name}/accept_ra"


def ours(name: str) -> str:
    """What netplumb sets this switch to."""
    return "2" if name.endswith("/accept_ra") else "1"


def render_forwarding(node: Node) -> Iterator[KernelObject]:
    yield Sysctl(Scope.NODE, IP_FORWARD, "1")
    if node.ipv6:
        for if_name in node.around.accept_ra_interfaces:
            yield Sysctl(Scope.NODE, accept_ra(if_name), "2", instead_of="1")
        yield Sysctl(Scope.NODE, IPV6_FORWARDING, "1")
