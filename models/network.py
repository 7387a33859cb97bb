"""The node's side of desired state: pools, and the switches that hold for the whole node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from netplumb.models import written
from netplumb.models.base import IPAddress, IPNetwork, Model
from netplumb.models.cluster import ClusterView
from netplumb.models.fields import LabelKey, LabelValue, PoolName
from netplumb.models.flows import NO_CROWDING, Crowding
from netplumb.models.nodenetwork import Source
from netplumb.models.policy import ForeignRule
from netplumb.models.policyset import NO_POLICIES, Combination, PolicySet
from netplumb.models.routing import parse_prefix


def _usable(prefix: IPNetwork) -> IPNetwork:
    longest = 30 if prefix.version == 4 else 126
    if prefix.prefixlen > longest:
        raise ValueError(f"{prefix} is too small: the node needs an address of its own, so /{longest} is the least")
    if prefix.is_multicast or prefix.is_loopback or prefix.is_link_local or prefix.is_unspecified:
        raise ValueError(f"{prefix} is not a range for workloads")
    return prefix


Prefix = Annotated[
    IPNetwork, BeforeValidator(parse_prefix), AfterValidator(_usable), WithJsonSchema(written.POOL_PREFIX)
]


class Pool(Model):
    """A prefix from which workloads are given addresses. The first address is the node's own.

    Pools may share a name: an attachment that names it gets an address of each family from them. A pool with labels
    serves, unnamed, only attachments that carry all of these labels; and those take from such pools alone. One that is
    exclusive serves only attachments that name it.
    """

    cidr: Prefix = Field(description="The prefix, such as 10.99.0.0/24 or fd99::/64")
    name: PoolName = Field(default="", description="What attachments call it; its prefix without one")
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, description="Which attachments it is for")
    reserved: tuple[IPAddress, ...] = Field(default=(), description="Addresses never given out")
    exclusive: bool = Field(default=False, description="Whether it is only for attachments that name it")

    @model_validator(mode="after")
    def _exclusive_or_labelled(self) -> Self:
        if self.exclusive and self.labels:
            raise ValueError("exclusive: a pool that is only for who names it is for no labels; leave one of them out")
        return self

    @model_validator(mode="after")
    def _reserved_within(self) -> Self:
        for address in self.reserved:
            if address not in self.cidr:
                raise ValueError(f"reserved: {address} is not within {self.cidr}")
        return self

    @property
    def prefix(self) -> str:
        """The prefix as text: what the pool is known by, as no two overlap."""
        return str(self.cidr)

    def __hash__(self) -> int:
        return hash(self.cidr)  # labels are a mapping, and no two pools overlap

    def is_called(self, name: str) -> bool:
        return name in (self.name, self.prefix)

    def is_for(self, labels: Mapping[str, str]) -> bool:
        return self.labels.items() <= labels.items()

    @property
    def node_address(self) -> IPAddress:
        return ip_address(int(self.cidr.network_address) + 1)

    @property
    def version(self) -> int:
        return self.cidr.version


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What others set up on the node. `accept_ra_interfaces` listen to router advertisements; `not_forwarding` carry
    routes and forward nothing of IPv4; `rules` choose routing tables, in the kernel's order."""

    accept_ra_interfaces: tuple[str, ...] = ()
    not_forwarding: tuple[str, ...] = ()
    rules: tuple[ForeignRule, ...] = ()


@dataclass(frozen=True, slots=True)
class Families:
    """Which address families can be rendered for one attachment, and the switch by which IPv6 is off."""

    v4: bool = True
    v6: bool = True
    switch: str = field(default="", compare=False)

    def has(self, address: IPAddress) -> bool:
        return self.v4 if address.version == 4 else self.v6


@dataclass(frozen=True, slots=True)
class Node:
    """What rendering must know of the node: switches from the settings, and facts read from the kernel.

    `node_addresses` are the addresses that the node answers from towards workloads: those of the pools and those
    which attachments of a removed pool still use. `mtu` is that of the uplink unless a setting says otherwise. `ipv6`
    is False where the node's loopback has IPv6 switched off, without which nothing of it is had, by `ipv6_switch`;
    `ipv6_for_new_links` where interfaces to come have none. `workload_prefixes` hold every workload's address, `around`
    is what others set up there, `sources` are the addresses that packets leave with where it is not masquerading that
    chooses, `uppers` the interfaces of others on top of workloads' links, `crowding` the links that hold too many flows
    for now, and `owns_tables` whether the kernel lets the daemon own a table; `policies` are in force, `combinations`
    are those of them that select workloads, and `unlabelled` whether there are workloads whose labels nobody has said
    since the store was lost, and `tells_denied` whether the kernel can tell what is denied; `cluster` is what is known
    of other nodes, None where there is no cluster: all these concern the node's own objects, and take no part in
    comparison.
    """

    node_addresses: tuple[IPAddress, ...] = ()
    masquerade: bool = True
    mtu: int = 1500
    ipv6: bool = True
    ipv6_for_new_links: bool = True
    ipv6_switch: str = field(default="", compare=False)
    isolate_node: bool = False
    isolate_workloads: bool = False
    workload_prefixes: tuple[IPNetwork, ...] = field(default=(), compare=False)
    around: Surroundings = field(default_factory=Surroundings, compare=False)
    sources: tuple[Source, ...] = field(default=(), compare=False)
    uppers: tuple[str, ...] = field(default=(), compare=False)
    crowding: Crowding = field(default=NO_CROWDING, compare=False)
    owns_tables: bool = field(default=False, compare=False)
    policies: PolicySet = field(default=NO_POLICIES, compare=False)
    combinations: frozenset[Combination] = field(default=frozenset(), compare=False)
    unlabelled: bool = field(default=False, compare=False)
    tells_denied: bool = field(default=False, compare=False)
    cluster: ClusterView | None = field(default=None, compare=False)

    @property
    def cluster_prefixes(self) -> tuple[IPNetwork, ...]:
        """Those of all nodes' workloads together, this one's among them. Nothing between them is translated."""
        return self.cluster.pools if self.cluster is not None else ()

    def has_policies_of(self, other: Node) -> bool:
        return self.policies is other.policies and self.combinations == other.combinations

    @property
    def families_of_new_links(self) -> Families:
        """What a new attachment can have, as far as the node tells."""
        if not self.ipv6:
            return Families(v6=False, switch=f"{self.ipv6_switch} on the node")
        if not self.ipv6_for_new_links:
            return Families(v6=False, switch="net.ipv6.conf.default.disable_ipv6 on the node")
        return Families()
