"""Follows a packet and its answer from namespace to namespace, as the kernel hands it on."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address

from netplumb.models.attachment import Attachment
from netplumb.models.base import IPAddress
from netplumb.models.errors import NotANetworkNamespace, StepError
from netplumb.models.kernel import LINK_GROUP
from netplumb.models.lookups import Lookup, Question
from netplumb.models.naming import node_if_name
from netplumb.models.nodestate import LinkState
from netplumb.models.ports import End as MappedTo
from netplumb.models.ports import Port, Protocol
from netplumb.reconciler.kernel.namespaces import NamespaceMissingError
from netplumb.reconciler.tracing.ends import End
from netplumb.reconciler.tracing.filters import Filters, Flow
from netplumb.reconciler.tracing.hops import Hop, NotFollowedError, Outcome, PacketEndsError, Trace
from netplumb.reconciler.tracing.views import View
from netplumb.reconciler.tracing.words import OUR_TABLE, dropped_by, inside_workload, refusal, route_words

_LOCAL = "local"
_STRICT = 1
_SILENT = frozenset({"failed", "incomplete"})


class Walk:
    """`open_view` opens a workload's namespace; `target_at` says where a port of the node leads at an address of it.
    What is sent to an address of the node from outside comes in by the link that has it, of `address_links`."""

    def __init__(
        self,
        node: View,
        attachments: Sequence[Attachment],
        open_view: Callable[[Attachment], View],
        target_at: Callable[[Port, bytes], MappedTo | None],
        address_links: Mapping[IPAddress, int],
    ) -> None:
        self._node = node
        self._attachments = {node_if_name(it.key): it for it in attachments}
        self._open_view = open_view
        self._target_at = target_at
        self._address_links = address_links
        self._views: dict[str, View] = {}
        self._filters: dict[str, Filters] = {}
        self.trace = Trace()
        self.left_by: tuple[str, IPAddress] | None = None
        """By which link it leaves the node, to which next hop."""
        self.left_as: IPAddress | None = None

    def follow(self, source: End, flow: Flow) -> Trace:
        """There and back, as far as that is on this machine."""
        try:
            reached, seen = self._there(source, flow)
            self._back(source, flow, reached, seen)
        except PacketEndsError as end:
            self.trace.outcome = Outcome.UNKNOWN if isinstance(end, NotFollowedError) else Outcome.ENDS
            self.trace.why, self.trace.heal = end.why, end.heal
        doubts = [words for filters in self._filters.values() for words in filters.doubts]
        if doubts and self.trace.outcome is Outcome.ARRIVES:
            self.trace.outcome = Outcome.UNKNOWN
            self.trace.why = "; ".join(dict.fromkeys(doubts))
            self.trace.heal = "--live sends a packet, and sees what becomes of it"
        return self.trace

    def _there(self, source: End, flow: Flow) -> tuple[str, Flow]:
        """Where it was received, and as what."""
        if source.attachment is not None:
            return self._from_workload(source.attachment, flow)
        if source.is_node:
            return self._from_node(flow)
        way = self._node.route(Question(flow.src))
        link = self._node.links.get(self._address_links.get(flow.dst, 0)) or self._node.links.get(way.oif)
        if link is None:
            raise NotFollowedError(f"the node has no route to {flow.src}: by which interface it comes in is not known")
        self._tell("outside", f"{flow.src} sends, and it arrives by {link.name}")
        return self._arrives_at_node(flow, link)

    def _back(self, source: End, flow: Flow, reached: str, seen: Flow) -> None:
        answer = seen.back(seen)
        if reached in self._attachments:
            self._answers_from_workload(self._attachments[reached], answer, flow, source)
        elif reached != "node":
            link = self._node.link(reached)
            if link is not None and (source.attachment is not None or source.is_node):
                self._through_node(answer, link, flow, source)
        elif source.attachment is not None:
            self._leaves_node(answer, source)

    def views(self, source: End) -> list[View]:
        """Those that it came through, the sender's first."""
        first = [self._view(source.attachment)] if source.attachment is not None else []
        return [*first, self._node, *(view for view in self._views.values() if view not in first)]

    # In a workload.

    def _view(self, attachment: Attachment) -> View:
        name = node_if_name(attachment.key)
        if name not in self._views:
            try:
                self._views[name] = self._open_view(attachment)
            except (NamespaceMissingError, NotANetworkNamespace, StepError) as error:
                raise PacketEndsError(
                    f"{attachment.key} has no network namespace any more: {error}",
                    f"start the workload again, or: netplumb detach {attachment.spec.workload_id}",
                ) from None
        return self._views[name]

    def _filters_of(self, view: View) -> Filters:
        return self._filters.setdefault(view.name, Filters(view))

    def _own_link(self, attachment: Attachment, view: View) -> LinkState:
        link, path = view.link(attachment.spec.if_name), attachment.spec.netns.where
        if link is None:
            raise PacketEndsError(
                f"{attachment.key}: there is no interface {attachment.spec.if_name} in its namespace",
                f"netplumb check {attachment.spec.workload_id}",
            )
        if not link.up:
            heal = inside_workload(f"ip link set {link.name} up", path)
            raise PacketEndsError(f"{attachment.key}: the interface is down inside", heal)
        return link

    def _from_workload(self, attachment: Attachment, flow: Flow) -> tuple[str, Flow]:
        view = self._view(attachment)
        self._own_link(attachment, view)
        found, link = self._routed(view, flow, attachment)
        if found.type == _LOCAL:
            self._tell(view.name, f"{flow.dst} is the workload's own")
            self._listened(view, flow)
            return node_if_name(attachment.key), flow
        if link.group != LINK_GROUP and link.name != attachment.spec.if_name:
            sibling = self._sibling(attachment, link)
            if sibling is None:
                raise NotFollowedError(f"{view.name}: it leaves by {link.name}, which is not netplumb's")
            attachment = sibling
        self._hooks(view, flow, ("output", "postrouting"), None, link, attachment)
        hop = found.gateway or flow.dst
        if view.neighbour(link.index, hop) in _SILENT:
            raise PacketEndsError(f"{view.name}: nobody answers for the first hop {hop}", "netplumb check")
        return self._arrives_at_node(flow, self._node_end(attachment))

    def _sibling(self, attachment: Attachment, link: LinkState) -> Attachment | None:
        """The attachment of another interface of the same workload."""
        same = (it for it in self._attachments.values() if it.spec.workload_id == attachment.spec.workload_id)
        return next((it for it in same if it.spec.if_name == link.name), None)

    def _node_end(self, attachment: Attachment) -> LinkState:
        name = node_if_name(attachment.key)
        link = self._node.link(name)
        if link is None:
            raise PacketEndsError(f"the node's end {name} of {attachment.key} is missing", "netplumb check")
        if not link.running:
            state = "has no carrier, since the other end is down or gone" if link.up else "is down"
            why = f"the node's end {name} of {attachment.key} {state}"
            raise PacketEndsError(why, f"netplumb check {attachment.spec.workload_id}")
        return link

    def _into_workload(self, flow: Flow, link: LinkState) -> None:
        """From the node's end to the socket."""
        attachment = self._attachments.get(link.name)
        if attachment is None:
            raise NotFollowedError(f"{link.name} is the link of a workload that is not known")
        view = self._view(attachment)
        inside = self._own_link(attachment, view)
        self._hooks(view, flow, ("ingress", "prerouting"), inside, None, attachment)
        found = view.route(flow.question(inside.index))
        is_its_own = view.route(Question(flow.dst)).type == _LOCAL
        if found.error and is_its_own:
            explained = self._explained(view, found, flow, inside)
            why, heal = refusal(explained, flow.question(inside.index), view.rules, inside.name)
            raise PacketEndsError(f"{view.name}: {why}", inside_workload(heal, attachment.spec.netns.where))
        if not is_its_own:
            why = f"{view.name}: {flow.dst} is no address of the workload any more"
            raise PacketEndsError(why, f"netplumb check {attachment.spec.workload_id}")
        self._hooks(view, flow, ("input",), inside, None, attachment)
        if not flow.answer:
            self._listened(view, flow)

    def _listened(self, view: View, flow: Flow) -> None:
        protocol = next((it for it in Protocol if it.number == flow.protocol), None)
        if protocol in (None, Protocol.SCTP):
            self._tell(view.name, "arrives")
            return
        for listener in view.listeners(protocol, flow.dport):
            if flow.dst.version in listener.versions and listener.ip in (None, flow.dst):
                self._tell(
                    view.name, f"arrives at {view.process_of(listener)}, which listens on {protocol} port {flow.dport}"
                )
                return
        refused = "a reset" if protocol is Protocol.TCP else "an ICMP error"
        raise PacketEndsError(
            f"{view.name}: nobody listens on {protocol} port {flow.dport} at {flow.dst}: it is answered by {refused}",
            "start the service there, or have it listen at this address: ss -lntup",
        )

    def _answers_from_workload(self, attachment: Attachment, answer: Flow, flow: Flow, source: End) -> None:
        view = self._view(attachment)
        found, link = self._routed(view, answer, attachment)
        if found.type == _LOCAL:
            return
        self._hooks(view, answer, ("output", "postrouting"), None, link, attachment)
        self._through_node(answer, self._node_end(attachment), flow, source)

    # On the node.

    def _arrives_at_node(self, flow: Flow, iif: LinkState) -> tuple[str, Flow]:
        flow = self._before_routing(flow, iif)
        return self._routed_on(flow, iif)

    def _from_node(self, flow: Flow) -> tuple[str, Flow]:
        found, oif = self._routed(self._node, flow)
        mapped = self._mapped(flow)
        if mapped is not None:
            flow = self._translated(flow, mapped)
            found, oif = self._routed(self._node, flow)
        self._hooks(self._node, flow, ("output",), None, oif)
        if found.type == _LOCAL:
            self._listened(self._node, flow)
            return "node", flow
        return self._goes_out(flow, None, oif, found)

    def _before_routing(self, flow: Flow, iif: LinkState) -> Flow:
        """What comes before the routing decision: filters, and between them whoever translates it first."""
        filters = self._filters_of(self._node)
        self._hooks(self._node, flow, ("ingress",), iif, None)
        for chain in filters.chains("prerouting", flow.dst.version):
            if chain.type != "nat":
                filters.drops(chain, flow, iif)
            elif flow.answer or "dnat" in flow.translated:
                continue
            elif chain.id.table == OUR_TABLE:
                if (mapped := self._mapped(flow)) is not None:
                    flow = self._translated(flow, mapped)
            else:
                for rule, certain in filters.translates(chain, flow, iif):
                    words, heal = dropped_by(chain, rule, self._node.ruleset)
                    where = words.replace("dropped by", "translated by", 1)
                    if certain:
                        raise NotFollowedError(f"{where}, to somewhere that is not followed", heal)
                    filters.doubts.append(f"it may be {where}")
        return flow

    def _mapped(self, flow: Flow) -> MappedTo | None:
        if self._node.route(replace(flow.question(), src=None)).type != _LOCAL:
            return None
        return self._target_at((flow.dst.version, flow.protocol, flow.dport), flow.dst.packed)

    def _translated(self, flow: Flow, mapped: MappedTo) -> Flow:
        address, port = ip_address(mapped[0]), mapped[1]
        self._tell("node", f"port {flow.dport} leads to {address} port {port}")
        return flow.to(address, port)

    def _routed(self, view: View, flow: Flow, attachment: Attachment | None = None) -> tuple[Lookup, LinkState]:
        """The way that is chosen where it is sent."""
        asked = flow.question(with_source=view is not self._node)
        found = view.route(asked)
        link = view.links.get(found.oif)
        if found.error or link is None:
            why, heal = refusal(found, asked, view.rules)
            if attachment is not None:
                heal = inside_workload(heal.replace("via GATEWAY", "via 169.254.77.1"), attachment.spec.netns.where)
                heal = f"netplumb check {attachment.spec.workload_id}; or: {heal}" if heal else "netplumb check"
            raise PacketEndsError(f"{view.name}: {'the answer: ' if flow.answer else ''}{why}", heal)
        words = f"{flow.src} to {flow.dst}, {route_words(found, link.name, view.rules, asked)}"
        self._tell(view.name, words, answer=flow.answer)
        return found, link

    def _routed_on(self, flow: Flow, iif: LinkState) -> tuple[str, Flow]:
        found, oif = self._way_on(flow, iif)
        if found.type == _LOCAL:
            self._hooks(self._node, flow, ("input",), iif, None)
            if not flow.answer:
                self._listened(self._node, flow)
            return "node", flow
        return self._goes_out(flow, iif, oif, found)

    def _way_on(self, flow: Flow, iif: LinkState) -> tuple[Lookup, LinkState]:
        asked = flow.question(iif.index)
        found = self._node.route(asked)
        link = self._node.links.get(found.oif)
        if found.type == _LOCAL and not found.error:
            self._tell("node", f"arrives by {iif.name}, for the node itself", answer=flow.answer)
            return found, iif
        if found.error or link is None:
            why, heal = refusal(self._explained(self._node, found, flow, iif), asked, self._node.rules, iif.name)
            if not self._forwards(flow, iif):
                name = "net.ipv4.conf" if flow.dst.version == 4 else "net.ipv6.conf"
                why, heal = (
                    f"the node does not forward what arrives by {iif.name}",
                    f"sysctl -w {name}.all.forwarding=1",
                )
            raise PacketEndsError(f"node: {'the answer: ' if flow.answer else ''}{why}", heal)
        if not self._forwards(flow, iif):
            name = "net.ipv4.conf" if flow.dst.version == 4 else "net.ipv6.conf"
            raise PacketEndsError(
                f"node: it does not forward what arrives by {iif.name}", f"sysctl -w {name}.all.forwarding=1"
            )
        words = route_words(found, link.name, self._node.rules, asked)
        self._tell("node", f"arrives by {iif.name}, goes on by {words}", answer=flow.answer)
        return found, link

    def _explained(self, view: View, found: Lookup, flow: Flow, iif: LinkState) -> Lookup:
        """With the errno of the reverse path filter where it is that: kernels since 6.13 answer all with EINVAL."""
        is_plain = found.error == errno.EINVAL and iif.rp_filter
        way_back = view.route(Question(flow.src)).oif
        elsewhere = way_back != iif.index if iif.rp_filter == _STRICT else not way_back
        return replace(found, error=errno.EXDEV) if is_plain and elsewhere else found

    def _forwards(self, flow: Flow, iif: LinkState) -> bool:
        """IPv6 forwards as the node does, whichever interface it is."""
        name = f"net/ipv4/conf/{iif.name}/forwarding" if flow.dst.version == 4 else "net/ipv6/conf/all/forwarding"
        return self._node.switch(name) != "0"

    def _goes_out(self, flow: Flow, iif: LinkState | None, oif: LinkState, found: Lookup) -> tuple[str, Flow]:
        if oif.group != LINK_GROUP:
            self._is_not_a_workloads(flow, oif)
        if iif is not None:
            self._hooks(self._node, flow, ("forward",), iif, oif)
        if (attachment := self._attachments.get(oif.name)) is not None:
            self._node_end(attachment)
        elif not oif.running:
            state = "has no carrier" if oif.up else "is down"
            raise PacketEndsError(f"node: {oif.name}, by which it should leave, {state}", f"ip link set {oif.name} up")
        flow = self._after_routing(flow, iif, oif)
        if oif.group == LINK_GROUP:
            self._into_workload(flow, oif)
            return oif.name, flow
        hop = found.gateway or flow.dst
        self.left_by = (oif.name, hop)
        if self._node.neighbour(oif.index, hop) in _SILENT:
            what = "ARP" if hop.version == 4 else "neighbour discovery"
            raise PacketEndsError(
                f"node: the next hop {hop} on {oif.name} does not answer {what}",
                f"see whether it is there and has this address: arping -I {oif.name} {hop}",
            )
        self.left_as = flow.src
        self._tell("node", f"leaves by {oif.name} to {hop}, from {flow.src}; what is beyond the node is not seen")
        return oif.name, flow

    def _is_not_a_workloads(self, flow: Flow, oif: LinkState) -> None:
        """A workload whose own route is gone is not behind another one."""
        for attachment in self._attachments.values():
            if flow.dst in attachment.addresses:
                self._view(attachment)
                self._node_end(attachment)
                raise PacketEndsError(
                    f"node: {flow.dst} is {attachment.key}, and its route is missing: it would leave by {oif.name}",
                    f"netplumb check {attachment.spec.workload_id}",
                )

    def _after_routing(self, flow: Flow, iif: LinkState | None, oif: LinkState) -> Flow:
        filters = self._filters_of(self._node)
        for chain in filters.chains("postrouting", flow.dst.version):
            if chain.type != "nat":
                filters.drops(chain, flow, iif, oif)
            elif not flow.answer and "snat" not in flow.translated:
                for rule, certain in filters.translates(chain, flow, iif, oif):
                    if certain:
                        flow = self._from_the_node(flow, rule.chain.table != OUR_TABLE)
                        break
        self._hooks(self._node, flow, ("egress",), iif, oif)
        return flow

    def _from_the_node(self, flow: Flow, foreign: bool) -> Flow:
        """With the address that the node itself would send from, as netplumb's masquerading has it."""
        source: IPAddress = self._node.route(replace(flow.question(), src=None)).source or flow.src
        whose = "somebody else's masquerading" if foreign else "masquerading"
        self._tell("node", f"leaves as {source}, by {whose}")
        return replace(flow, src=source, translated=flow.translated | {"snat"})

    # The answer.

    def _through_node(self, answer: Flow, iif: LinkState, sent: Flow, source: End) -> None:
        """An answer that comes in on the node; conntrack gives it the addresses back that were `sent`: its destination
        before it is routed, its source behind that."""
        self._before_routing(answer, iif)
        original = replace(answer, dst=sent.src)
        found, oif = self._way_on(original, iif)
        if found.type == _LOCAL:
            self._hooks(self._node, original, ("input",), iif, None)
            return
        self._hooks(self._node, original, ("forward",), iif, oif)
        original = replace(original, src=sent.dst, sport=sent.dport)
        self._after_routing(original, iif, oif)
        if oif.group == LINK_GROUP and source.attachment is not None:
            self._into_workload(original, oif)
            self._tell(str(source.attachment.key), "the answer arrives", answer=True)

    def _leaves_node(self, answer: Flow, source: End) -> None:
        """The node's own answer to a workload."""
        found, oif = self._routed(self._node, answer)
        self._hooks(self._node, answer, ("output", "postrouting"), None, oif)
        if oif.group == LINK_GROUP and found.type != _LOCAL:
            self._into_workload(answer, oif)
            self._tell(source.name, "the answer arrives", answer=True)

    def _hooks(
        self,
        view: View,
        flow: Flow,
        hooks: Sequence[str],
        iif: LinkState | None,
        oif: LinkState | None,
        attachment: Attachment | None = None,
    ) -> None:
        """Through the filters of these hooks. Raises PacketEndsError, with where it was."""
        filters = self._filters_of(view)
        for hook in hooks:
            for chain in filters.chains(hook, flow.dst.version):
                if chain.type == "nat":
                    continue
                try:
                    filters.drops(chain, flow, iif, oif)
                except PacketEndsError as end:
                    heal = (
                        inside_workload(end.heal, attachment.spec.netns.where) if attachment is not None else end.heal
                    )
                    what = "the answer is " if flow.answer else ""
                    raise PacketEndsError(f"{view.name}: {what}{end.why}", heal) from None

    def _tell(self, where: str, what: str, *, answer: bool = False) -> None:
        self.trace.hops.append(Hop(where, what, answer))
