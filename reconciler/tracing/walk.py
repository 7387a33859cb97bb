"""Follows a packet and its answer from namespace to namespace, as the kernel hands it on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from netplumb.models.base import IPAddress, IPNetwork
from netplumb.models.lookups import Question
from netplumb.models.nodestate import LinkProgram, LinkState
from netplumb.reconciler.decide.firewalls.ruleset import ChainId
from netplumb.reconciler.decide.nexthops import HOLDING_BACK
from netplumb.reconciler.tracing.course import Course
from netplumb.reconciler.tracing.ends import End
from netplumb.reconciler.tracing.flow import Flow
from netplumb.reconciler.tracing.hops import NotFollowedError, Outcome, PacketEndsError, Trace
from netplumb.reconciler.tracing.nodeway import NODE, NodeWay, Reached
from netplumb.reconciler.tracing.views import View
from netplumb.reconciler.tracing.words import inside_workload
from netplumb.reconciler.tracing.workloads import Workloads


class Walk:
    """What is sent to an address of the node from outside comes in by the link that has it, of `address_links`. In
    `cluster` are the addresses of other nodes' workloads."""

    def __init__(
        self,
        course: Course,
        node: View,
        workloads: Workloads,
        way: NodeWay,
        address_links: Mapping[IPAddress, int],
        cluster: Sequence[IPNetwork] = (),
    ) -> None:
        self._course = course
        self._node = node
        self._workloads = workloads
        self.way = way
        self._address_links = address_links
        self.cluster = cluster

    @property
    def doubts(self) -> Mapping[str, str]:
        """What of its way cannot be judged, each with what helps if it is that."""
        return self._course.doubts

    def tell_beside(self, trace: Trace) -> None:
        """That this one arrives says nothing of all where others are lost."""
        if beside := self._course.beside:
            trace.outcome = Outcome.UNKNOWN
            trace.why = "; but ".join([trace.why or "this one arrives", *beside])
            trace.heal = " && ".join(filter(None, beside.values()))

    @property
    def met(self) -> Mapping[tuple[str, ChainId, bool], Flow]:
        """As what it came to each chain."""
        return self._course.met

    @property
    def own_macs(self) -> set[str]:
        """Of the node's links, any of which answers for each of its addresses."""
        return {link.mac for link in self._node.links.values()}

    def queues(self, source: End) -> Iterator[tuple[View, LinkState]]:
        """Links with queues of others that it goes through, and where they are: inside the sender, and the uplink."""
        left_by = self.way.left_by
        passed = [(self._node, self._node.link(left_by[0]))] if left_by is not None else []
        if source.attachment is not None:
            view = self._workloads.view(source.attachment)
            passed.insert(0, (view, view.link(view.if_name)))
        yield from ((view, link) for view, link in passed if link is not None and link.qdisc in HOLDING_BACK)

    def senders(self, source: End, flow: Flow) -> Iterator[tuple[View, LinkState, IPAddress | None]]:
        """Who can ask what passes beyond the node: who sends, by the link that it sends by, and the node, which may
        ask what policies keep a workload from."""
        if source.attachment is not None:
            view = self._workloads.view(source.attachment)
            link = view.links.get(view.route(flow.question()).oif)
            if link is not None:
                yield view, link, flow.src
        if self.way.left_by is not None and (uplink := self._node.link(self.way.left_by[0])) is not None:
            yield self._node, uplink, None

    def smaller(self, source: End, flow: Flow, size: int) -> str:
        """The command that has what is sent there, and what is sent back, no larger than that."""
        view = self._workloads.view(source.attachment) if source.attachment is not None else self._node
        found = view.route(flow.question())
        link, flag = view.links[found.oif].name, " -6" if flow.dst.version == 6 else ""
        via = f" via {found.gateway}" if found.gateway is not None else ""
        src = f" src {flow.src}" if source.attachment is not None else ""
        line = f"ip{flag} route replace {flow.dst}{via} dev {link} mtu {size}{src}"
        return f"{inside_workload(line, view.path)} # or for all that is sent: the setting mtu: {size}"

    def connections_lost(self) -> int:
        """How many connections the node could not begin to track."""
        return self._node.connections_lost()

    def programs(self) -> Iterator[tuple[View, LinkProgram]]:
        """What others put onto the links that it passes, and where that is: inside workloads and on the node."""
        passed = [(self._node, self._node.link(self.way.left_by[0]))] if self.way.left_by is not None else []
        for name, view in self._workloads.views.items():
            passed += [(view, view.link(view.if_name)), (self._node, self._node.link(name))]
        yield from ((view, it) for view, link in passed if link is not None for it in view.programs(link))

    def follow(self, source: End, flow: Flow) -> Trace:
        """There and back, as far as that is on this machine."""
        trace = self._course.trace
        try:
            reached = self._there(source, flow)
            self._back(source, flow, *reached)
        except PacketEndsError as end:
            trace.outcome = Outcome.UNKNOWN if isinstance(end, NotFollowedError) else Outcome.ENDS
            trace.why, trace.heal = end.why, end.heal
        if trace.outcome is Outcome.ARRIVES and (doubts := self._course.doubts):
            trace.outcome, trace.why = Outcome.UNKNOWN, "; ".join(doubts)
            trace.heal = "--live sends a packet, and sees what becomes of it"
        elif trace.outcome is Outcome.ARRIVES:
            self.tell_beside(trace)
        return trace

    def views(self, source: End) -> list[View]:
        """Those that it came through, the sender's first."""
        first = [self._workloads.view(source.attachment)] if source.attachment is not None else []
        return [*first, self._node, *(view for view in self._workloads.views.values() if view not in first)]

    def _there(self, source: End, flow: Flow) -> Reached:
        if source.attachment is not None:
            by = self._workloads.leave(source.attachment, flow)
            return self.way.comes(flow, self._workloads.node_end(by)) if by is not None else ("", flow)
        if source.is_node:
            return self.way.sends(flow)
        towards = self._node.route(Question(flow.src))
        link = self._node.links.get(self._address_links.get(flow.dst, towards.oif))
        if link is None:
            raise NotFollowedError(f"the node has no route to {flow.src}: by which interface it comes in is not known")
        self._workloads.miss(flow.src, link.name, towards.length)
        self._course.tell("outside", f"{flow.src} sends, and it arrives by {link.name}")
        return self.way.comes(flow, link)

    def _back(self, source: End, flow: Flow, reached: str, seen: Flow) -> None:
        """What was sent by somebody outside is followed until it leaves the node; what left it, from there on."""
        answer = seen.back()
        if (attachment := self._workloads.by_link.get(reached)) is not None:
            if (by := self._workloads.leave(attachment, answer)) is not None:
                self.way.answer_comes(answer, self._workloads.node_end(by), flow)
        elif reached == NODE:
            if source.attachment is not None:
                self.way.answers(answer)
        elif (uplink := self._node.link(reached)) is not None and (source.attachment is not None or source.is_node):
            self.way.answer_comes(answer, uplink, flow)
