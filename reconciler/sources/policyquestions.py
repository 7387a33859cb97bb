"""Questions about network policies: which there are, whether a packet passes and why, and what other policies would
change.

Answers follow the specification of NetworkPolicy, from desired state; the kernel is read only for flows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Protocol

from netplumb.models.attachment import CLUSTER_SOURCE, FILE_SOURCE_PREFIX, Attachment, AttachmentKey
from netplumb.models.base import IPAddress
from netplumb.models.errors import InvalidRequest, NotFound
from netplumb.models.flows import Flow, Walk
from netplumb.models.kernel import Key
from netplumb.models.naming import node_if_name
from netplumb.models.networkpolicy import Direction, Manifest, Namespace, NetworkPolicy
from netplumb.models.nft import POLICY_MAPS, NftElement
from netplumb.models.policyset import PolicySet
from netplumb.models.policyviews import Answer, Asked, PolicyDifference, PolicyView
from netplumb.models.statefile import StateFile
from netplumb.reconciler.decide.policies.differences import differences
from netplumb.reconciler.decide.policies.flows import PolicedFlows, endpoint_of
from netplumb.reconciler.decide.policies.lost import held_directions
from netplumb.reconciler.decide.policies.verdict import Endpoint, Packet, World, explained, isolates, verdict
from netplumb.reconciler.decide.portmaps import target_of
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.kernel.conntrack import Conntrack
from netplumb.reconciler.sources.fileplan import read

_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1}
_ICMP_V6 = 58
TOLD_MAX = 5_000
_HELD = (
    "not known, so take it for denied; this end is isolated as it was when the store was lost, until its labels and "
    "the policies are said again"
)


class Elsewhere(Protocol):
    async def found(self, meant: Callable[[Endpoint], bool] = ..., /) -> Sequence[Endpoint]:
        """Whoever is meant of all workloads of other nodes."""


class PolicyQuestions:
    """`node_addresses` are those that the node takes for its own; `element` is what the kernel's table has. Without
    `elsewhere` there is no other node."""

    def __init__(
        self,
        desired: Desired,
        node_addresses: Callable[[], frozenset[IPAddress]],
        element: Callable[[Key], NftElement | None],
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._desired = desired
        self._node_addresses = node_addresses
        self._element = element
        self._elsewhere = elsewhere

    def all(self) -> Sequence[PolicyView]:
        """In the order of their keys, those in force before those that wait."""
        policies = self._desired.policies
        endpoints = {it.key: endpoint_of(it) for it in self._records() if not it.is_rebuilt}
        views = []
        for source in sorted(policies.sources):
            for key, manifest in policies.of(source).items():
                in_force = policies.holder(key) == source
                selects = (
                    tuple(sorted(key for key, it in endpoints.items() if _selects(manifest, it)))
                    if in_force and isinstance(manifest, NetworkPolicy)
                    else ()
                )
                views.append(PolicyView(manifest, source, in_force, selects))
        return sorted(views, key=lambda it: (it.manifest.key, not it.in_force, it.source))

    async def explain(self, asked: Asked) -> Answer:
        """What is decided at another node is judged by what the cluster wants of all; what that node has of its own is
        not known here. Raises NotFound for an end that is neither a workload nor an address, InvalidRequest for another
        protocol."""
        if (protocol := _PROTOCOLS.get(asked.protocol.lower())) is None:
            raise InvalidRequest("protocol", f"must be one of {', '.join(_PROTOCOLS)}, not {asked.protocol!r}")
        source, far_source = await self._end(asked.source)
        destination, far_destination = await self._end(asked.destination)
        ends = next(((a, b) for a in source for b in destination if a.version == b.version), None)
        if ends is None:
            raise InvalidRequest("destination", f"{asked.source} and {asked.destination} have no IP version in common")
        if protocol == _PROTOCOLS["icmp"] and ends[0].version == 6:
            protocol = _ICMP_V6
        packet, led = self._led(Packet(*ends, protocol, asked.port))
        others = tuple(it for it in (far_source, far_destination) if it is not None)
        world = self._world(self._desired.policies.in_force, others)
        found = verdict(world, packet)
        if not others and not self._is_of_workload(packet):
            return Answer(True, str(ends[0]), str(ends[1]), ("neither end is a workload's, so no policy is asked",))
        if found.always:
            return Answer(True, str(ends[0]), str(ends[1]), (*led, found.always))
        reasons = [*led]
        held = False
        there = self._world_elsewhere(others)
        at_others = verdict(there, packet)
        sides = (
            (found.egress, at_others.egress, far_source, ends[0]),
            (found.ingress, at_others.ingress, far_destination, packet.destination),
        )
        for judgement, at_other, far, address in sides:
            if far is not None:
                reasons += (f"on {far.node}: {words}" for words in explained(at_other, there))
            elif self._is_held(address, judgement.direction):
                held = True
                reasons.append(f"{judgement.direction.lower()}: {_HELD}")
            else:
                reasons += explained(judgement, world)
        return Answer(found.allowed and at_others.allowed and not held, str(ends[0]), str(ends[1]), tuple(reasons))

    def _is_of_workload(self, packet: Packet) -> bool:
        return any(ip in record.addresses for record in self._records() for ip in (packet.source, packet.destination))

    def _led(self, packet: Packet) -> tuple[Packet, Sequence[str]]:
        """The packet as a port of the node redirects it, and words that say so."""
        to = packet.destination
        if not (to in self._node_addresses() or to.is_loopback) or not packet.port:
            return packet, ()
        if (target := target_of((to.version, packet.protocol, packet.port), to.packed, self._element)) is None:
            return packet, ()
        address, port = ip_address(target[0]), target[1]
        holder = next((it.key for it in self._records() if address in it.addresses), address)
        words = f"this port of the node leads to {holder}, port {port}"
        return replace(packet, destination=address, port=port), (words,)

    def _is_held(self, address: IPAddress, direction: Direction) -> bool:
        """Whether the workload there is isolated by what was known before the store was lost."""
        record = next((it for it in self._records() if address in it.addresses), None)
        if record is None:
            return False
        there = self._element((NftElement, POLICY_MAPS[direction].name, (node_if_name(record.key),)))
        return bool(held_directions(record, self._desired.policies.in_force, {direction: there}))

    async def difference(self, files: Sequence[StateFile]) -> PolicyDifference:
        """What these files would change of who reaches whom, if they were put into place. Raises InvalidRequest."""
        contents = await asyncio.to_thread(read, files)
        partitions = {FILE_SOURCE_PREFIX + it.name: it.manifests for it in contents}
        after = self._desired.policies.rehearsed(partitions)
        others = await self._elsewhere.found() if self._elsewhere is not None else ()
        worlds = self._world(self._desired.policies.in_force, others), self._world(after, others)
        node = frozenset(it.packed for it in self._node_addresses())
        policed = PolicedFlows(after, self._records(), lambda ip: ip in node, others)
        difference = await asyncio.to_thread(_difference, worlds, policed)
        return replace(difference, waiting=tuple(self._waiting(partitions)))

    def _waiting(self, partitions: Mapping[str, Sequence[Manifest]]) -> Iterator[str]:
        """What would not count, in words."""
        for source, manifests in partitions.items():
            for it in manifests:
                if (holder := self._desired.policies.holder(it.key)) not in ("", source):
                    yield f"{it.key} would wait: it is {holder}'s"

    def _records(self) -> list[Attachment]:
        return [it for it in self._desired.attachments.values() if not it.removing]

    def _world(self, policies: PolicySet, elsewhere: Sequence[Endpoint]) -> World:
        return World(policies.policies, policies.namespaces, self._endpoints(), self._node_addresses(), elsewhere)

    def _endpoints(self) -> tuple[Endpoint, ...]:
        """Those of this node less who was rebuilt: nobody knows their labels."""
        return tuple(endpoint_of(it) for it in self._records() if not it.is_rebuilt)

    def _world_elsewhere(self, others: Sequence[Endpoint]) -> World:
        """As the nodes of these see it."""
        manifests = self._desired.policies.of(CLUSTER_SOURCE).values()
        return World(
            [it for it in manifests if isinstance(it, NetworkPolicy)],
            {it.metadata.name: it for it in manifests if isinstance(it, Namespace)},
            others,
            elsewhere=self._endpoints(),
        )

    async def _end(self, word: str) -> tuple[Sequence[IPAddress], Endpoint | None]:
        """Its addresses, and who it is where that is on another node."""
        try:
            addresses = self._addresses(word)
        except NotFound:
            found = await self._meant(lambda it: it.is_called(word))
            if not found:
                raise
            if len(nodes := sorted({it.node for it in found})) > 1:
                raise InvalidRequest("", f"{word} is on {' and '.join(nodes)}: say NODE/{word}") from None
            return found[0].addresses, found[0]
        here = any(it in record.addresses for record in self._records() for it in addresses)
        found = [] if here else await self._meant(lambda it: addresses[0] in it.addresses)
        return addresses, found[0] if found else None

    async def _meant(self, meant: Callable[[Endpoint], bool]) -> Sequence[Endpoint]:
        return await self._elsewhere.found(meant) if self._elsewhere is not None else ()

    def _addresses(self, end: str) -> Sequence[IPAddress]:
        workload, _, if_name = end.rpartition("/")
        for key in (AttachmentKey(end, "eth0"), AttachmentKey(workload, if_name)):
            if (record := self._desired.attachments.get(key)) is not None:
                return record.addresses
        if interfaces := self._desired.interfaces(end):
            return self._desired.attachments[interfaces[0]].addresses
        try:
            return (_unmapped(ip_address(end)),)
        except ValueError:
            raise NotFound(f"{end} is no workload that is known, and no address") from None


def _unmapped(address: IPAddress) -> IPAddress:
    """Turns an IPv4-mapped IPv6 address into the IPv4 address that it means: no packet has such an address."""
    return (address.ipv4_mapped if address.version == 6 else None) or address


def _selects(policy: NetworkPolicy, endpoint: Endpoint) -> bool:
    return any(isolates(policy, endpoint, direction) for direction in Direction)


def _difference(worlds: tuple[World, World], policed: PolicedFlows) -> PolicyDifference:
    gains = list(differences(*worlds))
    cut: list[str] = []

    def noted(flow: Flow) -> bool:
        if policed.forbid(flow):
            cut.append(_words(flow))
        return False  # nothing is forgotten

    with Conntrack() as conntrack:
        conntrack.forget(Walk(), noted)
    more = max(0, len(gains) - TOLD_MAX) + max(0, len(cut) - TOLD_MAX)
    return PolicyDifference(gains[:TOLD_MAX], sorted(cut)[:TOLD_MAX], more)


def _words(flow: Flow) -> str:
    protocol = next((name for name, number in _PROTOCOLS.items() if number == flow.protocol), str(flow.protocol))
    source, answerer = (f"{ip_address(ip)} port {port}" for ip, port in (flow.source, flow.answerer))
    return f"{protocol} {source} to {answerer}"
