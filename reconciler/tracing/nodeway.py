"""The node's side of the way: filters, mapped ports, routing, masquerading, and out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import ip_address

from netplumb.models.base import IPAddress
from netplumb.models.kernel import LINK_GROUP
from netplumb.models.lookups import Lookup, Question
from netplumb.models.naming import is_our_name
from netplumb.models.nodenetwork import Hop, NodeRoute
from netplumb.models.nodestate import Carrier, LinkState
from netplumb.models.ports import End as MappedTo
from netplumb.models.ports import Port, Protocol
from netplumb.models.words import ip_words, no_carrier
from netplumb.reconciler.decide.firewalls.ruleset import Chain
from netplumb.reconciler.decide.nexthops import unfound
from netplumb.reconciler.tracing.course import LOCAL, Course
from netplumb.reconciler.tracing.flow import Flow
from netplumb.reconciler.tracing.hops import NotFollowedError, PacketEndsError
from netplumb.reconciler.tracing.views import View
from netplumb.reconciler.tracing.words import OUR_TABLE, route_words
from netplumb.reconciler.tracing.workloads import Workloads

NODE = "node"
Reached = tuple[str, Flow]
"""Where it was received, `node` or a link of the node behind which that is, and as what."""


class NodeWay:
    """`target_at` says where a port of the node leads at an address of it. Once a packet left by an uplink, `left_by`
    is the link and the next hop, `left_as` its source, and `carried` as what it was where a VXLAN device took it."""

    def __init__(
        self,
        course: Course,
        node: View,
        workloads: Workloads,
        target_at: Callable[[Port, bytes], MappedTo | None],
        routes: Sequence[NodeRoute] = (),
    ) -> None:
        self._course = course
        self._node = node
        self._workloads = workloads
        self._target_at = target_at
        self._routes = routes
        self.left_by: tuple[str, IPAddress] | None = None
        self.left_as: IPAddress | None = None
        self.carried: Carrier | None = None

    def comes(self, flow: Flow, iif: LinkState) -> Reached:
        """What came in by a link."""
        flow = self._before_routing(flow, iif)
        found, oif = self._routed(flow, iif)
        if found.type == LOCAL:
            self._course.through(self._node, flow, ("input",), iif)
            self._arrives(flow)
            return NODE, flow
        return self._goes_out(flow, iif, oif, found)

    def sends(self, flow: Flow) -> Reached:
        """What the node sends itself."""
        if (mapped := self._mapped(flow)) is not None:
            flow = self._translated(flow, mapped)
        found, oif = self._course.sent(self._node, flow)
        self._course.through(self._node, flow, ("output",), None, oif)
        self._course.routed_by_mark(self._node, flow, flow.question(with_source=False), found)
        if found.type == LOCAL:
            self._not_a_workloads(flow.dst)
            self._arrives(flow)
            return NODE, flow
        return self._goes_out(flow, None, oif, found)

    def answer_comes(self, answer: Flow, iif: LinkState, sent: Flow) -> None:
        """An answer on its way back; conntrack gives it the addresses back that were `sent`: its destination before it
        is routed, its source behind that."""
        self._before_routing(answer, iif)
        original = replace(answer, dst=sent.src)
        found, oif = self._routed(original, iif)
        if found.type == LOCAL:
            self._course.through(self._node, original, ("input",), iif)
            return
        self._course.through(self._node, original, ("forward",), iif, oif)
        original = replace(original, src=sent.dst, sport=sent.dport)
        self._after_routing(original, iif, oif)
        if oif.group == LINK_GROUP:
            self._workloads.enter(original, oif)

    def answers(self, answer: Flow) -> None:
        """The node's own answer to a workload."""
        found, oif = self._course.sent(self._node, answer)
        self._course.through(self._node, answer, ("output", "postrouting"), None, oif)
        if oif.group == LINK_GROUP and found.type != LOCAL:
            self._workloads.enter(answer, oif)

    # Ports.

    def _arrives(self, flow: Flow) -> None:
        """At whoever listens on the node itself. A port may be published otherwise than it is asked for."""
        try:
            self._course.arrives(self._node, flow)
        except PacketEndsError as end:
            if not (published := self._workloads.published(flow)):
                raise
            protocol, at = flow.told_protocol, ip_words(flow.dst.packed)
            raise PacketEndsError(
                f"{end.why}; it is published {' and '.join(published)}, which does not mean {protocol} at {at}",
                f"ask as it is published, or publish it for {protocol} at {at}, or at every address, too",
            ) from None

    def _before_routing(self, flow: Flow, iif: LinkState) -> Flow:
        """What comes before the routing decision: filters, and between them whoever translates it first."""
        if self._node.route(Question(flow.src)).type == LOCAL:
            self._not_a_workloads(flow.src)
        self._course.through(self._node, flow, ("ingress",), iif)
        filters = self._course.filters_of(self._node)
        for chain in filters.chains("prerouting", flow.dst.version):
            if chain.type != "nat":
                self._course.filtered(self._node, chain, flow, iif)
            elif chain.id.table != OUR_TABLE:
                self._course.translated_elsewhere(self._node, chain, flow, iif)
            elif "dnat" not in flow.translated and not flow.answer and (mapped := self._mapped(flow)) is not None:
                for other in filters.chains("prerouting", flow.dst.version):
                    if other.type == "nat" and other.priority == chain.priority and other is not chain:
                        self._course.translated_elsewhere(self._node, other, flow, iif, certainly=False)
                flow = self._translated(flow, mapped)
        return flow

    def _mapped(self, flow: Flow) -> MappedTo | None:
        if self._node.route(Question(flow.dst)).type != LOCAL:
            return None
        self._not_a_workloads(flow.dst)
        return self._target_at((flow.dst.version, flow.protocol, flow.dport), flow.dst.packed)

    def _translated(self, flow: Flow, mapped: MappedTo) -> Flow:
        address, port = ip_address(mapped[0]), mapped[1]
        self._course.tell(NODE, f"port {flow.dport} leads to {address} port {port}")
        return flow.to(address, port)

    # Routing.

    def _routed(self, flow: Flow, iif: LinkState) -> tuple[Lookup, LinkState]:
        asked = flow.question(iif.index)
        found = self._node.route(asked)
        link = self._node.links.get(found.oif)
        if found.type == LOCAL and not found.error:
            self._not_a_workloads(flow.dst)
            self._course.tell(NODE, f"arrives by {iif.name}, for the node itself", answer=flow.answer)
            return found, iif
        # IPv6 forwards as the node does, whatever the link. A link's name may hold a dot.
        switch = f"net/ipv4/conf/{iif.name}/forwarding" if flow.dst.version == 4 else "net/ipv6/conf/all/forwarding"
        if self._node.switch(switch) == "0":
            raise PacketEndsError(f"node: it does not forward what arrives by {iif.name}", f"sysctl -w {switch}=1")
        depends = self._course.routed_by_mark(self._node, flow, asked, found, iif.name)
        if found.error or link is None:
            if depends:
                raise NotFollowedError(depends, self._course.doubts[depends])
            raise self._course.refused(self._node, found, flow, iif)
        words = route_words(found, link.name, self._node.rules, asked)
        self._course.tell(NODE, f"arrives by {iif.name}, goes on by {words}", answer=flow.answer)
        return found, link

    def _not_a_workloads(self, ip: IPAddress) -> None:
        """Raises PacketEndsError where what the node takes for its own is a workload's too."""
        if (attachment := self._workloads.holder(ip)) is None:
            return
        what, heal = "the node takes it for its own", f"find the local route, and delete it: ip route get {ip}"
        if (found := next((it for it in self._node.addresses if it.ip == ip), None)) is not None:
            link = self._node.links[found.index].name
            what = f"the node has the same address on {link}"
            heal = f"ip address del {ip}/{found.network.prefixlen} dev {link}"
        raise PacketEndsError(f"node: {ip} is {attachment.key}, and {what}: the workload is not reached", heal)

    # Out.

    def _goes_out(self, flow: Flow, iif: LinkState | None, oif: LinkState, found: Lookup) -> Reached:
        if oif.group != LINK_GROUP:
            self._workloads.miss(flow.dst, oif.name, found.length)
        if iif is not None:
            self._course.through(self._node, flow, ("forward",), iif, oif)
        self._course.goes_somewhere(self._node, flow, found, oif)
        if (attachment := self._workloads.by_link.get(oif.name)) is not None:
            self._workloads.node_end(attachment)
        elif not oif.running:
            state, heal = "is down", f"ip link set {oif.name} up"
            if oif.up:
                state, heal = "has no carrier", no_carrier(oif.name)
            raise PacketEndsError(f"node: {oif.name}, by which it should leave, {state}", heal)
        flow = self._after_routing(flow, iif, oif)
        if oif.group == LINK_GROUP:
            self._workloads.enter(flow, oif)
            return oif.name, flow
        hop = found.gateway or flow.dst
        self._each_hop(flow, Hop(oif.index, found.gateway), found)
        self.left_by, self.left_as = (oif.name, hop), flow.src
        if (silent := self._node.silent(oif, hop)) is not None:
            who = hop if found.gateway is None else f"the next hop {hop}"
            why, heal = unfound(silent, oif, self._node.links, self._node.ruleset, self._node.programs(oif))
            raise PacketEndsError(f"node: {who} on {oif.name} {why}", heal)
        told = f"leaves by {oif.name} to {hop}, from {flow.src}; what is beyond the node is not seen"
        self._course.tell(NODE, told)
        if oif.kind == "vxlan" and is_our_name(oif.name):
            self._carried(oif, hop)
        return oif.name, flow

    def _carried(self, device: LinkState, hop: IPAddress) -> None:
        """To another node in UDP, which goes its own way; so does what comes back from there."""
        carrier = self._node.carrier(device, hop)
        if carrier is None:
            return
        if carrier.dst is None:
            raise PacketEndsError(
                f"node: {device.name} knows no node behind {hop}", "netplumb doctor, and: netplumb status"
            )
        outer = Flow(carrier.src, carrier.dst, Protocol.UDP.number, 0, carrier.port)
        self._course.tell(NODE, f"carried to the node at {carrier.dst} in UDP, port {carrier.port}")
        try:
            self.sends(outer)
            if self.left_by is not None and (uplink := self._node.link(self.left_by[0])) is not None:
                back = replace(outer, src=carrier.dst, dst=carrier.src)
                self._course.through(self._node, back, ("ingress", "prerouting", "input"), uplink)
        except PacketEndsError as end:
            end.why = f"{end.why}; that is VXLAN, in which packets for other nodes go and come"
            raise
        self.carried = carrier

    def _each_hop(self, flow: Flow, chosen: Hop, found: Lookup) -> None:
        """Of a route with several next hops each takes its share of the connections, and the kernel tells of one."""
        place = found.table, found.length
        routes = (it for it in self._routes if (it.table, it.dst.prefixlen) == place and _leads(it, flow))
        hops = next((it.hops for it in routes if chosen in it.hops), ())
        for hop in hops if len(hops) > 1 else ():
            link = self._node.links.get(hop.index)
            if link is None:
                continue
            why, heal = "has no carrier", no_carrier(link.name)
            if link.running:
                silent = self._node.silent(link, hop.gateway) if hop.gateway is not None else None
                if silent is None:
                    continue
                why, heal = unfound(silent, link, self._node.links, self._node.ruleset, self._node.programs(link))
            via = f"{hop.gateway} on {link.name}" if hop.gateway is not None else link.name
            self._course.beside[f"some connections leave by the next hop {via} of that route, which {why}"] = heal

    def _after_routing(self, flow: Flow, iif: LinkState | None, oif: LinkState) -> Flow:
        filters = self._course.filters_of(self._node)
        for chain in filters.chains("postrouting", flow.dst.version):
            if chain.type != "nat":
                self._course.filtered(self._node, chain, flow, iif, oif)
            elif not flow.answer and "snat" not in flow.translated:
                flow = self._given_source(chain, flow, iif, oif)
        self._course.through(self._node, flow, ("egress",), iif, oif)
        return flow

    def _given_source(self, chain: Chain, flow: Flow, iif: LinkState | None, oif: LinkState) -> Flow:
        """With the address that the node itself would send from, as masquerading has it. A rule that names another one
        is a doubt: whose that address is, is not known."""
        filters = self._course.filters_of(self._node)
        rule = next((rule for rule, certain in filters.translates(chain, flow, iif, oif) if certain), None)
        if rule is None:
            return flow
        source = self._node.route(Question(flow.dst)).source or flow.src
        words, heal = filters.words(chain, rule, flow, iif, oif)
        by = "" if chain.id.table == OUR_TABLE else words.replace("dropped by", " by", 1)
        if by and rule in filters.named_sources(chain, flow, iif, oif):
            self._course.tell(NODE, f"leaves with a source that is chosen{by}")
            filters.doubt(f"its source is chosen{by}: answers come back only if that address leads here", heal, flow)
        else:
            self._course.tell(NODE, f"leaves as {source}, by masquerading{by}")
        return replace(flow, src=source, translated=flow.translated | {"snat"})


def _leads(route: NodeRoute, flow: Flow) -> bool:
    return route.dst.version == flow.dst.version and flow.dst in route.dst
