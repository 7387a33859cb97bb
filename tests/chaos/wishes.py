"""What was asked for, by RPC and in files, as far as is known for sure: the model that the daemon is held against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from netplumb.api.v1 import netplumb_pb2 as pb
from tests.chaos.peers import Peer
from tests.chaos.policies import Policy
from tests.e2e.hosts import Host
from tests.e2e.wishes import attach

Key: TypeAlias = tuple[str, str]

WORKLOADS = ("w0", "w1", "w2", "w3")
ALTERNATE = "-b"  # each workload has a second namespace, to be moved to
INTERFACES = ("eth0", "eth1")
DECLARED = ("c0", "c1")  # workloads of files alone, whose namespaces netplumb makes
FILES = ("a.yaml", "b.yaml")

USUAL_POOLS = ("10.213.0.0/24", "fd13::/64")
MORE_POOLS = (*USUAL_POOLS, "10.214.0.0/29")
OTHER_POOLS = ("10.214.0.0/29", "fd14::/64")
POOLS = (USUAL_POOLS, MORE_POOLS, OTHER_POOLS)
EVERY_POOL = tuple(dict.fromkeys(pool for pools in POOLS for pool in pools))
Limits: TypeAlias = tuple[int, int]  # what a workload receives and sends at most, bits per second; 0 is no limit
UNLIMITED: Limits = (0, 0)
LIMITS: tuple[Limits, ...] = (UNLIMITED, UNLIMITED, (10_000_000, 0), (0, 20_000_000), (30_000_000, 40_000_000))
PORTS = ("8080:80", "8081:80/udp", "9000-9002:9100")
STATICS = ("10.213.0.200", "10.213.0.201", "fd13::200", "10.99.7.7")
VISITORS = "192.0.2."  # foreign addresses on interfaces of ours begin so


@dataclass(frozen=True, slots=True)
class Wish:
    """What one Attach says."""

    workload_id: str
    if_name: str
    netns: str
    addresses: tuple[str, ...] = ()
    mtu: int = 0
    label: str = ""
    ports: tuple[str, ...] = ()
    limits: Limits = UNLIMITED
    isolated: bool = False

    @property
    def key(self) -> Key:
        return self.workload_id, self.if_name

    def request(self) -> pb.AttachRequest:
        return attach(
            Host(self.netns),
            self.workload_id,
            if_name=self.if_name,
            addresses=self.addresses,
            mtu=self.mtu,
            labels={"app": self.label} if self.label else {},
            ports=self.ports,
            bandwidth=pb.Bandwidth(ingress_rate=self.limits[0], egress_rate=self.limits[1]),
            isolate_workloads=True if self.isolated else None,
        )

    def is_listed_as(self, listed: pb.Attachment) -> bool:
        return (
            listed.netns_path == Host(self.netns).path
            and listed.mtu == self.mtu
            and dict(listed.labels) == ({"app": self.label} if self.label else {})
            and set(self.addresses) <= set(listed.addresses)
            and list(listed.port_mappings) == list(self.request().port_mappings)
            and (listed.bandwidth.ingress_rate, listed.bandwidth.egress_rate) == self.limits
            and listed.isolate_workloads == self.isolated
        )


@dataclass(frozen=True, slots=True)
class Declared:
    """One document of a state file."""

    workload_id: str
    address: str = ""

    @property
    def key(self) -> Key:
        return self.workload_id, "eth0"

    @property
    def is_created(self) -> bool:
        return self.workload_id in DECLARED


@dataclass(slots=True)
class Wishes:
    """`rpc` is what RPCs were answered with success, `doubtful` the keys of which that is not known for sure, with all
    that may hold for them (None: nothing). `files` are the last good contents, `lately` the keys that a file claimed
    until a moment ago, of which the daemon may not have heard, `policies` the network policies of a file of their own,
    `peers` the other nodes that are known."""

    rpc: dict[Key, Wish] = field(default_factory=dict)
    doubtful: dict[Key, list[Wish | None]] = field(default_factory=dict)
    files: dict[str, tuple[Declared, ...]] = field(default_factory=dict)
    lately: set[Key] = field(default_factory=set)
    policies: frozenset[Policy] = frozenset()
    peers: frozenset[Peer] = frozenset()

    def doubt(self, key: Key, *may_hold: Wish | None) -> None:
        doubts = self.doubtful.setdefault(key, [self.rpc.pop(key, None)])
        doubts.extend(may_hold)

    def namespace_gone(self, netns: str) -> None:
        """What an RPC wished for there is lost with it."""
        for key in [key for key, wish in self.rpc.items() if wish.netns == netns]:
            del self.rpc[key]
        for doubts in self.doubtful.values():
            if any(wish is not None and wish.netns == netns for wish in doubts):
                doubts.append(None)

    def declare(self, name: str, *declared: Declared) -> None:
        self.lately.update(each.key for each in self.files.pop(name, ()))
        if declared:
            self.files[name] = declared

    def claims(self) -> Mapping[tuple[str, Key], Declared]:
        return {(name, each.key): each for name, declared in self.files.items() for each in declared}

    def claimants(self, key: Key) -> list[str]:
        return [name for name, claimed in self.claims() if claimed == key]

    def may_be_claimed(self, key: Key) -> bool:
        return key in self.lately or bool(self.claimants(key))

    def resolve(self, listed: Mapping[Key, pb.Attachment]) -> Iterator[str]:
        """Settles doubts by what the daemon lists for RPCs; yields what cannot have come of the calls."""
        for key, doubts in self.doubtful.items():
            found = listed.get(key)
            if found is None:
                if None not in doubts:
                    yield f"{key} is not there, though no call can have taken it away"
                continue
            match = next((wish for wish in reversed(doubts) if wish is not None and wish.is_listed_as(found)), None)
            if match is None:
                yield f"{key} is listed as nobody asked for it: {found}"
            else:
                self.rpc[key] = match
        self.doubtful.clear()

    def differences(
        self, listed: list[pb.Attachment], namespaces: frozenset[str], hidden: frozenset[str]
    ) -> Iterator[str]:
        """What the list says otherwise than was asked for. Doubts are settled before. Of the namespaces some are
        `hidden`: they live, and are not at their paths."""
        by_rpc = {(each.workload_id, each.if_name): each for each in listed if each.source == "rpc"}
        for key in sorted(self.rpc.keys() | by_rpc.keys()):
            wish, found = self.rpc.get(key), by_rpc.get(key)
            if wish is None or found is None:
                yield f"{key}: {'not listed' if found is None else f'listed as {found.phase}'}, wished for: {wish}"
            elif found.phase != "Attached" or not wish.is_listed_as(found):
                yield f"{key}: listed as {found}, wished for: {wish}"
        by_file = {
            (each.source.removeprefix("file/"), (each.workload_id, each.if_name)): each
            for each in listed
            if each.source != "rpc"
        }
        claims = self.claims()
        for claim in sorted(claims.keys() | by_file.keys()):
            if claim not in by_file or claim not in claims:
                yield f"{claim} is {'not listed' if claim in claims else 'listed, and no file says so'}"
                continue
            if claims[claim].workload_id not in hidden:
                yield from self._of_claim(claims[claim], by_file[claim], namespaces)
        held = {(each.workload_id, each.if_name) for each in listed if each.generation}
        for _, key in claims:
            failed = [each for each in listed if each.phase == "Failed" and (each.workload_id, each.if_name) == key]
            if key not in held and not failed:
                yield f"{key} is held by nobody, though {self.claimants(key)} claim it"

    def _of_claim(self, claim: Declared, found: pb.Attachment, namespaces: frozenset[str]) -> Iterator[str]:
        if not found.generation:
            return  # it waits for a key or an address of another
        there = claim.is_created or claim.workload_id in namespaces
        if found.phase != ("Attached" if there else "Pending"):
            yield f"{found.source} {claim.key} is {found.phase}, its namespace is {'there' if there else 'missing'}"
        if claim.address and claim.address not in found.addresses:
            yield f"{found.source} {claim.key} has {found.addresses}, not {claim.address}"
