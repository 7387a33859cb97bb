"""The kernel objects of one attachment as bytes: what the daemon renders, planned and encoded before the clock starts.

The interface indexes are chosen beforehand too, so that nothing has to be read back between two sends.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address

from netplumb.models.attachment import Attachment, AttachmentSpec, NetnsRef
from netplumb.models.kernel import Address, Link, LinkUp, Neighbour, Route, Scope
from netplumb.models.naming import node_if_name, workload_mac
from netplumb.models.network import Families, Node
from netplumb.models.steps import Step
from netplumb.reconciler.decide.plan import plan
from netplumb.reconciler.decide.render import render_attachment
from netplumb.reconciler.kernel.namespaces import LO_INDEX
from netplumb.reconciler.kernel.netlink.wire import Request, text
from netplumb.reconciler.kernel.rtnetlink import encode, encodelinks
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt
from tests.bench.wires import Datagram, assemble

POOLS = ("10.214.0.0/16", "fd14::/64")
NODE_ADDRESSES = (ip_address("10.214.0.1"), ip_address("fd14::1"))
NODE = Node(node_addresses=NODE_ADDRESSES)
FIRST_INDEX = 5000


@dataclass(frozen=True, slots=True)
class Objects:
    """One attachment's three deeds on the way up, and the one on the way down."""

    node: Datagram
    proxy_ndp: str
    workload: Datagram
    gone: Datagram


def objects(number: int, netns_path: str, netns_fd: int) -> Objects:
    """Those of the attachment with this number, counted from 0."""
    attachment = _attachment(number, netns_path)
    steps = plan(render_attachment(attachment, NODE, Families()), {}).steps
    index = FIRST_INDEX + number
    node_end, workload_end = (step.thing for step in steps if isinstance(step.thing, Link))
    rest: dict[Scope, list[Request]] = {Scope.NODE: [], Scope.WORKLOAD: []}
    for step in steps:
        if isinstance(step.thing, LinkUp | Address | Neighbour | Route):
            rest[step.thing.scope] += _requests(step, index)
    name = node_if_name(attachment.key)
    return Objects(
        node=assemble([*_pair(node_end, workload_end, index, netns_fd), *rest[Scope.NODE]]),
        proxy_ndp=f"/proc/sys/net/ipv6/conf/{name}/proxy_ndp",
        workload=assemble(rest[Scope.WORKLOAD]),
        gone=assemble(encodelinks.delete_link(index)),
    )


def _attachment(number: int, netns_path: str) -> Attachment:
    spec = AttachmentSpec(workload_id=f"floor-{number}", netns=NetnsRef(path=netns_path))
    addresses = tuple(address + 1 + number for address in NODE_ADDRESSES)
    mac = workload_mac(spec.key)
    return Attachment(spec=spec, source="bench", addresses=addresses, mac=mac, node_addresses=NODE_ADDRESSES)


def _pair(node_end: Link, workload_end: Link, index: int, netns_fd: int) -> list[Request]:
    """As the daemon makes it, less the read; both ends get the index, each in its own namespace."""
    create, second, _ = encodelinks.create_veth(node_end, workload_end, netns_fd)
    for name in (node_end.name, workload_end.name):
        create, second = _with_index(create, name, index), _with_index(second, name, index)
    return [create, second]


def _with_index(request: Request, name: str, index: int) -> Request:
    """The request with the index in the header of the link with this name."""
    named = text(rt.IFLA_IFNAME, name)
    chosen = encodelinks.link_header(index) + named
    return replace(request, body=request.body.replace(encodelinks.link_header(0) + named, chosen))


def _requests(step: Step, link_index: int) -> list[Request]:
    thing = step.thing
    match thing:
        case LinkUp():
            return encodelinks.set_up(LO_INDEX if thing.link == "lo" else link_index)
        case Address():
            return encode.add_address(thing, link_index)
        case Neighbour():
            return encode.add_neighbour(thing, link_index)
        case Route():
            return encode.add_route(thing, link_index)
    raise TypeError(f"no part of an attachment: {thing}")
