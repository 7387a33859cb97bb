"""PURE: how much a workload may receive and send, enforced on the node's end of its link.

What the workload receives leaves that end, where a token bucket shapes it. What the workload sends comes in there and
is handed to an ifb of the attachment's own, whose token bucket shapes it before it goes on.
"""

from __future__ import annotations

from collections.abc import Iterator

from netplumb.models.attachment import Attachment
from netplumb.models.bandwidth import NO_LIMITS, packet_bytes
from netplumb.models.kernel import LINK_GROUP, KernelObject, Link, LinkUp, Scope
from netplumb.models.naming import alias_of, ifb_name, node_if_name
from netplumb.models.network import Families, Node
from netplumb.models.tc import IngressQdisc, Redirect, Tbf, burst_ticks, queue_bytes


def render_bandwidth(attachment: Attachment, node: Node, _: Families) -> Iterator[KernelObject]:
    if attachment.spec.bandwidth == NO_LIMITS:
        return
    mtu = attachment.mtu_on(node.mtu)
    limits = attachment.spec.bandwidth.capped(mtu)
    name, ifb = node_if_name(attachment.key), ifb_name(attachment.key)
    if limits.ingress_rate:
        yield _token_bucket(name, limits.ingress_rate, limits.ingress_burst, mtu)
    if limits.egress_rate:
        alias = alias_of(attachment.key)
        yield Link(Scope.NODE, ifb, kind="ifb", mtu=mtu, group=LINK_GROUP, alias=alias, master=0)
        yield LinkUp(Scope.NODE, ifb)
        yield _token_bucket(ifb, limits.egress_rate, limits.egress_burst, mtu)
        yield IngressQdisc(name)
        yield Redirect(name, ifb)


def _token_bucket(link: str, rate_bits: int, burst_bits: int, mtu: int) -> Tbf:
    rate, burst = rate_bits // 8, burst_bits // 8
    limit = min(queue_bytes(rate, packet_bytes(mtu)) + burst, 0xFFFFFFFF)
    return Tbf(link, rate, burst_ticks(burst, rate), limit, burst_bytes=burst)
