"""The node as others see it: by which interfaces it reaches the outside, and at which addresses it is reached."""

from __future__ import annotations

from netplumb.models.kernel import Scope
from netplumb.reconciler.kernel import decode, encode
from netplumb.reconciler.kernel import rtnetlink as rt
from netplumb.reconciler.kernel.channel import Channel


def uplinks(channel: Channel) -> frozenset[str]:
    """The interfaces of default routes. Raises Retryable."""
    indexes = {
        index
        for family in (rt.AF_INET, rt.AF_INET6)
        for _, body in channel.dump(rt.RTM_GETROUTE, encode.dump_routes(family))
        if (index := decode.default_route_link(body)) is not None
    }
    replies = channel.transact([encode.get_link_by_index(index) for index in indexes])
    return frozenset(decode.link(Scope.NODE, reply.parts[0][1])[0].name for reply in replies if reply.parts)


def addresses(channel: Channel) -> frozenset[bytes]:
    """Every address of the node. Raises Retryable."""
    return frozenset(decode.address_ip(body) for _, body in channel.dump(rt.RTM_GETADDR, encode.dump_addresses(0)))
