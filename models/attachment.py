"""What a client asks for, and what is kept of it.

`AttachmentSpec` is the wish, word for word, as an RPC or a state file states it; every rule about a single wish is
checked here and nowhere else. `Attachment` is the record that the store keeps: the wish and what was assigned to it.
Both are frozen; a change is a new object.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Self

from pydantic import ConfigDict, Field, field_serializer, model_validator

from netplumb.models import written
from netplumb.models.bandwidth import Bandwidth
from netplumb.models.base import GivenAddress, IPAddress, Model
from netplumb.models.fields import (
    LABEL_KEY_MAX_CHARS,
    MTU_MAX,
    MTU_MIN,
    AbsolutePath,
    AssignableAddress,
    ContainerId,
    IfName,
    LabelKey,
    LabelValue,
    Mac,
    Mtu,
    NetnsName,
    PoolName,
    WorkloadId,
)
from netplumb.models.kernel import FIRST_HOP_V4, FIRST_HOP_V6
from netplumb.models.networkpolicy import DEFAULT_NAMESPACE, NamespaceOrNone
from netplumb.models.ports import PortMapping, PortMappings
from netplumb.models.routing import Dns, ExtraRoute, SysctlName, SysctlValue
from netplumb.models.words import address_words, ip_words

RPC_SOURCE = "rpc"
CNI_SOURCE_PREFIX = "cni/"
FILE_SOURCE_PREFIX = "file/"
APPLIED_SOURCE = "applied"  # of documents that clients said
CLUSTER_SOURCE = "cluster"  # of documents in etcd
POD_UID = "K8S_POD_UID"  # the label with which runtimes name the pod that a workload is, of Kubernetes' CNI_ARGS
POD_NAMESPACE = "K8S_POD_NAMESPACE"  # likewise the label with which they name the pod's namespace
REBUILT_SOURCE = "rebuilt"  # of a record made from the kernel's marks: whose it was is not known
NETNS_DIR = "/run/netns"  # where iproute2 keeps named network namespaces, ip-netns(8)
ROUTES_MAX = 256


class AttachmentKey(NamedTuple):
    """What an attachment is known by. One workload may have several, one for each interface name."""

    workload_id: str
    if_name: str

    def __str__(self) -> str:
        return f"{self.workload_id}/{self.if_name}"


def keepable_annotations(annotations: Mapping[str, str]) -> dict[str, str]:
    """Those that a wish can hold. People write there what they like, and what cannot be held must fail nothing."""
    return {k: v for k, v in annotations.items() if 0 < len(k) <= LABEL_KEY_MAX_CHARS and k.isprintable()}


class NetnsRef(Model):
    """Which network namespace: a path, or the name of one below /run/netns that netplumb may create."""

    model_config = ConfigDict(json_schema_extra=written.PATH_OR_NAME)

    path: AbsolutePath = Field(default="", description="Path of a network namespace")
    name: NetnsName = Field(default="", description="Name of a namespace in /run/netns")
    create: bool = Field(default=False, description="Make the named namespace, and remove it with the attachment")

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if bool(self.path) == bool(self.name):
            raise ValueError("give either a path or a name")
        if self.create and not self.name:
            raise ValueError("create: true needs a name, not a path")
        return self

    @property
    def where(self) -> str:
        """The path, whichever way the namespace was named."""
        return self.path or f"{NETNS_DIR}/{self.name}"

    @property
    def last(self) -> str:
        """The last part of the path."""
        return self.where.rpartition("/")[2]


class AttachmentSpec(Model):
    """One wish: give this interface, in this namespace, a network.

    An address family without an address here gets one from the node's pools of that family, if there are any.
    """

    workload_id: WorkloadId = Field(description="The workload; with if_name the key. 1 to 200 bytes, printable")
    netns: NetnsRef = Field(description="The workload's network namespace")
    if_name: IfName = Field(default="eth0", description="The interface's name in the workload")
    container_id: ContainerId = Field(default="", description="The runtime's id of the container (CNI_CONTAINERID)")
    addresses: tuple[AssignableAddress, ...] = Field(
        default=(),
        max_length=16,
        description="Static addresses, from a pool or outside all pools",
        json_schema_extra={"uniqueItems": True},
    )
    allow_foreign_address: bool = Field(
        default=False, description="Static addresses in a network that the node is connected to are meant"
    )
    mac: Mac = Field(default="", description="MAC address of the workload's interface")
    mtu: Mtu = Field(default=0, description="MTU of both ends, 1280 to 65535; 0 takes the node's")
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, max_length=64, description="Free-form labels")
    namespace: NamespaceOrNone = Field(
        default="", description="Namespace that network policies find it in; empty: the pod's, or default"
    )
    port_mappings: PortMappings = Field(default=(), description="Ports of the node that lead to the workload")
    bandwidth: Bandwidth = Field(default=Bandwidth(), description="Limits of what it receives and sends")
    dns: Dns = Field(default=Dns(), description="Carried through to the answer")
    routes: tuple[ExtraRoute, ...] = Field(
        default=(), max_length=ROUTES_MAX, description="Routes beside the default route"
    )
    pool: PoolName = Field(default="", description="Name of the pools to take addresses from; empty: labels choose")
    sysctls: dict[SysctlName, SysctlValue] = Field(
        default_factory=dict, max_length=64, description="Kernel parameters of the workload's network namespace"
    )
    default_route: bool | None = Field(
        default=None, description="Whether it holds the default route; unset: the workload's first interface does"
    )
    isolate_node: bool | None = Field(default=None, description="Keep it from the node's services; unset: the node's")
    isolate_workloads: bool | None = Field(
        default=None, description="Keep it from other workloads; false opens it to all; unset: the node's setting"
    )
    annotations: dict[LabelKey, str] = Field(default_factory=dict, description="What the runtime knows of it")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.mtu and not MTU_MIN <= self.mtu <= MTU_MAX:
            raise ValueError(f"mtu: {self.mtu} is not within {MTU_MIN} to {MTU_MAX}")
        if len(set(self.addresses)) != len(self.addresses):
            raise ValueError("addresses: the same address is given twice")
        for route in self.routes:
            if route.gw is not None and route.gw.packed not in (FIRST_HOP_V4, FIRST_HOP_V6):
                raise ValueError(
                    f"routes: {route}: a workload's only gateway is the node, {ip_words(FIRST_HOP_V4)} or "
                    f"{ip_words(FIRST_HOP_V6)}; leave gw out"
                )
        if len({route.dst for route in self.routes}) != len(self.routes):
            raise ValueError("routes: the same destination is given twice")
        return self

    @property
    def key(self) -> AttachmentKey:
        return AttachmentKey(self.workload_id, self.if_name)

    @property
    def mapped_ports(self) -> int:
        """How many ports of the node lead to it, by what is wished."""
        return sum(mapping.size for mapping in self.port_mappings)


class DetachSpec(Model):
    """The wish that an interface goes. An empty netns_path means the recorded namespace."""

    workload_id: WorkloadId
    if_name: IfName = "eth0"
    netns_path: AbsolutePath = Field(default="")
    container_id: ContainerId = ""

    @property
    def key(self) -> AttachmentKey:
        return AttachmentKey(self.workload_id, self.if_name)


class Attachment(Model):
    """One record of desired state: the wish, who holds it, and what was assigned to it.

    `generation` grows when, and only when, the canonical wish changes. `netns_cookie` is the kernel's number for the
    namespace meant (SO_NETNS_COOKIE), 0 while a state file's namespace is still missing. `node_addresses` are the
    node's addresses that the workload's routes prefer, at most one a family; they are kept with the record so that an
    attachment outlives the pool that it came from. `releasing` are addresses that a later wish replaced and that the
    kernel may still hold. A record that is `removing` has lost its wish and stays until the kernel has let go of the
    interface, so that its addresses are not given out before. `default_route_by` names the one of the workload's
    interfaces that holds the default route, empty where none does. `siblings` are the addresses of its other ones, and
    `ports_elsewhere` is what those map of the node's ports before this one. `chain_mtu` is the MTU that a later plugin
    of a CNI chain gave the interface, 0 where none did.
    """

    spec: AttachmentSpec
    source: str
    generation: int = 1
    addresses: tuple[GivenAddress, ...] = ()
    mac: str
    node_addresses: tuple[GivenAddress, ...] = ()
    releasing: tuple[GivenAddress, ...] = ()
    netns_cookie: int = 0
    netns_created: bool = False
    removing: bool = False
    default_route_by: str = ""
    siblings: tuple[GivenAddress, ...] = ()
    ports_elsewhere: tuple[PortMapping, ...] = ()
    chain_mtu: int = 0

    @field_serializer("addresses", "node_addresses", "releasing", "siblings")
    def _addresses_as_text(self, addresses: tuple[IPAddress, ...]) -> list[str]:
        return [address_words(address) for address in addresses]

    @property
    def key(self) -> AttachmentKey:
        return self.spec.key

    @property
    def default_route(self) -> bool:
        """Whether it is this interface that holds the workload's default route."""
        return self.default_route_by == self.spec.if_name

    @property
    def has_own_way(self) -> bool:
        """Whether what carries its addresses leaves by it, whatever the workload's other routes say: beside another
        interface, which is somebody else's where this one alone is netplumb's and is not to hold the default route."""
        return bool(self.siblings) or not self.default_route

    def mtu_on(self, node_mtu: int) -> int:
        """The interface's MTU on a node that has this one."""
        return self.chain_mtu or self.spec.mtu or node_mtu

    @property
    def is_chained(self) -> bool:
        """Whether other plugins may have had the interface after netplumb; of what was rebuilt it is not known."""
        return self.source.startswith(CNI_SOURCE_PREFIX) or self.is_rebuilt

    @property
    def is_pod(self) -> bool:
        """Whether the workload is a Kubernetes pod, whose sandboxes come and go."""
        return self.spec.labels.get(POD_UID) == self.spec.workload_id

    @property
    def namespace(self) -> str:
        """The namespace that network policies find it in."""
        return self.spec.namespace or self.spec.labels.get(POD_NAMESPACE) or DEFAULT_NAMESPACE

    @property
    def policy_labels(self) -> Mapping[str, str]:
        """What network policies select it by."""
        return self.spec.labels

    @property
    def is_declared(self) -> bool:
        """Whether a document says it, in a state file, applied or in etcd. Such a wish means a path; an Attach one
        namespace."""
        return self.source in (APPLIED_SOURCE, CLUSTER_SOURCE) or self.source.startswith(FILE_SOURCE_PREFIX)

    @property
    def is_rebuilt(self) -> bool:
        """Whether it was made from the kernel's marks, its store being lost. Any source may take it over; a wish of a
        client or of a state file makes it an attachment like any other."""
        return self.source == REBUILT_SOURCE
