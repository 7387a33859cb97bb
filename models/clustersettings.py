"""The setting `cluster`: where etcd is, who this node is there, and of which prefixes each node takes a part."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from netplumb.models import written
from netplumb.models.base import IPAddress, Model, printable
from netplumb.models.cluster import ClusterMode
from netplumb.models.fields import IF_NAME_MAX_CHARS, IfName, LabelKey, LabelValue, PoolName
from netplumb.models.naming import DEVICE_PREFIX
from netplumb.models.network import Prefix
from netplumb.models.served import printable_path

ENDPOINTS_MAX = 32
NODE_NAME_MAX_CHARS = 253
DEFAULT_NODE_PREFIX = {4: 24, 6: 64}
LONGEST_NODE_PREFIX = {4: 30, 6: 126}
_NODE_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\Z")
_KEY_PREFIX = re.compile(r"(/[A-Za-z0-9._-]+)+\Z")
_IF_NAME = re.compile(rf"[^\s/:%]{{1,{IF_NAME_MAX_CHARS}}}\Z")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?\Z")


def _endpoint(value: str) -> str:
    """`https://etcd1:2379`, as etcdctl takes it. Without a scheme it would not be said whether anybody may listen."""
    example = "is not like https://192.0.2.1:2379"
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError(f"{value[:100]!r} {example}") from None
    if parts.scheme not in ("http", "https") or port is None or not port or not _is_host(parts.hostname or ""):
        raise ValueError(f"{value[:100]!r} {example}")
    if parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"{value[:100]!r} {example}; nothing comes before the host or behind the port")
    return value.rstrip("/")


def _is_host(text: str) -> bool:
    if _HOST.match(text):
        return True
    try:
        return not IPv6Address(text).scope_id
    except ValueError:
        return False


def _endpoints(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError("must name one at least")
    if len({urlsplit(it).scheme for it in value}) > 1:
        raise ValueError("are partly https and partly http: what one lets be read, the other need not hide")
    if len(set(value)) < len(value):
        raise ValueError("name one twice")
    return value


def is_node_name(value: str) -> bool:
    """It is part of keys, so that no slash may be in it."""
    return _NODE_NAME.match(value) is not None


def checked_node_name(value: str) -> str:
    """Raises ValueError."""
    if not is_node_name(value):
        raise ValueError(
            f"{value[:100]!r} must be letters, digits, dots, dashes and underscores, with a letter or digit at either "
            f"end, at most {NODE_NAME_MAX_CHARS}"
        )
    return value


def _key_prefix(value: str) -> str:
    if not _KEY_PREFIX.match(value) or len(value) > 200:
        raise ValueError(f"{value[:100]!r} is not like /netplumb")
    return value


def _underlay(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return _reachable(ip_address(value))
    except ValueError:
        if ":" in value or re.fullmatch(r"[0-9.]+", value):
            raise
    if not _IF_NAME.match(value):
        raise ValueError(f"{value[:100]!r} is neither an address nor the name of an interface")
    return printable(value)


def _reachable(value: IPAddress) -> IPAddress:
    if value.is_unspecified or value.is_loopback or value.is_multicast or value.is_link_local:
        raise ValueError(f"{value} is not an address at which other nodes reach this one")
    if isinstance(value, IPv6Address) and (value.scope_id or value.ipv4_mapped):
        raise ValueError(f"{value} is not an address at which other nodes reach this one")
    return value


def _of_csv(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


_Path = Annotated[
    Path,
    BeforeValidator(lambda value: value or None),
    AfterValidator(printable_path),
    WithJsonSchema(written.printable_text(1, 4095)),
]
Endpoint = Annotated[str, AfterValidator(_endpoint), WithJsonSchema(written.ENDPOINT)]
NodeName = Annotated[
    str,
    AfterValidator(checked_node_name),
    WithJsonSchema(written.text(r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$")),
]
_Endpoints = Annotated[
    tuple[Endpoint, ...],
    Field(max_length=ENDPOINTS_MAX),
    BeforeValidator(
        _of_csv, json_schema_input_type=Annotated[str, WithJsonSchema(written.ENDPOINTS)] | tuple[Endpoint, ...]
    ),
    AfterValidator(_endpoints),
]
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
UnderlayName = Annotated[
    IPAddress | str,
    BeforeValidator(_underlay),
    PlainSerializer(str, when_used="json"),
    WithJsonSchema(written.printable_text(1, 64)),
]


class ClusterPool(Model):
    """A prefix of which each node takes a part for its workloads, and further ones as they are full. The node that has
    one has a pool of it, with this one's name and labels."""

    cidr: Prefix = Field(description="The prefix of all nodes together, such as 10.128.0.0/14 or fd80::/48")
    node_prefix_len: Annotated[int, Field(ge=1, le=126)] | None = Field(
        default=None, description="The length of a node's part; 24 of IPv4 and 64 of IPv6 without it"
    )
    name: PoolName = Field(default="", description="What attachments call it; the node's own prefix without one")
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, description="Which attachments it is for")

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        longest, length = LONGEST_NODE_PREFIX[self.version], self.node_length
        if not self.cidr.prefixlen <= length <= longest:
            raise ValueError(
                f"node_prefix_len: a part of {self.cidr} is /{self.cidr.prefixlen} to /{longest}, not /{length}"
            )
        return self

    @property
    def version(self) -> int:
        return self.cidr.version

    @property
    def node_length(self) -> int:
        return DEFAULT_NODE_PREFIX[self.version] if self.node_prefix_len is None else self.node_prefix_len

    @property
    def parts(self) -> int:
        """How many nodes' prefixes there are."""
        return 1 << (self.node_length - self.cidr.prefixlen)

    def __hash__(self) -> int:
        return hash(self.cidr)  # labels are a mapping, and no two pools overlap


def _pool_as_data(pool: ClusterPool) -> Mapping[str, Any]:
    return pool.model_dump(mode="json", exclude_defaults=True) | {"cidr": str(pool.cidr)}


def _apart(pools: tuple[ClusterPool, ...]) -> tuple[ClusterPool, ...]:
    for one, other in combinations(pools, 2):
        if one.cidr.overlaps(other.cidr):
            raise ValueError(f"{one.cidr} and {other.cidr} overlap; pools must not share addresses")
    return pools


_Pools = Annotated[
    tuple[Annotated[ClusterPool, PlainSerializer(_pool_as_data, when_used="json")], ...], AfterValidator(_apart)
]


class ClusterSettings(Model):
    """How this node is one of many. Two nodes of a cluster say the same here but for `node_name`, `underlay` and what
    they show that it is them."""

    endpoints: _Endpoints = Field(description="Where etcd is, such as https://192.0.2.1:2379; one is enough to begin")
    prefix: Annotated[str, AfterValidator(_key_prefix), WithJsonSchema(written.KEY_PREFIX)] = Field(
        default="/netplumb", description="Below which keys of etcd the cluster lies"
    )
    ca: _Path | None = Field(default=None, description="The authority that signed etcd's certificates, a PEM file")
    cert: _Path | None = Field(default=None, description="The certificate that etcd knows this node by, a PEM file")
    key: _Path | None = Field(default=None, description="Its key, a PEM file")
    user: Annotated[str, Field(min_length=1, max_length=253), AfterValidator(printable)] | None = Field(
        default=None, description="The user of etcd; the certificate's name without one"
    )
    password_file: _Path | None = Field(default=None, description="The file whose first line is that user's password")
    node_name: NodeName | None = Field(default=None, description="This node's name there; its host name without one")
    underlay: UnderlayName | None = Field(
        default=None,
        description="Where other nodes reach this one: an address, or an interface for an address of each family; that "
        "of the default route without it",
    )
    mode: ClusterMode = Field(
        default=ClusterMode.ROUTES,
        description="How nodes reach each other's workloads: routes, where they share a link, vxlan or none",
    )
    vxlan_name: Annotated[IfName, Field(pattern=f"^{DEVICE_PREFIX}")] = Field(
        default=f"{DEVICE_PREFIX}vxlan", description="What the VXLAN device is called on this node; it begins with np-"
    )
    vxlan_id: Annotated[int, Field(ge=1, le=0xFFFFFF)] = Field(
        default=78, description="The number of the VXLAN network, the same on each node"
    )
    vxlan_port: Annotated[int, Field(ge=1, le=0xFFFF)] = Field(
        default=4789, description="The UDP port of VXLAN, the same on each node"
    )
    pools: _Pools = Field(default=(), description="Prefixes of which each node takes a part, one or more of each")
    away_days: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=0.0,
        description="Days after which a node that is away may lose its prefixes to others, where none is free; 0 for "
        "never",
    )
    lease_s: Annotated[float, Field(ge=2, le=3600, allow_inf_nan=False)] = Field(
        default=30.0, description="Seconds without a word after which a node counts as away"
    )
    silence_s: _Seconds = Field(
        default=20.0, description="Seconds without a word after which a connection to etcd counts as lost"
    )
    reread_s: _Seconds = Field(default=600.0, description="Seconds between full comparisons with etcd, about")

    @property
    def vxlan(self) -> tuple[int, int] | None:
        """The number and the UDP port of the VXLAN network, where there is one."""
        return (self.vxlan_id, self.vxlan_port) if self.mode is ClusterMode.VXLAN else None

    @model_validator(mode="after")
    def _what_belongs_together(self) -> Self:
        secure = self.endpoints[0].startswith("https:")
        if not secure and (self.ca or self.cert or self.key):
            raise ValueError("ca, cert and key say nothing where the endpoints are http; write https")
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key go together; one of them is missing")
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file go together; a certificate alone needs neither")
        return self
