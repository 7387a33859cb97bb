"""PURE: whether a packet that begins a flow may pass, by the letter of Kubernetes' documentation (NetworkPolicySpec of
networking.k8s.io/v1, and "Network Policies" of its concepts).

Written from that text and from nothing else: the rules of nftables are made elsewhere, and tests hold the two together
packet by packet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from netplumb.models.base import IPAddress
from netplumb.models.networkpolicy import (
    Direction,
    IPBlock,
    Namespace,
    NetworkPolicy,
    Peer,
    PolicyKey,
    PolicyPort,
    Rule,
    namespace_labels,
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A workload's interface: what policies see of it. `node` is the other node that it is on, empty for this one."""

    name: str
    namespace: str
    labels: Mapping[str, str]
    addresses: Sequence[IPAddress]
    node: str = ""

    def __str__(self) -> str:
        return f"{self.node}/{self.name}" if self.node else self.name

    def is_of_workload_of(self, other: Endpoint) -> bool:
        """Whether both are interfaces of one workload."""
        return (self.node, self._workload) == (other.node, other._workload)

    @property
    def _workload(self) -> str:
        return self.name.rpartition("/")[0] or self.name

    def is_called(self, word: str) -> bool:
        """Its name, or its workload's, with its node's before it or without."""
        names = (self.name, self.name.rpartition("/")[0])
        return word in names or any(word == f"{self.node}/{it}" for it in names)


@dataclass(frozen=True, slots=True)
class Packet:
    """The first of a flow, as who sent it addressed it, or as a port of the node leads it on. `protocol` is IANA's
    number; one without ports has port 0."""

    source: IPAddress
    destination: IPAddress
    protocol: int
    port: int = 0


@dataclass(frozen=True, slots=True)
class World:
    """What there is: policies, namespaces whose labels somebody declared, workloads, and the node's own addresses. What
    workloads `elsewhere` may do is judged where they are; here they are whom others ask, or who asks."""

    policies: Sequence[NetworkPolicy] = ()
    namespaces: Mapping[str, Namespace] = field(default_factory=dict)
    endpoints: Sequence[Endpoint] = ()
    node: frozenset[IPAddress] = frozenset()
    elsewhere: Sequence[Endpoint] = ()
    _by_address: dict[IPAddress, Endpoint] = field(default_factory=dict, init=False, repr=False)
    _judged: set[int] = field(default_factory=set, init=False, repr=False)
    _selecting: dict[tuple[str, Direction], list[NetworkPolicy]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self._by_address.update((address, it) for it in self.elsewhere for address in it.addresses)
        self._by_address.update((address, it) for it in self.endpoints for address in it.addresses)
        self._judged.update(id(it) for it in self.endpoints)

    def endpoint_at(self, address: IPAddress) -> Endpoint | None:
        return self._by_address.get(address)

    def is_judged(self, endpoint: Endpoint) -> bool:
        """Whether what it may do is decided here."""
        return id(endpoint) in self._judged

    def selecting(self, subject: Endpoint, direction: Direction) -> Sequence[NetworkPolicy]:
        """The policies that isolate it, found out once."""
        asked = (str(subject), direction)
        if (known := self._selecting.get(asked)) is None:
            known = self._selecting[asked] = [it for it in self.policies if isolates(it, subject, direction)]
        return known


@dataclass(frozen=True, slots=True)
class Allowance:
    """The rule of a policy that lets it pass, counted from 0."""

    policy: PolicyKey
    rule: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """Of one end: the policies that isolate it in this direction, and what of them lets the packet pass."""

    direction: Direction
    isolated_by: tuple[PolicyKey, ...] = ()
    allowed_by: tuple[Allowance, ...] = ()

    @property
    def allowed(self) -> bool:
        return not self.isolated_by or bool(self.allowed_by)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`always` tells why no policy is asked."""

    egress: Judgement
    ingress: Judgement
    always: str = ""

    @property
    def allowed(self) -> bool:
        """ "For a connection from a source pod to a destination pod to be allowed, both the egress policy on the source
        pod and the ingress policy on the destination pod need to allow the connection." """
        return self.egress.allowed and self.ingress.allowed


def verdict(world: World, packet: Packet) -> Verdict:
    source, destination = world.endpoint_at(packet.source), world.endpoint_at(packet.destination)
    egress, ingress = Judgement(Direction.EGRESS), Judgement(Direction.INGRESS)
    # "A Pod cannot block access to itself."
    ends_are_one = source is not None and destination is not None and source.is_of_workload_of(destination)
    if packet.source == packet.destination or ends_are_one:
        return Verdict(egress, ingress, "a workload always reaches itself")
    # "Traffic to and from the node where a Pod is running is always allowed, regardless of the IP address of the Pod or
    # the node."
    if any(it in world.node or it.is_loopback for it in (packet.source, packet.destination)):
        return Verdict(egress, ingress, "a workload and its own node always reach each other")
    return Verdict(
        _judged(world, Direction.EGRESS, source, packet.destination, packet),
        _judged(world, Direction.INGRESS, destination, packet.source, packet),
    )


def _judged(
    world: World, direction: Direction, subject: Endpoint | None, other: IPAddress, packet: Packet
) -> Judgement:
    if subject is None or not world.is_judged(subject):
        return Judgement(direction)
    selecting = world.selecting(subject, direction)
    allowances = [
        Allowance(policy.policy_key, number)
        for policy in selecting
        for number, rule in enumerate(policy.spec.rules(direction))
        if _ports_hold(rule, packet) and _peers_hold(rule, policy, world, other)
    ]
    return Judgement(direction, tuple(policy.policy_key for policy in selecting), tuple(allowances))


def isolates(policy: NetworkPolicy, subject: Endpoint, direction: Direction) -> bool:
    """ "A pod is isolated for egress if there is any NetworkPolicy that both selects the pod and has "Egress" in its
    policyTypes"; ingress likewise. A policy selects pods of its own namespace."""
    return (
        direction in policy.spec.directions
        and policy.metadata.namespace == subject.namespace
        and policy.spec.pod_selector.matches(subject.labels)
    )


def _ports_hold(rule: Rule, packet: Packet) -> bool:
    """ "If this field is empty or missing, this rule matches all ports (traffic not restricted by port)." """
    return not rule.ports or any(_port_holds(port, packet) for port in rule.ports)


def _port_holds(port: PolicyPort, packet: Packet) -> bool:
    """ "If [port] is not provided, this matches all port names and numbers"; endPort, "if set, indicates that the range
    of ports from port to endPort if set, inclusive, should be allowed"."""
    if port.protocol.known.number != packet.protocol:
        return False
    return port.range is None or port.range[0] <= packet.port <= port.range[1]


def _peers_hold(rule: Rule, policy: NetworkPolicy, world: World, other: IPAddress) -> bool:
    """ "If this field is empty or missing, this rule matches all sources"; items are combined by a logical OR."""
    return not rule.peers or any(_peer_holds(peer, policy, world, other) for peer in rule.peers)


def _peer_holds(peer: Peer, policy: NetworkPolicy, world: World, other: IPAddress) -> bool:
    if peer.ip_block is not None:
        return _block_holds(peer.ip_block, other)
    endpoint = world.endpoint_at(other)
    return endpoint is not None and selects(peer, policy, world.namespaces, endpoint)


def _block_holds(block: IPBlock, address: IPAddress) -> bool:
    return address in block.cidr and not any(address in network for network in block.except_)


def selects(peer: Peer, policy: NetworkPolicy, namespaces: Mapping[str, Namespace], endpoint: Endpoint) -> bool:
    """ "If NamespaceSelector is also set, then the NetworkPolicyPeer as a whole selects the pods matching PodSelector
    in the namespaces selected by NamespaceSelector. Otherwise it selects the pods matching PodSelector in the policy's
    own namespace." """
    if peer.namespace_selector is None:
        inside = endpoint.namespace == policy.metadata.namespace
    else:
        labels = namespace_labels(endpoint.namespace, namespaces.get(endpoint.namespace))
        inside = peer.namespace_selector.matches(labels)
    return inside and (peer.pod_selector is None or peer.pod_selector.matches(endpoint.labels))


def explained(judgement: Judgement, world: World) -> Iterator[str]:
    """A judgement in words, a line each."""
    which = "egress" if judgement.direction is Direction.EGRESS else "ingress"
    if not judgement.isolated_by:
        yield f"{which}: no policy selects this end, so everything passes"
        return
    for allowance in judgement.allowed_by:
        policy = next(it for it in world.policies if it.policy_key == allowance.policy)
        yield f"{which}: allowed by {allowance.policy}, rule {allowance.rule + 1}: " + rule_words(
            policy.spec.rules(judgement.direction)[allowance.rule]
        )
    if not judgement.allowed_by:
        yield f"{which}: denied; no rule of {', '.join(map(str, judgement.isolated_by))} allows it"


def rule_words(rule: Rule) -> str:
    peers = "; ".join(map(str, rule.peers)) or "everyone"
    ports = ", ".join(map(str, rule.ports)) or "every protocol"
    return f"{peers} ({ports})"
