"""PURE: what other policies would change: which workloads would reach which ports of others, or would no more.

Ports between two of those that some rule names fare alike, and so do workloads with the same labels in the same blocks
of addresses; each such group is asked once. Of a group on other nodes one is named, and how many more there are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

from netplumb.models.base import IPAddress, IPNetwork
from netplumb.models.networkpolicy import Direction, NetworkPolicy, Transport
from netplumb.models.policyviews import Gain
from netplumb.reconciler.decide.policies.ranges import Range
from netplumb.reconciler.decide.policies.verdict import Endpoint, Packet, World, verdict

_ICMP = {4: 1, 6: 58}
_Kind = tuple[object, ...]


def differences(before: World, after: World) -> Iterator[Gain]:
    """In the order of their names; both worlds have the same workloads."""
    policies = (*before.policies, *after.policies)
    networks = _networks(policies)
    alike: defaultdict[_Kind, list[Endpoint]] = defaultdict(list)
    for endpoint in sorted((*after.endpoints, *after.elsewhere), key=str):
        alike[_kind(endpoint, networks)].append(endpoint)
    spans = {protocol: _spans(policies, protocol) for protocol in Transport}
    found = []
    for sources in alike.values():
        for destinations in alike.values():
            pair = next(((a, b) for a in sources for b in destinations if not a.is_of_workload_of(b)), None)
            if pair is None or (sources[0].node and destinations[0].node):  # which is for those nodes to tell
                continue
            told = list(_told(before, after, *pair, spans))
            found += [
                Gain(a, b, *what)
                for one, a in _named(sources)
                for other, b in _named(destinations)
                if not one.is_of_workload_of(other)  # which reaches itself, whatever the policies
                for what in told
            ]
    yield from sorted(found, key=lambda it: (it.source, it.destination, it.protocol, it.first))


def _named(alike: Sequence[Endpoint]) -> list[tuple[Endpoint, str]]:
    """Each that is told, and what it is called."""
    if not alike[0].node:
        return [(it, it.name) for it in alike]
    return [(alike[0], f"{alike[0]} and {len(alike) - 1} more" if len(alike) > 1 else str(alike[0]))]


def _networks(policies: Sequence[NetworkPolicy]) -> frozenset[IPNetwork]:
    """Those that some rule names."""
    return frozenset(
        network
        for policy in policies
        for direction in Direction
        for rule in policy.spec.rules(direction)
        for peer in rule.peers
        if peer.ip_block is not None
        for network in (peer.ip_block.cidr, *peer.ip_block.except_)
    )


def _kind(endpoint: Endpoint, networks: frozenset[IPNetwork]) -> _Kind:
    inside = frozenset(it for it in networks if any(address in it for address in endpoint.addresses))
    versions = tuple(sorted({address.version for address in endpoint.addresses}))
    return bool(endpoint.node), endpoint.namespace, frozenset(endpoint.labels.items()), inside, versions


def _spans(policies: Sequence[NetworkPolicy], protocol: Transport) -> list[Range]:
    starts = {1, 65536}
    for policy in policies:
        for direction in Direction:
            for rule in policy.spec.rules(direction):
                for port in rule.ports:
                    if port.protocol is protocol and port.range is not None:
                        starts |= {port.range[0], port.range[1] + 1}
    return [(first, following - 1) for first, following in pairwise(sorted(starts))]


def _told(
    before: World, after: World, source: Endpoint, destination: Endpoint, spans: dict[Transport, list[Range]]
) -> Iterator[tuple[bool, str, int, int, int]]:
    by_version = {
        version: list(_of_version(before, after, *ends, spans))
        for version in (4, 6)
        if (ends := _addresses(source, destination, version)) is not None
    }
    if len({tuple(it) for it in by_version.values()}) == 1:
        yield from ((*what, 0) for what in next(iter(by_version.values())))
    else:
        yield from ((*what, version) for version, found in by_version.items() for what in found)


def _addresses(one: Endpoint, other: Endpoint, version: int) -> tuple[IPAddress, IPAddress] | None:
    firsts = [next((it for it in end.addresses if it.version == version), None) for end in (one, other)]
    return (firsts[0], firsts[1]) if firsts[0] is not None and firsts[1] is not None else None


def _of_version(
    before: World, after: World, source: IPAddress, destination: IPAddress, spans: dict[Transport, list[Range]]
) -> Iterator[tuple[bool, str, int, int]]:
    """Spans that fare alike and meet are told as one."""

    def changes(protocol: int, port: int) -> bool | None:
        packet = Packet(source, destination, protocol, port)
        allowed = verdict(after, packet).allowed
        return allowed if allowed != verdict(before, packet).allowed else None

    if (becomes := changes(_ICMP[source.version], 0)) is not None:
        yield becomes, "ICMP", 0, 0
    for protocol, of_protocol in spans.items():
        running: tuple[bool, int, int] | None = None
        for first, last in of_protocol:
            becomes = changes(protocol.known.number, first)
            if running is not None and running[0] == becomes:
                running = running[0], running[1], last
                continue
            if running is not None:
                yield running[0], protocol, running[1], running[2]
            running = (becomes, first, last) if becomes is not None else None
        if running is not None:
            yield running[0], protocol, running[1], running[2]
