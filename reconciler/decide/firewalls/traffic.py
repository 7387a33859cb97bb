"""What goes through the node for workloads, by kind, and as what each hook of netfilter sees it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from ipaddress import ip_network

from netplumb.models.attachment import Attachment
from netplumb.models.base import IPAddress
from netplumb.models.cluster import ClusterMode, ClusterView
from netplumb.models.naming import node_if_name
from netplumb.models.network import Pool
from netplumb.models.nodenetwork import NodeNetwork
from netplumb.reconciler.decide.firewalls.answers import Range, merged
from netplumb.reconciler.decide.render.expressions import PRIORITY_CONNTRACK, PRIORITY_DSTNAT, PRIORITY_SRCNAT

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58

ANY_PORT: tuple[Range, ...] = ((0, 0xFFFF),)
EPHEMERAL: tuple[Range, ...] = ((32768, 60999),)
"""What a client sends from, unless it asks for a port: net.ipv4.ip_local_port_range."""


class Side(Enum):
    """Where a packet comes in or goes out."""

    OURS = "a workload's link"
    OUTSIDE = "an uplink"
    UNDERLAY = "the interface by which other nodes are reached"
    NOWHERE = "none"


class Party(Enum):
    WORKLOAD = "a workload"
    NODE = "the node"
    PEER = "another node of its cluster"
    FOREIGN = "somebody else"


@dataclass(frozen=True)
class Tunnel:
    """VXLAN between this node and others: its UDP port, and both ends, which are of one IP version. It is known by no
    link of ours, since it is the node's own packets that carry it."""

    port: int
    local: IPAddress
    peers: frozenset[IPAddress]
    links: frozenset[str]

    @cached_property
    def ranges(self) -> tuple[Range, ...]:
        return merged((int(it), int(it)) for it in self.peers)


def tunnel(view: ClusterView, port: int, known: NodeNetwork) -> Tunnel | None:
    """None where the cluster has none, or nobody is at its other end."""
    local = view.underlay.v4 or view.underlay.v6
    if view.mode is not ClusterMode.VXLAN or local is None:
        return None
    ends = (it.underlay.of(local.version) for it in view.peers.values() if it.prefixes)
    peers = frozenset(it for it in ends if it is not None)
    links = frozenset(link for ip, link in known.foreign if ip == local)
    return Tunnel(port, local, peers, links) if peers else None


@dataclass(frozen=True)
class Ours:
    """What traffic of ours can be told by. `links` are the attachments' on the node; `ports` are mapped: (IP version,
    protocol) to the node's ports and those of workloads that they lead to."""

    pools: tuple[Pool, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    masquerade: bool = True
    uplinks: frozenset[str] = frozenset()
    node_addresses: frozenset[IPAddress] = frozenset()
    tunnel: Tunnel | None = None

    @cached_property
    def links(self) -> frozenset[str]:
        return frozenset(node_if_name(it.key) for it in self.attachments)

    @cached_property
    def versions(self) -> tuple[int, ...]:
        return tuple(sorted({pool.version for pool in self.pools} | {it.version for it in self._held()}))

    def held(self, version: int) -> tuple[Range, ...]:
        """Addresses that workloads have."""
        return self._held_ranges[version]

    def wanted(self, version: int) -> tuple[Range, ...]:
        """Addresses that workloads have or may be given."""
        return self._wanted_ranges[version]

    def node(self, version: int) -> tuple[Range, ...]:
        return self._node_ranges[version]

    @cached_property
    def ports(self) -> Mapping[tuple[int, int], tuple[tuple[Range, ...], tuple[Range, ...]]]:
        found: dict[tuple[int, int], tuple[list[Range], list[Range]]] = {}
        for mapping in (mapping for it in self.attachments for mapping in it.spec.port_mappings):
            for version in mapping.versions:
                host, inner = found.setdefault((version, mapping.protocol.number), ([], []))
                host.append((mapping.host_port, mapping.last_host_port))
                inner.append((mapping.container_port, mapping.container_port + mapping.size - 1))
        return {key: (merged(host), merged(inner)) for key, (host, inner) in found.items()}

    def _held(self) -> Iterator[IPAddress]:
        return (address for it in self.attachments for address in it.addresses)

    @cached_property
    def _held_ranges(self) -> Mapping[int, tuple[Range, ...]]:
        return _by_version((it.version, (int(it), int(it))) for it in self._held())

    @cached_property
    def _wanted_ranges(self) -> Mapping[int, tuple[Range, ...]]:
        pools = [(pool.version, network_range(str(pool.cidr))) for pool in self.pools]
        return _by_version([*pools, *((it.version, (int(it), int(it))) for it in self._held())])

    @cached_property
    def _node_ranges(self) -> Mapping[int, tuple[Range, ...]]:
        return _by_version((it.version, (int(it), int(it))) for it in self.node_addresses)


def network_range(prefix: str) -> Range:
    network = ip_network(prefix, strict=False)
    return int(network.network_address), int(network.broadcast_address)


def _by_version(ranges: Iterable[tuple[int, Range]]) -> Mapping[int, tuple[Range, ...]]:
    found: dict[int, list[Range]] = {4: [], 6: []}
    for version, each in ranges:
        found[version].append(each)
    return {version: merged(each) for version, each in found.items()}


@dataclass(frozen=True, slots=True)
class Packet:
    """A kind of packet as one hook sees it. `answer` is one of a connection that the other end began. Ports are a
    client's and any, but for those that are `mapped`."""

    about: str
    version: int
    protocol: int
    iif: Side
    oif: Side
    src: Party
    dst: Party
    answer: bool = False
    error: bool = False
    """Of ICMP, about a packet of such a connection."""
    sports: tuple[Range, ...] = EPHEMERAL
    dports: tuple[Range, ...] = ANY_PORT
    mapped: bool = False
    tracked: bool = True
    named_only: bool = False
    """Told only where a rule names what is ours: whether it should flow at all is the administrator's business."""

    @property
    def is_between_nodes(self) -> bool:
        return Party.PEER in (self.src, self.dst)

    @property
    def state(self) -> str:
        """As conntrack has it. Before it has seen a packet, rules find that invalid."""
        if not self.tracked:
            return "invalid"
        return "related" if self.error else "established" if self.answer else "new"


def _kinds(ours: Ours, version: int) -> Iterator[tuple[Packet, Packet]]:
    """Each kind within the node, and as it is outside: as it comes in before the node's address and port are
    translated, or as an answer leaves with these."""
    plain = (TCP, UDP, ICMP if version == 4 else ICMPV6)
    w, n, f = Party.WORKLOAD, Party.NODE, Party.FOREIGN
    i, o, nowhere = Side.OURS, Side.OUTSIDE, Side.NOWHERE
    for protocol in plain:
        out = Packet("what workloads send out", version, protocol, i, o, w, f)
        yield out, out
        back = _answers(Packet("answers to workloads", version, protocol, o, i, f, w))
        yield _back(back, ours)
        yield _same(Packet("what workloads send each other", version, protocol, i, i, w, w))
        yield _same(Packet("what the node sends to workloads", version, protocol, nowhere, i, n, w))
        yield _same(_answers(Packet("workloads' answers to the node", version, protocol, i, nowhere, w, n)))
        yield _same(Packet("what workloads send to the node", version, protocol, i, nowhere, w, n, named_only=True))
        if not ours.masquerade:
            yield _same(Packet("what is sent to workloads", version, protocol, o, i, f, w))
    yield _back(Packet("ICMP errors to workloads", version, plain[2], o, i, f, w, answer=True, error=True), ours)
    for (of_version, protocol), (host, inner) in ours.ports.items():
        if of_version == version:
            into = Packet("what is sent to mapped ports", version, protocol, o, i, f, w, dports=inner, mapped=True)
            yield into, replace(into, dst=n, dports=host)
            out = _answers(Packet("answers of mapped ports", version, protocol, i, o, w, f, dports=inner, mapped=True))
            yield out, replace(out, src=n, sports=host)


def _between_nodes(tunnel: Tunnel) -> Iterator[tuple[Packet, Packet]]:
    """Each end sends from ports of its own choice, so that no packet is an answer."""
    version, port = tunnel.local.version, ((tunnel.port, tunnel.port),)
    under, nowhere, node, peer = Side.UNDERLAY, Side.NOWHERE, Party.NODE, Party.PEER
    yield _same(Packet("VXLAN from other nodes", version, UDP, under, nowhere, peer, node, dports=port))
    yield _same(Packet("VXLAN to other nodes", version, UDP, nowhere, under, node, peer, dports=port))


def _answers(packet: Packet) -> Packet:
    return replace(packet, answer=True, sports=packet.dports, dports=packet.sports)


def _back(packet: Packet, ours: Ours) -> tuple[Packet, Packet]:
    return packet, replace(packet, dst=Party.NODE) if ours.masquerade else packet


def _same(packet: Packet) -> tuple[Packet, Packet]:
    return packet, packet


def _all_kinds(ours: Ours, version: int) -> Iterator[tuple[Packet, Packet]]:
    if version in ours.versions:
        yield from _kinds(ours, version)
    if ours.tunnel is not None and ours.tunnel.local.version == version:
        yield from _between_nodes(ours.tunnel)


def at_hook(ours: Ours, family: str, hook: str, priority: int) -> Sequence[Packet]:
    """What a chain of this family sees there."""
    versions = {"ip": (4,), "ip6": (6,), "inet": (4, 6), "netdev": (4, 6)}.get(family, ())
    return [
        seen
        for version in versions
        for inside, wire in _all_kinds(ours, version)
        if (seen := _seen(inside, wire, hook, priority, ours)) is not None
    ]


def _seen(inside: Packet, wire: Packet, hook: str, priority: int, ours: Ours) -> Packet | None:
    to_node, from_node = inside.oif is Side.NOWHERE, inside.iif is Side.NOWHERE
    coming = inside if inside.iif is Side.OURS else wire
    match hook:
        case "ingress" if not from_node:
            return replace(coming, oif=Side.NOWHERE, tracked=False)
        case "prerouting" if not from_node:
            seen = coming if priority < PRIORITY_DSTNAT else inside
            return replace(seen, oif=Side.NOWHERE, tracked=priority >= PRIORITY_CONNTRACK)
        case "input" if to_node:
            return inside
        case "forward" if not to_node and not from_node:
            return inside
        case "output" if from_node:
            return replace(inside, tracked=priority >= PRIORITY_CONNTRACK)
        case "postrouting" | "egress" if not to_node:
            if inside.oif is not Side.OUTSIDE or (hook == "postrouting" and priority < PRIORITY_SRCNAT):
                return inside
            if inside.answer:
                return wire
            return replace(inside, src=Party.NODE) if ours.masquerade else inside
        case _:
            return None
