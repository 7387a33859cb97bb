"""PURE: the node's end of an attachment: the veth, and the neighbours on it.

No address is put on the node's end: with one on each, the kernel's own work would grow with their number. A proxy
neighbour answers for the IPv6 first hop instead; the IPv4 one is an address of the node on lo.

Forwarding is said of each link, since that of the node need not hold for links to come (`conf.default.forwarding`). In
IPv6 it is what lets the proxy neighbour answer.
"""

from __future__ import annotations

from collections.abc import Iterator

from netplumb.models.attachment import Attachment
from netplumb.models.kernel import (
    ADDR_GEN_MODE_NONE,
    FIRST_HOP_MAC,
    FIRST_HOP_V6,
    LINK_GROUP,
    KernelObject,
    Link,
    LinkUp,
    Neighbour,
    Scope,
)
from netplumb.models.naming import alias_of, node_if_name
from netplumb.models.network import Families, Node
from netplumb.reconciler.decide.render.ports import maps_localhost
from netplumb.reconciler.decide.render.sourcerouting import workload_group


def render_veth(attachment: Attachment, node: Node, families: Families) -> Iterator[KernelObject]:
    key = attachment.key
    name, if_name = node_if_name(key), attachment.spec.if_name
    mac = bytes.fromhex(attachment.mac.replace(":", ""))
    mtu = attachment.mtu_on(node.mtu)
    yield Link(
        Scope.NODE,
        name,
        mac=FIRST_HOP_MAC,
        mtu=mtu,
        group=LINK_GROUP,
        alias=alias_of(key),
        addr_gen_mode=ADDR_GEN_MODE_NONE if families.v6 else None,
        proxy_ndp=True if families.v6 else None,
        # What others switched on, for mappings of theirs, is left on: guards keep workloads from the node's loopback.
        route_localnet=True if maps_localhost(attachment, 4) else None,
        forwarding_v4=True,
        forwarding_v6=True if families.v6 else None,
        ipv6=True if families.v6 else None,
        arp=True,
        # Whoever is answered takes a place among the neighbours, of which the kernel keeps a thousand, in one table for
        # all of its namespaces: one workload that asks in many names would leave none for the node's gateway.
        arp_filter=True,
        master=0,  # a guard knows what a workload sends by this link's group, and a master has another
        peer=if_name,
    )
    yield Link(Scope.WORKLOAD, if_name, mac=mac, mtu=mtu, group=workload_group(attachment), arp=True, peer=name)
    yield LinkUp(Scope.NODE, name)
    if families.v6:
        yield Neighbour(Scope.NODE, name, FIRST_HOP_V6, proxy=True)
    for address in attachment.addresses:
        if families.has(address):
            yield Neighbour(Scope.NODE, name, address.packed, mac)
