"""PURE: which flows a change may have made wrong, and which walks through the kernel's connection table find them.

Whether a flow that is found is wrong, `flows` decides.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from ipaddress import ip_address
from typing import Self

from netplumb.models.base import IPAddress
from netplumb.models.flows import DESTINATION_REPLACED, SOURCE_REPLACED, Walk
from netplumb.models.kernel import Address, Link, Scope
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
from netplumb.reconciler.decide.portmaps import ports_of, targets_of

_FEW = 200  # looking at each of so many takes as long as one walk, 9 ms with 262,144 buckets
_PORT_BY_PORT = 3
"""Up to so many ports of one protocol, a walk for each is cheaper than two for that protocol's flows."""
_HAIRPINS = frozenset(hairpin_set(version).name for version in (4, 6))
_ISOLATION = frozenset((WORKLOADS_CLOSED.name, WORKLOADS_OPEN.name))


@dataclass(frozen=True, slots=True)
class Suspects:
    """Which flows a change may have made wrong: those to some ports, those that the nftables table decides, or any."""

    ports: frozenset[Port] = frozenset()
    """Ports that lead elsewhere now."""
    by_table: bool = False
    all: bool = False
    targets: frozenset[bytes] = frozenset()
    """Addresses that ports led to."""
    sources: frozenset[bytes] = frozenset()
    """Addresses that the node gave to what workloads send out, and no longer has."""
    unfit: frozenset[bytes] = frozenset()
    """Addresses that masquerading took for want of a better one."""
    left: frozenset[bytes] = frozenset()
    """Preferred sources of routes that are no longer taken: wrong if the flow takes another route now."""
    departed: frozenset[bytes] = frozenset()
    """Addresses that workloads had. The next holder inherits neither what was answered there nor what was cut."""

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
    """The flows that former holders of these addresses leave behind."""
    return Suspects(all=True, departed=frozenset(ip.packed for ip in departed))


def suspects(steps: Iterable[Step]) -> Suspects:
    """What these steps, carried out together, may have made wrong. A link that is made along with its elements had no
    flows that these could have decided."""
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
"""Other objects decide nothing about flows, and an attach consists mostly of those."""


def _suspects(step: Step, made: Collection[str], led: Suspects) -> Suspects:
    match step.thing:
        case NftSet() | NftChain() as declared if is_of_policies(declared.name):
            return Suspects(all=step.verb is Verb.CHANGE)  # if it came or went, so did its elements
        case NftChain() as declared if is_of_crowding(declared.name):
            return Suspects()  # it limits new flows, and leaves existing ones alone
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
    """The addresses that a chain's `snat` replaces sources by."""
    expressions = (expression for rule in chain.rules for expression in json.loads(rule)["expr"])
    return frozenset(ip_address(it["snat"]["addr"]).packed for it in expressions if "snat" in it)


def suspects_around(before: NodeNetwork, now: NodeNetwork, leaving: Leaving | None = None) -> Suspects:
    """What a change of the node's own addresses, or of the routes by which workloads were `leaving`, may have made
    wrong: a port may be mapped at an address that was gone, and a masqueraded flow keeps the address it began with."""
    left = leaving.left_by(now) if leaving is not None else frozenset()
    if now.since == before.since and now.local == before.local and now.foreign == before.foreign and not left:
        return Suspects()
    gone = before.own.keys() - now.own.keys()
    return Suspects(all=True, sources=frozenset(ip.packed for ip in gone), unfit=_outdone(before, now), left=left)


def _outdone(before: NodeNetwork, now: NodeNetwork) -> frozenset[bytes]:
    """Addresses that masquerading took from another interface while an uplink had none of that family."""
    had = {(link, ip.version) for ip, link in before.foreign}
    first = {ip.version for ip, link in now.foreign if (link, ip.version) in now.ways - had}
    fit = {ip for ip, link in now.foreign if (link, ip.version) in now.ways} | {source.ip for source in now.sources}
    bare = {it.ip for it in before.sources if it.ip is not None and it.ip.is_link_local} - {it.ip for it in now.sources}
    return frozenset(ip.packed for ip in {ip for ip, _ in now.foreign if ip.version in first and ip not in fit} | bare)


def walks(suspected: Suspects, kept: int | None = None) -> Iterator[Walk]:
    """The walks that find all suspects. Most of a connection table is masqueraded flows, so these are left out where
    possible. But each walk goes through the kernel's whole hash table, which takes as long if few flows are `kept`."""
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
