"""What every namespace on the way has in common: a packet is sent there, goes through filters, arrives at a socket; and
each is told."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network

from netplumb.models.kernel import FIRST_HOP_V4, FIRST_HOP_V6, RT_TABLE_MAIN
from netplumb.models.lookups import Lookup, Question
from netplumb.models.nodestate import LinkState
from netplumb.models.ports import Protocol
from netplumb.models.words import ip_words, link_switch
from netplumb.reconciler.decide.firewalls.ruleset import Chain, ChainId
from netplumb.reconciler.kernel.namespaces import LO_INDEX
from netplumb.reconciler.tracing.filters import Filters
from netplumb.reconciler.tracing.flow import Flow
from netplumb.reconciler.tracing.hops import Hop, NotFollowedError, PacketEndsError, Trace
from netplumb.reconciler.tracing.views import View
from netplumb.reconciler.tracing.words import OUR_TABLE, by_mark, inside_workload, refusal, route_words, switched_off

LOCAL = "local"
_TRANSLATING = frozenset({"prerouting", "output"})
_STRICT = 1
_IGNORED = {1: "net/ipv4/icmp_echo_ignore_all", 58: "net/ipv6/icmp/echo_ignore_all"}
"""By protocol, what has the kernel ignore echoes."""


class Course:
    """One packet's. Every method raises PacketEndsError where it goes no further."""

    def __init__(self) -> None:
        self.trace = Trace()
        self.met: dict[tuple[str, ChainId, bool], Flow] = {}
        """As what it, or its answer, comes to each chain of each namespace first."""
        self.beside: dict[str, str] = {}
        """What becomes of others that are sent the same way and are not this one, each with what helps."""
        self._filters: dict[str, Filters] = {}

    @property
    def doubts(self) -> dict[str, str]:
        """Rules on its way that cannot be judged, or could not be read, each with what helps if it is that."""
        return {words: heal for filters in self._filters.values() for words, heal in filters.doubts.items()}

    def tell(self, where: str, what: str, *, answer: bool = False) -> None:
        self.trace.hops.append(Hop(where, what, answer))

    def filters_of(self, view: View) -> Filters:
        return self._filters.setdefault(view.name, Filters(view))

    def through(
        self, view: View, flow: Flow, hooks: Sequence[str], iif: LinkState | None, oif: LinkState | None = None
    ) -> None:
        """Through all that filters at these hooks."""
        for hook in hooks:
            for chain in self.filters_of(view).chains(hook, flow.dst.version):
                if chain.type != "nat":
                    self.filtered(view, chain, flow, iif, oif)
                elif hook in _TRANSLATING and chain.id.table != OUR_TABLE:
                    self.translated_elsewhere(view, chain, flow, iif, oif)

    def filtered(
        self, view: View, chain: Chain, flow: Flow, iif: LinkState | None, oif: LinkState | None = None
    ) -> None:
        self.met.setdefault((view.name, chain.id, flow.answer), flow)
        try:
            self.filters_of(view).drops(chain, flow, iif, oif)
        except PacketEndsError as end:
            what = "the answer is " if flow.answer else ""
            raise PacketEndsError(f"{view.name}: {what}{end.why}", inside_workload(end.heal, view.path)) from None

    def translated_elsewhere(
        self,
        view: View,
        chain: Chain,
        flow: Flow,
        iif: LinkState | None,
        oif: LinkState | None = None,
        *,
        certainly: bool = True,
    ) -> None:
        """By somebody else, to where nobody follows; what was translated before, or answers, no chain translates."""
        if flow.answer or "dnat" in flow.translated:
            return
        filters = self.filters_of(view)
        for rule, certain in filters.translates(chain, flow, iif, oif):
            words, heal = filters.words(chain, rule, flow, iif, oif)
            where = words.replace("dropped by", "translated by", 1)
            if certain and certainly:
                why = f"{view.name}: {where}, to somewhere that is not followed"
                raise NotFollowedError(why, inside_workload(heal, view.path))
            filters.doubt(f"it may be {where}", heal, flow)

    def routed_by_mark(self, view: View, flow: Flow, asked: Question, found: Lookup, iif: str = "") -> str:
        """Which rule may choose another way than was found, by a mark that some chain may have set by then. Told as a
        doubt, too. Empty where the way is certain."""
        marked = self.filters_of(view).marked.get(flow.answer)
        for rule in by_mark(view.rules, asked, iif) if marked is not None else ():
            if view.route(replace(asked, mark=rule.fwmark or rule.fwmask)) != found:
                words = f"{view.name}: its way depends on its mark: by {marked}, then the routing rule `{rule}`"
                self.filters_of(view).doubts[words] = inside_workload(rule.heal, view.path)
                return words
        return ""

    def sent(self, view: View, flow: Flow) -> tuple[Lookup, LinkState]:
        """The way that is chosen where it is sent; for the node's own packets the source follows from that."""
        asked = flow.question(with_source=bool(view.path))
        found = view.route(asked)
        link = view.links.get(found.oif)
        if found.error or link is None:
            why, heal = _refusal(view, found, asked)
            if view.path:
                first_hop = FIRST_HOP_V4 if flow.dst.version == 4 else FIRST_HOP_V6
                heal = heal.replace("GATEWAY", f"{ip_words(first_hop)} dev {view.if_name}")
                heal = inside_workload(heal, view.path)
            raise PacketEndsError(f"{view.name}: {_of(flow)}{why}", heal or "netplumb doctor")
        words = f"{flow.src} to {flow.dst}, {route_words(found, link.name, view.rules, asked)}"
        self.tell(view.name, words, answer=flow.answer)
        return found, link

    def goes_somewhere(self, view: View, flow: Flow, found: Lookup, link: LinkState) -> None:
        """Raises PacketEndsError where a route leads to the loopback: there it comes in again, and nobody takes it."""
        if link.index != LO_INDEX or found.type == LOCAL:
            return
        flag, dst = " -6" if flow.dst.version == 6 else "", ip_network((flow.dst, found.length), strict=False)
        table = f" table {found.table}" if found.table != RT_TABLE_MAIN else ""
        heal = f"ip{flag} route del {dst if dst.prefixlen else 'default'} dev {link.name}{table}"
        words = route_words(found, link.name, view.rules, flow.question())
        why = f"{view.name}: {_of(flow)}{words} leads to the loopback, and nowhere from there"
        raise PacketEndsError(why, inside_workload(heal, view.path))

    def refused(self, view: View, found: Lookup, flow: Flow, iif: LinkState) -> PacketEndsError:
        """Why what came in there is not routed."""
        if found.error == errno.EINVAL and view.route(Question(flow.src)).type == LOCAL:
            look = inside_workload(f"ip address show to {flow.src}", view.path)
            why = f"{view.name}: {_of(flow)}it has the address {flow.src} itself, and takes nothing from there"
            return PacketEndsError(why, f"take that address from one of the two: {look}")
        explained = _explained(view, found, flow, iif)
        why, heal = _refusal(view, explained, flow.question(iif.index), iif.name)
        return PacketEndsError(f"{view.name}: {_of(flow)}{why}", inside_workload(heal, view.path))

    def arrives(self, view: View, flow: Flow) -> None:
        """At whoever listens."""
        protocol = next((it for it in Protocol if it.number == flow.protocol), None)
        if protocol in (None, Protocol.SCTP):
            _heeds_echoes(view, flow)
            self.tell(view.name, "arrives")
            return
        listeners, look = view.listeners(protocol, flow.dport), inside_workload("ss -lntup", view.path)
        for listener in listeners:
            if flow.dst.version in listener.versions and listener.ip in (None, flow.dst):
                who = view.process_of(listener)
                if listener.is_full:
                    raise PacketEndsError(
                        f"{view.name}: {who} listens on {protocol} port {flow.dport} and takes no connections: "
                        f"its queue of those who wait is full ({listener.waiting})",
                        f"see why it takes none: it hangs, or asked listen(2) for less than it needs; {look}",
                    )
                self.tell(view.name, f"arrives at {who}, which listens on {protocol} port {flow.dport}")
                return
        refused = "a reset" if protocol is Protocol.TCP else "an ICMP error"
        why = f"{view.name}: nobody listens on {protocol} port {flow.dport} at {flow.dst}: it is answered by {refused}"
        if not listeners:
            raise PacketEndsError(why, look + "; and start the service there")
        elsewhere = listeners[0]
        at = f"{'the loopback ' if elsewhere.ip and elsewhere.ip.is_loopback else ''}{elsewhere.ip or 'IPv6 addresses'}"
        raise PacketEndsError(
            f"{why}; {view.process_of(elsewhere)} listens at {at} alone",
            f"have it listen at {flow.dst}, or at all addresses",
        )


def _heeds_echoes(view: View, flow: Flow) -> None:
    """Raises PacketEndsError where it is an echo, and a kernel parameter has those ignored."""
    if flow.protocol in _IGNORED and view.switch(switch := _IGNORED[flow.protocol]) == "1":
        dotted = switch.replace("/", ".")
        heal = inside_workload(f"sysctl -w {dotted}=0", view.path)
        raise PacketEndsError(f"{view.name}: it answers no echoes, by {dotted}", heal)


def _refusal(view: View, found: Lookup, asked: Question, iif: str = "") -> tuple[str, str]:
    why, heal = refusal(found, asked, view.rules, view.ending, iif)
    if found.error == errno.ENETUNREACH and asked.dst.version == 6 and (off := _without_ipv6(view)):
        why += f"; IPv6 is switched off on {', '.join(off)}"
        heal = " && ".join(f"sysctl -w {link_switch(6, name, 'disable_ipv6')}=0" for name in off)
        if not view.path:
            heal += ", and its address and default route again"
    elif found.error == errno.ENETUNREACH and (down := switched_off(view.addresses, view.links)):
        why += f"; {', '.join(down)} {'is' if len(down) == 1 else 'are'} down"
        heal = " && ".join(f"ip link set {name} up" for name in down)
        if not any(asked.dst in it.network for it in view.addresses):
            heal += ", and its default route again"
    return why, heal


def _without_ipv6(view: View) -> list[str]:
    """Interfaces by which there would be a way, were IPv6 not off there: a workload's own, or those of the node that
    have an IPv4 address."""
    addressed = {it.index for it in view.addresses if not it.ours and it.ip.version == 4}
    names = [view.if_name] if view.if_name else [link.name for link in view.links.values() if link.index in addressed]
    return [name for name in names if view.switch(f"net/ipv6/conf/{name}/disable_ipv6") == "1"]


def _of(flow: Flow) -> str:
    return "the answer: " if flow.answer else ""


def _explained(view: View, found: Lookup, flow: Flow, iif: LinkState) -> Lookup:
    """With the errno of the reverse path filter where it is that: kernels since 6.13 answer all with EINVAL."""
    if found.error != errno.EINVAL or not iif.rp_filter or flow.dst.version != 4:
        return found
    way_back = view.route(Question(flow.src)).oif
    elsewhere = way_back != iif.index if iif.rp_filter == _STRICT else not way_back
    return replace(found, error=errno.EXDEV) if elsewhere else found
