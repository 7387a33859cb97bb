"""Workloads' side of the way: out of a namespace, and into one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from netplumb.models.attachment import Attachment
from netplumb.models.base import IPAddress, IPNetwork
from netplumb.models.errors import NotANetworkNamespace, StepError
from netplumb.models.lookups import Lookup, Question
from netplumb.models.naming import node_if_name
from netplumb.models.nodestate import LinkState
from netplumb.reconciler.kernel.namespaces import LO_INDEX, NamespaceMissingError
from netplumb.reconciler.tracing.course import LOCAL, Course
from netplumb.reconciler.tracing.flow import Flow
from netplumb.reconciler.tracing.hops import NotFollowedError, PacketEndsError
from netplumb.reconciler.tracing.views import View
from netplumb.reconciler.tracing.words import inside_workload


class Workloads:
    """`open_view` opens a namespace, once; addresses of `pools` are a workload's or nobody's. Links on the node are
    those of the attachments that are known."""

    def __init__(
        self,
        course: Course,
        node: View,
        attachments: Sequence[Attachment],
        open_view: Callable[[Attachment], View],
        pools: Sequence[IPNetwork] = (),
    ) -> None:
        self.by_link = {node_if_name(it.key): it for it in attachments}
        self._course = course
        self._node = node
        self._open_view = open_view
        self._pools = pools
        self._views: dict[str, View] = {}

    @property
    def views(self) -> Mapping[str, View]:
        """By the name of the node's end, in the order in which it came to them."""
        return self._views

    def view(self, attachment: Attachment) -> View:
        name = node_if_name(attachment.key)
        if name not in self._views:
            try:
                self._views[name] = self._open_view(attachment)
            except (NamespaceMissingError, NotANetworkNamespace) as error:
                raise PacketEndsError(
                    f"{attachment.key} has no network namespace any more: {error}",
                    f"start the workload again, or: netplumb detach {attachment.spec.workload_id}",
                ) from None
            except StepError as error:  # which says nothing of the workload
                heal = "run it as root" if error.wants_root else ""
                raise NotFollowedError(f"{attachment.key}: {error}", heal) from None
        return self._views[name]

    def leave(self, attachment: Attachment, flow: Flow) -> Attachment | None:
        """Out of the workload; returns the attachment by whose link, None where it is for the workload itself."""
        view = self.view(attachment)
        self._own_link(attachment, view)
        found, link = self._course.sent(view, flow)
        if found.type == LOCAL:
            if (lo := view.links.get(LO_INDEX)) is not None and not lo.up:
                heal = inside_workload("ip link set lo up", view.path)
                raise PacketEndsError(f"{view.name}: the loopback is down inside", heal)
            if not flow.answer:
                self._course.arrives(view, flow)
            return None
        self._course.goes_somewhere(view, flow, found, link)
        by = attachment if link.name == attachment.spec.if_name else self._sibling(attachment, link)
        if by is None:
            raise NotFollowedError(
                f"{view.name}: it leaves by {link.name}, which is not netplumb's",
                f"if it should leave by {attachment.spec.if_name}, see which route leads there: "
                f"nsenter --net={attachment.spec.netns.where} ip route show match {flow.dst}",
            )
        self._course.through(view, flow, ("output", "postrouting", "egress"), None, link)
        self._course.routed_by_mark(view, flow, flow.question(), found)
        if not flow.answer:
            self._chosen_source(view, flow, found, link)
        hop = found.gateway or flow.dst
        if view.remembers_silent(link.index, hop):
            raise PacketEndsError(f"{view.name}: nobody answers for the first hop {hop}", _check(by))
        _meant_for(view, link, hop, self.node_end(by), by)
        return by

    def enter(self, flow: Flow, link: LinkState) -> None:
        """From the node's end to the socket."""
        attachment = self.by_link.get(link.name)
        if attachment is None:
            raise NotFollowedError(f"{link.name} is the link of a workload that is not known")
        view = self.view(attachment)
        inside = self._own_link(attachment, view)
        _meant_for(self._node, link, flow.dst, inside, attachment)
        self._course.through(view, flow, ("ingress", "prerouting"), inside)
        if view.route(Question(flow.dst)).type != LOCAL:
            raise PacketEndsError(f"{view.name}: {flow.dst} is no address of the workload any more", _check(attachment))
        if (found := view.route(flow.question(inside.index))).error:
            raise self._course.refused(view, found, flow, inside)
        self._course.through(view, flow, ("input",), inside)
        if flow.answer:
            self._course.tell(view.name, "the answer arrives", answer=True)
        else:
            self._course.arrives(view, flow)

    def node_end(self, attachment: Attachment) -> LinkState:
        name = node_if_name(attachment.key)
        link = self._node.link(name)
        if link is not None and link.running:
            return link
        state = "is missing"
        if link is not None:
            state = "has no carrier, since the other end is down or gone" if link.up else "is down"
        raise PacketEndsError(f"the node's end {name} of {attachment.key} {state}", _check(attachment))

    def published(self, flow: Flow) -> list[str]:
        """As what workloads have the port published that it asks for, whether or not that means this packet."""
        found = []
        for it in self.by_link.values():
            within = any(ip.version == flow.dst.version for ip in it.addresses)
            for mapping in it.spec.port_mappings:
                if mapping.host_port <= flow.dport <= mapping.last_host_port:
                    less = "" if within else f", which has no IPv{flow.dst.version} address,"
                    found.append(f"for {it.key}{less} as {mapping}")
        return found

    def holder(self, ip: IPAddress) -> Attachment | None:
        return next((it for it in self.by_link.values() if ip in it.addresses), None)

    def miss(self, ip: IPAddress, link: str, length: int) -> None:
        """Raises PacketEndsError where an address should be behind another link of the node than a route of this length
        leads to: it is a workload's whose own route is gone, or one of a pool that nobody has."""
        if (attachment := self.holder(ip)) is not None:
            self.view(attachment)
            self.node_end(attachment)
            raise PacketEndsError(
                f"node: {ip} is {attachment.key}, and its route is missing: it would leave by {link}",
                _check(attachment),
            )
        # A pool may be part of a network that the node is connected to.
        if (pool := next((it for it in self._pools if ip in it and length < it.prefixlen), None)) is not None:
            raise PacketEndsError(
                f"node: no workload has {ip}, of the pool {pool}: it would leave by {link}",
                "see who has which address: netplumb list",
            )

    def _own_link(self, attachment: Attachment, view: View) -> LinkState:
        name = attachment.spec.if_name
        link = view.link(name)
        if link is None:
            raise PacketEndsError(f"{view.name}: there is no interface {name} in its namespace", _check(attachment))
        if not link.up:
            heal = inside_workload(f"ip link set {name} up", view.path)
            raise PacketEndsError(f"{view.name}: the interface is down inside", heal)
        return link

    def _chosen_source(self, view: View, flow: Flow, found: Lookup, link: LinkState) -> None:
        """Most programs leave it to the kernel from which address they send."""
        chosen = view.route(replace(flow.question(), src=None)).source
        if chosen in (None, flow.src) or any(chosen in it.addresses for it in self.by_link.values()):
            return
        flag, via = " -6" if flow.dst.version == 6 else "", f" via {found.gateway}" if found.gateway is not None else ""
        line = f"ip{flag} route replace {flow.dst}{via} dev {link.name} src {flow.src}"
        why = f"unless told otherwise {view.name} sends from {chosen}, which is dropped, since netplumb gave it another"
        self._course.beside[why] = inside_workload(line, view.path)

    def _sibling(self, attachment: Attachment, link: LinkState) -> Attachment | None:
        """The attachment of another interface of the same workload."""
        same = (it for it in self.by_link.values() if it.spec.workload_id == attachment.spec.workload_id)
        return next((it for it in same if it.spec.if_name == link.name), None)


def _meant_for(view: View, link: LinkState, hop: IPAddress, other: LinkState, attachment: Attachment) -> None:
    """Raises PacketEndsError where it is sent to another MAC than that of the other end, which throws it away then."""
    mac = view.neighbour_mac(link.index, hop)
    if mac and mac != other.mac:
        entry = f"its neighbour entry on {link.name}"
        why = f"{view.name}: {hop} is sent to {mac} by {entry}, and {other.name} has {other.mac}"
        raise PacketEndsError(why, _check(attachment))


def _check(attachment: Attachment) -> str:
    """A daemon that runs puts such a thing right by itself, so that something keeps it from that, which it says."""
    return f"netplumb doctor, and: netplumb describe {attachment.key}"
