"""PURE: which flows would be led otherwise, or not at all, if they began now.

Where a flow leads, and under which address, is decided for its first packet. One that began while something of ours was
away, or before a port was mapped, goes on as it began for as long as somebody sends. It is to be forgotten, and no
other: a flow that leads where it should is somebody's connection. So what others translate is left alone, and what
cannot be told from theirs is too:

- to a port of the node that leads to a workload: wrong if it leads elsewhere, unless another program led it there;
- to a port that led to a workload: wrong if it still does;
- from a workload or to one, with a source that the node gave it and has no more: wrong;
- from a workload to elsewhere while masquerading is on: wrong with the workload's own source, or with one that the node
  took for want of a better (`unfit`);
- from a workload to itself by a port of the node, or from the node's loopback: wrong with that source;
- between workloads that are kept apart: wrong. The guards drop what the asker sends, whenever the flow began; this ends
  the answers;
- what network policies would not let begin: wrong, for the same reason;
- of a workload that went, where there are policies: wrong, since these ask nothing of what is an answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from ipaddress import ip_address
from typing import Self

from netplumb.models.attachment import Attachment, AttachmentKey
from netplumb.models.base import IPAddress, IPNetwork
from netplumb.models.flows import DESTINATION_REPLACED, SOURCE_REPLACED, Flow, Walk
from netplumb.models.kernel import Address, Key, Link, Scope
from netplumb.models.naming import node_if_name
from netplumb.models.nft import (
    WORKLOADS_CLOSED,
    WORKLOADS_OPEN,
    NftChain,
    NftElement,
    NftSet,
    hairpin_set,
    is_of_crowding,
    is_of_policies,
)
from netplumb.models.nodenetwork import NodeNetwork
from netplumb.models.ports import Port
from netplumb.models.steps import Step, Verb
from netplumb.reconciler.decide.leaving import Leaving
from netplumb.reconciler.decide.policies.flows import PolicedFlows
from netplumb.reconciler.decide.portmaps import ports_of, target_of, targets_of

_FEW = 200  # looking at each of so many takes as long as one walk, 9 ms with 262,144 buckets
_PORT_BY_PORT = 3
"""Up to so many ports of one protocol, a walk for each is cheaper than two for that protocol's flows."""
_HAIRPINS = frozenset(hairpin_set(version).name for version in (4, 6))
_TCP = 6
_ISOLATION = frozenset((WORKLOADS_CLOSED.name, WORKLOADS_OPEN.name))


@dataclass(frozen=True, slots=True)
class Suspects:
    """Which flows something that changed may have made wrong: those to ports that lead elsewhere now, those that the
    table decides, or any at all. `targets` are addresses that ports led to, `sources` those that workloads went out
    with, `unfit` those that they went out with for want of a better one, and `left` those that routes said of ways that
    are not taken any more: wrong where the flow's own way is another now. `departed` are addresses that workloads had:
    whoever has one next is to inherit neither what was answered there nor what was cut."""

    ports: frozenset[Port] = frozenset()
    by_table: bool = False
    all: bool = False
    targets: frozenset[bytes] = frozenset()
    sources: frozenset[bytes] = frozenset()
    unfit: frozenset[bytes] = frozenset()
    left: frozenset[bytes] = frozenset()
    departed: frozenset[bytes] = frozenset()

    def __or__(self, other: Self) -> Suspects:
        return Suspects(
            self.ports | other.ports,
            self.by_table or other.by_table,
            self.all or other.all,
            self.targets | other.targets,
            self.sources | other.sources,
            self.unfit | other.unfit,
            self.left | other.left,
            self.departed | other.departed,
        )

    def __bool__(self) -> bool:
        return bool(self.ports) or self.by_table or self.all

    @property
    def only_ports(self) -> bool:
        return not (self.by_table or self.all)


EVERY_FLOW = Suspects(all=True)


def suspects_of(departed: Iterable[IPAddress]) -> Suspects:
    """What workloads leave behind that had these addresses."""
    return Suspects(all=True, departed=frozenset(ip.packed for ip in departed))


def suspects(steps: Iterable[Step]) -> Suspects:
    """What steps may have made wrong that were carried out together. A link that is made with its elements had no flows
    that these could have decided."""
    steps = tuple(steps)
    elements = [thing for step in steps for thing in (step.thing, step.observed) if isinstance(thing, NftElement)]
    gone = (step.thing if step.verb is Verb.REMOVE else step.observed for step in steps)
    led = Suspects(
        frozenset(ports_of(elements)),
        targets=frozenset(targets_of(thing for thing in gone if isinstance(thing, NftElement))),
    )
    made = {step.thing.name for step in steps if isinstance(step.thing, Link) and step.verb is Verb.ADD}
    deciding = (step for step in steps if isinstance(step.thing, _DECIDING))
    return reduce(Suspects.__or__, filter(None, (_suspects(step, made, led) for step in deciding)), led)


_DECIDING = (NftSet, NftChain, NftElement, Link, Address)
"""What else there is decides nothing about flows; an attach is mostly that."""


def _suspects(step: Step, made: Collection[str], led: Suspects) -> Suspects:
    match step.thing:
        case NftSet() | NftChain() as declared if is_of_policies(declared.name):
            return Suspects(all=step.verb is Verb.CHANGE)  # what comes or goes, elements lead to or are in
        case NftChain() as declared if is_of_crowding(declared.name):
            return Suspects()  # it bounds new ones, and leaves what there is
        case NftSet():
            return Suspects(by_table=True)
        case NftChain() as chain:
            gone = _sources(step.observed) - _sources(chain) if isinstance(step.observed, NftChain) else frozenset()
            return Suspects(by_table=True, all=bool(gone), sources=gone)
        case NftElement() as element if is_of_policies(element.set):
            return Suspects(all=element.owner not in made)
        case NftElement() as element:
            alone = element.set in _HAIRPINS and not led.ports  # else it came with its ports
            return Suspects(by_table=alone or (element.set in _ISOLATION and element.owner not in made))
        case Link() as link if link.scope is Scope.NODE and isinstance(step.observed, Link):
            return Suspects(by_table=not {"group", "master", "name"}.isdisjoint(link.differences(step.observed)))
        case Address() as address if address.scope is Scope.NODE:
            return Suspects(all=step.verb is not Verb.REMOVE)
        case _:
            return Suspects()


def _sources(chain: NftChain) -> frozenset[bytes]:
    """What a chain replaces sources by."""
    expressions = (expression for rule in chain.rules for expression in json.loads(rule)["expr"])
    return frozenset(ip_address(it["snat"]["addr"]).packed for it in expressions if "snat" in it)


def suspects_around(before: NodeNetwork, now: NodeNetwork, leaving: Leaving | None = None) -> Suspects:
    """What other addresses of the node's own, or other ways out than those by which workloads were `leaving`, may have
    made wrong: a port may be mapped at one that was away, and what was masqueraded goes on under the address that it
    began with."""
    left = leaving.left_by(now) if leaving is not None else frozenset()
    if now.since == before.since and now.local == before.local and now.foreign == before.foreign and not left:
        return Suspects()
    gone = before.own.keys() - now.own.keys()
    return Suspects(all=True, sources=frozenset(ip.packed for ip in gone), unfit=_outdone(before, now), left=left)


def _outdone(before: NodeNetwork, now: NodeNetwork) -> frozenset[bytes]:
    """Addresses that masquerading took from some other interface, as an uplink had none of that family yet."""
    had = {(link, ip.version) for ip, link in before.foreign}
    first = {ip.version for ip, link in now.foreign if (link, ip.version) in now.ways - had}
    fit = {ip for ip, link in now.foreign if (link, ip.version) in now.ways} | {source.ip for source in now.sources}
    bare = {it.ip for it in before.sources if it.ip is not None and it.ip.is_link_local} - {it.ip for it in now.sources}
    return frozenset(ip.packed for ip in {ip for ip, _ in now.foreign if ip.version in first and ip not in fit} | bare)


def unfit(node_addresses: Iterable[IPAddress], known: NodeNetwork) -> frozenset[bytes]:
    """The node's addresses in pools, where it has another one: masquerading takes them only where there is none, and
    no answer finds its way to them."""
    others = {ip for ip, _ in known.foreign}
    versions = {ip.version for ip in others}
    return frozenset(ip.packed for ip in node_addresses if ip.version in versions and ip not in others)


def walks(suspected: Suspects, kept: int | None = None) -> Iterator[Walk]:
    """The walks that meet all suspects. What leaves masqueraded is most of a table, and left out where it can be. But
    the kernel goes over its whole hash table each time, which takes it as long where few flows are `kept` in it."""
    if kept == 0:
        return
    if suspected.all or (kept is not None and kept <= _FEW):
        yield Walk()
    elif suspected.by_table:
        yield from _translated_or_not()
    else:
        for version, protocol in sorted({port[:2] for port in suspected.ports}):
            numbers = sorted(port[2] for port in suspected.ports if port[:2] == (version, protocol))
            if len(numbers) <= _PORT_BY_PORT:
                yield from (Walk(version, protocol, number) for number in numbers)
            else:
                yield from _translated_or_not(version, protocol)


def _translated_or_not(version: int = 0, protocol: int = 0) -> Iterator[Walk]:
    yield Walk(version, protocol, 0, 0, SOURCE_REPLACED | DESTINATION_REPLACED)
    yield Walk(version, protocol, 0, DESTINATION_REPLACED, DESTINATION_REPLACED)


def links_of(attachments: Iterable[Attachment]) -> dict[bytes, tuple[str, ...]]:
    """The links that a workload's packets may come by, for each of its addresses: its own first."""
    found: dict[bytes, tuple[str, ...]] = {}
    for record in attachments:
        spec = record.spec
        default = AttachmentKey(spec.workload_id, record.default_route_by or spec.if_name)
        by = dict.fromkeys((node_if_name(record.key), node_if_name(default)))
        found.update((address.packed, tuple(by)) for address in record.addresses)
    return found


@dataclass(frozen=True, slots=True)
class Course:
    """What decides where flows lead. `element` tells an element of the table, `is_local` whether the node takes an
    address for its own. Without `links`, only what ports do is known."""

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
    """Whether what goes from one address to another leaves with a third now, as far as routes say."""

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
        """Whether what is wrong is marked instead of forgotten. A datagram begins a flow, whoever sends it, so that an
        answerer who may ask would have it anew; of TCP, policies let nothing begin one but what does."""
        return flow.protocol != _TCP and not self._is_of_nobody(flow) and self._is_forbidden(flow)

    def is_cut_no_more(self, flow: Flow) -> bool:
        """Of one that was: policies allow it now."""
        return self.policed is not None and self.policed.allow(flow)

    def _is_left_behind(self, flow: Flow) -> bool:
        """By a workload that went. Where another has its address by now, this may be the other's own: of TCP it may be,
        whose end somebody would miss."""
        if self.former.departed.isdisjoint((flow.source[0], flow.answerer[0])):
            return False
        return flow.protocol != _TCP or self._is_of_nobody(flow)

    def _is_of_nobody(self, flow: Flow) -> bool:
        return any(ip in self.former.departed and ip not in self.links for ip in (flow.source[0], flow.answerer[0]))

    def _is_answered_nowhere(self, flow: Flow) -> bool:
        """Under an address that was the node's, also where a workload or the node asks by a port of the node."""
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
        """Or under an address that it would not be given now. Between nodes of a cluster its own is right."""
        answerer = flow.answerer[0]
        if all(any(ip_address(ip) in prefix for prefix in self.cluster) for ip in (flow.source[0], answerer)):
            return False
        if flow.is_masked and flow.answered[0] not in self.unfit:
            left = flow.answered[0] in self.former.left
            return left and not self.leaves_as(flow.source[0], answerer, flow.answered[0])
        return not self.is_local(answerer) and _is_elsewhere(answerer)

    def _are_apart(self, links: Sequence[str], others: Sequence[str]) -> bool:
        """By whichever link a workload with several sends."""
        return all(self._is_kept_from(link, others[0]) for link in links)

    def _is_kept_from(self, link: str, other: str) -> bool:
        """As the guards have it."""

        def stands(declared: NftSet) -> bool:
            return any(self.element((NftElement, declared.name, (name,))) is not None for name in (link, other))

        return not stands(WORKLOADS_OPEN) and (self.isolate_workloads or stands(WORKLOADS_CLOSED))


def _is_of_a_link_alone(ip: bytes) -> bool:
    """Whether no port leads who asks from there to a workload."""
    address = ip_address(ip)
    return address.version == 6 and address.is_link_local


def _is_elsewhere(ip: bytes) -> bool:
    """Whether a packet to this address can leave the node at all."""
    address = ip_address(ip)
    return not (address.is_multicast or address.is_link_local or address.is_unspecified or ip == b"\xff" * 4)
