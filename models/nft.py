"""The objects of our nftables table, `inet netplumb`, the names of those beside it, and the canonical text of a rule.

The sets and maps that the table has are fixed, and are `TABLE_SETS`, but for those of network policies' peers; what
varies beside are its rules and its elements. An element that belongs to an attachment carries the name of that
attachment's link on the node as its comment, so that its owner can be read from it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from netplumb.models.networkpolicy import Direction

HOOKS_TABLE = "netplumb-hooks"
REMOTE_TABLE = "netplumb-remote"
VERDICT = "verdict"
"""The value type of a map that leads to chains; such a value is a chain's name, and its rules end in it (goto)."""

Match = tuple[str | int, ...]
"""What an element of a set matches: one value for each part of the set's type."""


@dataclass(frozen=True, slots=True)
class NftSet:
    """A set, or with a `value_type` a map, without its elements. Types are named as nft(8) names them. One that `tells`
    counts for each element the packets that met it, and meets only so many of them that each can be told of."""

    rank: ClassVar[int] = 14

    name: str
    types: tuple[str, ...]
    value_type: str = ""
    tells: bool = False

    @property
    def key(self) -> tuple[object, ...]:
        return (NftSet, self.name)

    def __str__(self) -> str:
        kind = f" : {self.value_type}" if self.value_type else ""
        told = " counter limit" if self.tells else ""
        what = "map" if self.value_type else "set"
        return f"nft {what} inet netplumb {self.name} {{ {' . '.join(self.types)}{kind}{told} }}"


@dataclass(frozen=True, slots=True)
class NftChain:
    """A chain of our nftables table with all its rules, in order.

    A rule is libnftables' own JSON expression list (libnftables-json(5)) as compact text with sorted keys and without
    counter values, the form in which it is listed back. An empty `hook` means a regular chain.
    """

    rank: ClassVar[int] = 15

    name: str
    type: str = ""
    hook: str = ""
    priority: int = 0
    policy: str = ""
    rules: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[object, ...]:
        return (NftChain, self.name)

    def __str__(self) -> str:
        words = f"nft chain inet netplumb {self.name}"
        if self.hook:
            words += f" {{ type {self.type} hook {self.hook} priority {self.priority}; policy {self.policy}; }}"
        return f"{words} with {len(self.rules)} rules"


@dataclass(frozen=True, slots=True)
class NftElement:
    """An element of a set, or with a `value` of a map. `owner` is a link on the node."""

    rank: ClassVar[int] = 16

    set: str
    match: Match
    value: str | int | None = None
    owner: str = ""

    @property
    def key(self) -> tuple[object, ...]:
        return (NftElement, self.set, self.match)

    def __str__(self) -> str:
        value = f" : {self.value}" if self.value is not None else ""
        return f"nft element inet netplumb {self.set} {{ {' . '.join(map(str, self.match))}{value} }}"


@dataclass(frozen=True, slots=True)
class NftHooks:
    """Our second table, of chains that do nothing: by it connections stay tracked and translated while the other table
    is away. The daemon owns it, so that others can neither flush nor change it, and it ends with the daemon."""

    rank: ClassVar[int] = 13

    @property
    def key(self) -> tuple[object, ...]:
        return (NftHooks,)

    def __str__(self) -> str:
        return f"nft table inet {HOOKS_TABLE}, owned, with chains that do nothing"


def port_sets(version: int, *, at_one_address: bool) -> tuple[NftSet, NftSet]:
    """Where a port of the node leads, at every address of the node or at one: the maps to the workload's address and
    to its port. They are two, since libnftables' JSON cannot declare a map to both."""
    address = f"ipv{version}_addr"
    types: tuple[str, ...]
    if at_one_address:
        types, name = (address, "inet_proto", "inet_service"), f"port_at{version}"
    else:
        types, name = ("inet_proto", "inet_service"), f"port{version}"
    return NftSet(f"{name}_address", types, address), NftSet(f"{name}_port", types, "inet_service")


PORT_SETS = tuple(
    (version, port_sets(version, at_one_address=at_one)) for version in (4, 6) for at_one in (False, True)
)
"""All of them, with the IP version that each pair is for."""


def hairpin_set(version: int) -> NftSet:
    """Pairs of one address twice: workloads that ports of the node lead to, and so may lead back to."""
    address = f"ipv{version}_addr"
    return NftSet(f"hairpin{version}", (address, address))


def sibling_set(version: int) -> NftSet:
    """Links, and addresses of the same workload's other interfaces that may come over them."""
    return NftSet(f"sibling{version}", ("ifname", f"ipv{version}_addr"))


NODE_CLOSED = NftSet("node_closed", ("ifname",))
NODE_OPEN = NftSet("node_open", ("ifname",))
WORKLOADS_CLOSED = NftSet("workloads_closed", ("ifname",))
WORKLOADS_OPEN = NftSet("workloads_open", ("ifname",))
"""Links of workloads that are kept from the node or from other workloads, or are not, whatever the node's setting."""

POLICY_MAPS = {direction: NftSet(f"policy_{direction.lower()}", ("ifname",), VERDICT) for direction in Direction}
"""The links of workloads that network policies isolate, each with the chain that judges what it sends or is sent."""

POLICY_DENIED = {
    direction: NftSet(f"policy_{direction.lower()}_denied", ("ifname",), tells=True) for direction in Direction
}
"""Links of workloads that network policies isolate, each with how many of its packets they denied."""

INGRESS_ALONE = NftSet("policy_ingress_alone", ("ifname",))
EGRESS_ALONE = NftSet("policy_egress_alone", ("ifname",))
ISOLATED_ALONE = {Direction.INGRESS: INGRESS_ALONE, Direction.EGRESS: EGRESS_ALONE}
"""Links that policies isolate in one direction and not in the other."""


def peers_set(name: str) -> NftSet:
    """Those whom a rule of a policy names by selectors: links of this node's workloads, and by their IP version the
    addresses of those of other nodes. There are as many of these sets as rules differ in that."""
    _, version, family = name.rpartition("_ip")
    return NftSet(name, (f"ipv{family}_addr",) if version and family in ("4", "6") else ("ifname",))


def peer_addresses(name: str, version: int) -> NftSet:
    """Beside a set of links, the addresses of one IP version."""
    return peers_set(f"{name}_ip{version}")


def is_of_policies(name: str) -> bool:
    """Whether a set or a chain of this name is network policies'."""
    return name.startswith(("policy_", "peers_", "ingress_", "egress_"))


def is_of_crowding(name: str) -> bool:
    """Whether a chain of this name bounds who holds too many flows."""
    return name.startswith("crowding_")


def is_ours(declared: NftSet) -> bool:
    """Whether netplumb makes such a set."""
    return declared in TABLE_SETS or (declared.name.startswith("peers_") and declared == peers_set(declared.name))


TABLE_SETS = (
    *(it for _, pair in PORT_SETS for it in pair),
    *(hairpin_set(version) for version in (4, 6)),
    *(sibling_set(version) for version in (4, 6)),
    *(NODE_CLOSED, NODE_OPEN, WORKLOADS_CLOSED, WORKLOADS_OPEN),
    *POLICY_MAPS.values(),
    *POLICY_DENIED.values(),
    *(INGRESS_ALONE, EGRESS_ALONE),
)


def canonical_rule(expressions: Sequence[Any], comment: str | None = None) -> str:
    """libnftables' JSON of a rule (libnftables-json(5)) without what changes by itself: counter values."""
    stable = [_without_counts(expression) for expression in expressions]
    rule = {"expr": stable} if comment is None else {"comment": comment, "expr": stable}
    return json.dumps(rule, sort_keys=True, separators=(",", ":"))


def _without_counts(expression: Any) -> Any:
    # A counter with a name is an object that the rule refers to, and no count.
    if isinstance(expression, dict) and "counter" in expression and not isinstance(expression["counter"], str):
        return {"counter": None}
    return expression
