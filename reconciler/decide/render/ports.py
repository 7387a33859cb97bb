"""PURE: ports of the node that lead to workloads.

Every port is an element of a hash map, so a packet's way is the same for one mapping and for thousands, and so is the
price of adding one. Only what is sent to an address of the node is looked up: what a workload sends to somebody else on
that port goes there. Who asks from an IPv6 link-local address asks the node itself: nothing from there is forwarded,
translated or not.

What the node itself sends to 127.0.0.1 or [::1] is mapped too. The kernel lets it leave the loopback for a link that
has route_localnet, or that has a local route to ::1, and such a source is replaced by an address of the node. A
workload that asks the node for its own port is answered by itself, so that its source is replaced too.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from ipaddress import ip_address

from netplumb.models.attachment import Attachment
from netplumb.models.base import IPAddress
from netplumb.models.kernel import LOCALHOST_ROUTE_METRIC, RT_TABLE_LOCAL, RTN_LOCAL, KernelObject, Route, Scope
from netplumb.models.naming import node_if_name
from netplumb.models.network import Families, Node
from netplumb.models.nft import NftChain, NftElement, canonical_rule, hairpin_set, port_sets
from netplumb.models.ports import Place, PortMapping, places
from netplumb.reconciler.decide.render.expressions import (
    PRIORITY_DSTNAT,
    RETURN,
    Expression,
    jump,
    match,
    payload,
    port_key,
    prefix,
)

PORTS = "ports"
LOCALHOST_V6 = ip_address("::1")

_FROM_LINK_ALONE = match(payload("ip6", "saddr"), prefix("fe80::", 10))
_TO_THE_NODE = match({"fib": {"result": "type", "flags": ["daddr"]}}, "local")


def render_port_chains(_: Node) -> Iterator[NftChain]:
    jump_to_ports = (canonical_rule([_TO_THE_NODE, jump(PORTS)]),)
    rules = [
        canonical_rule([_destination(family, at_one_address=at_one)])
        for family in (4, 6)
        for at_one in (True, False)  # what is mapped at one address of the node goes before what is at every one
    ]
    rules.insert(0, canonical_rule([_FROM_LINK_ALONE, RETURN], "link-local, and so not to be forwarded"))
    yield NftChain(PORTS, rules=tuple(rules))
    yield NftChain("prerouting", "nat", "prerouting", PRIORITY_DSTNAT, "accept", jump_to_ports)
    yield NftChain("output", "nat", "output", PRIORITY_DSTNAT, "accept", jump_to_ports)


def _destination(family: int, *, at_one_address: bool) -> Expression:
    ip = "ip" if family == 4 else "ip6"
    key = port_key(family, at_one_address=at_one_address)
    addresses, ports = port_sets(family, at_one_address=at_one_address)
    return {
        "dnat": {
            "family": ip,
            "addr": {"map": {"key": key, "data": f"@{addresses.name}"}},
            "port": {"map": {"key": key, "data": f"@{ports.name}"}},
        }
    }


def render_port_elements(attachment: Attachment) -> Iterator[NftElement]:
    """The attachment's part of the maps. It does not depend on what the kernel holds, so that it can be said of an
    attachment as well as of all of them."""
    if not attachment.spec.port_mappings:
        return
    owner = node_if_name(attachment.key)
    elsewhere = set(places(attachment.ports_elsewhere))
    for address in first_addresses(attachment):
        for mapping in attachment.spec.port_mappings:
            yield from _elements(mapping, address, owner, elsewhere)
        # By a port of another of its interfaces it asks itself as well.
        for own in (address, *(it for it in attachment.siblings if it.version == address.version)):
            yield NftElement(hairpin_set(address.version).name, (str(own), str(address)), owner=owner)


def _elements(
    mapping: PortMapping, address: IPAddress, owner: str, elsewhere: Container[Place]
) -> Iterator[NftElement]:
    at = mapping.bound_ip
    addresses, ports = port_sets(address.version, at_one_address=at is not None)
    where = (str(at),) if at is not None else ()
    for port, leads_to in mapping.leads((address.version,)):
        if (port, at) not in elsewhere:
            matched = (*where, port.protocol.number, port.port)
            yield NftElement(addresses.name, matched, str(address), owner)
            yield NftElement(ports.name, matched, leads_to, owner)


def first_addresses(attachment: Attachment) -> Iterator[IPAddress]:
    """The first address of each family: where the node's ports lead."""
    for version in (4, 6):
        yield from [address for address in attachment.addresses if address.version == version][:1]


def maps_localhost(attachment: Attachment, version: int) -> bool:
    """Whether 127.0.0.1 or [::1] on the node leads to the workload over this interface."""
    elsewhere = set(places(attachment.ports_elsewhere))
    return any(
        (port, mapping.bound_ip) not in elsewhere
        for mapping in attachment.spec.port_mappings
        if mapping.bound_ip is None or mapping.bound_ip.is_loopback
        for port, _ in mapping.leads((version,))
    )


def render_localhost(attachment: Attachment, _: Node, families: Families) -> Iterator[KernelObject]:
    """What lets [::1] leave over the workload's link; for 127.0.0.1 the link itself has a switch."""
    if families.v6 and maps_localhost(attachment, 6):
        yield Route(
            Scope.NODE,
            LOCALHOST_V6.packed,
            128,
            node_if_name(attachment.key),
            metric=LOCALHOST_ROUTE_METRIC,
            table=RT_TABLE_LOCAL,
            type=RTN_LOCAL,
        )
