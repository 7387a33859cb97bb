"""PURE: which flows the kernel would translate otherwise, or drop, if they began now.

NAT is decided by the first packet of a flow. A flow that began while something of ours was missing, or before a port
was mapped, goes on as it began for as long as packets come. Such a flow has to be forgotten, and no other: a flow that
is right is somebody's connection. So what other programs translate is left alone, and so is what cannot be told apart
from it:

- to a port of the node that leads to a workload: wrong if it leads elsewhere, unless another program led it there;
- to a port that led to a workload and no longer does: wrong if it still goes there;
- from or to a workload, with a source address that the node gave it and no longer has: wrong;
- from a workload to the outside while masquerading is on: wrong with the workload's own source, or with one that the
  node took for want of a better (`unfit`);
- from a workload to itself by a port of the node, or from the node's loopback: wrong with that source;
- between workloads that are isolated from each other: wrong. The guards drop what the client sends, whenever the flow
  began; this ends the answers;
- what network policies would not let begin: wrong, for the same reason;
- of a workload that is gone, where there are policies: wrong, since policies let answers pass unasked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from netplumb.models.attachment import Attachment, AttachmentKey
from netplumb.models.base import IPAddress, IPNetwork
from netplumb.models.flows import Flow
from netplumb.models.kernel import Key
from netplumb.models.naming import node_if_name
from netplumb.models.nft import (
    WORKLOADS_CLOSED,
    WORKLOADS_OPEN,
    NftElement,
    NftSet,
)
from netplumb.models.nodenetwork import NodeNetwork
from netplumb.models.ports import Port
from netplumb.reconciler.decide.policies.flows import PolicedFlows
from netplumb.reconciler.decide.portmaps import target_of
from netplumb.reconciler.decide.suspects import Suspects

_TCP = 6


def unfit(node_addresses: Iterable[IPAddress], known: NodeNetwork) -> frozenset[bytes]:
    """The node's addresses in pools, if it also has others: masquerading takes them only while there are no others, and
    no answer from outside finds its way to them."""
    others = {ip for ip, _ in known.foreign}
    versions = {ip.version for ip in others}
    return frozenset(ip.packed for ip in node_addresses if ip.version in versions and ip not in others)


def links_of(attachments: Iterable[Attachment]) -> dict[bytes, tuple[str, ...]]:
    """For each address of a workload, the links that its packets may come by: the address's own link first."""
    found: dict[bytes, tuple[str, ...]] = {}
    for record in attachments:
        spec = record.spec
        default = AttachmentKey(spec.workload_id, record.default_route_by or spec.if_name)
        by = dict.fromkeys((node_if_name(record.key), node_if_name(default)))
        found.update((address.packed, tuple(by)) for address in record.addresses)
    return found


@dataclass(frozen=True, slots=True)
class Course:
    """What decides where flows lead. `element` looks up an element of the nftables table; `is_local` says whether the
    node takes an address for its own. Without `links`, only flows by ports can be judged."""

    element: Callable[[Key], NftElement | None]
    ports: Collection[Port]
    prefixes: Sequence[IPNetwork]
    is_local: Callable[[bytes], bool]
    links: Mapping[bytes, Sequence[str]] = field(default_factory=dict)
    masquerade: bool = True
    isolate_workloads: bool = False
    cluster: Sequence[IPNetwork] = ()
    unfit: Collection[bytes] = ()
    former: Suspects = field(default_factory=Suspects)
    policed: PolicedFlows | None = None
    leaves_as: Callable[[bytes, bytes, bytes], bool] = lambda *_: True
    """Whether what goes from the first address to the second leaves with the third now, judging by the routes."""

    def is_wrong(self, flow: Flow) -> bool:
        port = (4 if len(flow.to[0]) == 4 else 6, flow.protocol, flow.to[1])
        if port in self.ports and self._is_led_elsewhere(port, flow):
            return True
        if self._is_left_behind(flow) or self._is_answered_nowhere(flow) or self._is_forbidden(flow):
            return True
        if (links := self.links.get(flow.source[0])) is None:
            return False
        if (other := self.links.get(flow.answerer[0])) is not None:
            return not self._are_one(flow.source[0], flow.answerer[0]) and self._are_apart(links, other)
        return self.masquerade and self._leaves_as_itself(flow)

    def is_cut(self, flow: Flow) -> bool:
        """Whether a wrong flow is marked instead of forgotten. Any datagram begins a flow, so a server that may send to
        the client would begin it again with its next answer; with TCP only a SYN passes the policies."""
        return flow.protocol != _TCP and not self._is_of_nobody(flow) and self._is_forbidden(flow)

    def is_allowed_again(self, flow: Flow) -> bool:
        """Whether policies allow a flow that was cut."""
        return self.policed is not None and self.policed.allow(flow)

    def _is_left_behind(self, flow: Flow) -> bool:
        """By a workload that is gone. If another has its address by now, the flow may be that one's own. With TCP that
        is not risked, since an ended connection would be noticed."""
        if self.former.departed.isdisjoint((flow.source[0], flow.answerer[0])):
            return False
        return flow.protocol != _TCP or self._is_of_nobody(flow)

    def _is_of_nobody(self, flow: Flow) -> bool:
        return any(ip in self.former.departed and ip not in self.links for ip in (flow.source[0], flow.answerer[0]))

    def _is_answered_nowhere(self, flow: Flow) -> bool:
        """It uses an address that the node no longer has, by masquerading or by a port of the node."""
        if flow.answered[0] not in self.former.sources or not flow.is_masked:
            return False
        of_a_workload = flow.source[0] in self.links or flow.answerer[0] in self.links
        return of_a_workload and not self.is_local(flow.answered[0])

    def _is_forbidden(self, flow: Flow) -> bool:
        """By network policies."""
        return (
            self.policed is not None
            and not self._are_one(flow.source[0], flow.answerer[0])
            and self.policed.forbid(flow)
        )

    def _is_led_elsewhere(self, port: Port, flow: Flow) -> bool:
        to, answerer = flow.to[0], flow.answerer
        target = target_of(port, to, self.element)
        if target is None:
            return flow.is_redirected and answerer[0] in self.former.targets
        if answerer == target:
            source = flow.source[0]
            return not flow.is_masked and (self._are_one(source, answerer[0]) or ip_address(source).is_loopback)
        if not flow.is_redirected:
            return self.is_local(to) and not _is_of_a_link_alone(flow.source[0])
        return answerer[0] in self.former.targets or self._is_a_workloads(answerer[0])

    def _are_one(self, one: bytes, other: bytes) -> bool:
        """Whether both are addresses of one workload: the last link of each is that of its default route."""
        by, to = self.links.get(one), self.links.get(other)
        return one == other or (by is not None and to is not None and by[-1] == to[-1])

    def _is_a_workloads(self, ip: bytes) -> bool:
        address = ip_address(ip)
        return any(address in prefix for prefix in self.prefixes)

    def _leaves_as_itself(self, flow: Flow) -> bool:
        """Or with an address that it would not be given now. Between nodes of a cluster its own address is right."""
        answerer = flow.answerer[0]
        if all(any(ip_address(ip) in prefix for prefix in self.cluster) for ip in (flow.source[0], answerer)):
            return False
        if flow.is_masked and flow.answered[0] not in self.unfit:
            left = flow.answered[0] in self.former.left
            return left and not self.leaves_as(flow.source[0], answerer, flow.answered[0])
        return not self.is_local(answerer) and _is_elsewhere(answerer)

    def _are_apart(self, links: Sequence[str], others: Sequence[str]) -> bool:
        """Whichever of its links the workload sends by."""
        return all(self._is_kept_from(link, others[0]) for link in links)

    def _is_kept_from(self, link: str, other: str) -> bool:
        """Decides as the guards do."""

        def stands(declared: NftSet) -> bool:
            return any(self.element((NftElement, declared.name, (name,))) is not None for name in (link, other))

        return not stands(WORKLOADS_OPEN) and (self.isolate_workloads or stands(WORKLOADS_CLOSED))


def _is_of_a_link_alone(ip: bytes) -> bool:
    """Whether it is link-local: no port of the node leads such a client to a workload."""
    address = ip_address(ip)
    return address.version == 6 and address.is_link_local


def _is_elsewhere(ip: bytes) -> bool:
    """Whether a packet to this address can leave the node at all."""
    address = ip_address(ip)
    return not (address.is_multicast or address.is_link_local or address.is_unspecified or ip == b"\xff" * 4)
