"""Every setting of the daemon: its unit in its name, its default, its bounds. No I/O: where a value came from is the
business of `netplumb.reconciler.settings.configuration`.

Values are accepted as text too, since a settings file, a variable and a flag all hold text. A dump in JSON mode can be
validated again and gives the same settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
)

from netplumb.models import written
from netplumb.models.base import IPNetwork, Model, is_within
from netplumb.models.clustersettings import ClusterSettings
from netplumb.models.fields import MTU_MAX, MTU_MIN
from netplumb.models.network import Pool
from netplumb.models.served import (
    SOCKET_PATH_MAX_BYTES,
    Listen,
    PageAddress,
    RemoteAddress,
    printable_path,
    socket_path,
)

PATH_MAX_BYTES = 4095
_MODE_MAX = 0o777


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class HostPortsInUse(StrEnum):
    """What becomes of a mapping of a port that a process of the node listens on."""

    ALLOW = "allow"
    WARN = "warn"
    REFUSE = "refuse"


def _not_empty(value: object) -> object:
    if value == "":
        raise ValueError("must not be empty")  # Path("") would be the working directory
    return value


def _mode_of_text(value: object) -> object:
    """Text is octal, as `chmod` reads it: "660", "0660" and "0o660" are the same mode."""
    if not isinstance(value, str):
        return value
    digits = value.removeprefix("0o")
    if not 3 <= len(digits) <= 4 or set(digits) - set("01234567"):
        raise ValueError(f"{value!r} is not an octal mode such as 0660")
    return int(digits, 8)


def _mode_as_text(value: int) -> str:
    return f"{value:04o}"


def _mtu(value: int) -> int:
    if value and not MTU_MIN <= value <= MTU_MAX:
        raise ValueError(f"must be 0 or {MTU_MIN} to {MTU_MAX}")
    return value


def _pool_of_prefix(value: object) -> object:
    return {"cidr": value} if isinstance(value, str) else value


def _pool_as_text(pool: Pool) -> str | Mapping[str, Any]:
    fields = pool.model_dump(mode="json", exclude_defaults=True) | {"cidr": pool.prefix}
    return pool.prefix if len(fields) == 1 else fields


def _apart(pools: tuple[Pool, ...]) -> tuple[Pool, ...]:
    for one, other in combinations(pools, 2):
        if one.cidr == other.cidr:
            raise ValueError(f"{one.prefix} is given twice")
        if one.cidr.overlaps(other.cidr):
            raise ValueError(f"{one.prefix} overlaps {other.prefix}; pools must not share addresses")
    return pools


def _apart_from_pools(value: ClusterSettings | None, info: ValidationInfo) -> ClusterSettings | None:
    for pool in value.pools if value is not None else ():
        for own in info.data.get("pools", ()):
            if pool.cidr.overlaps(own.cidr):
                raise ValueError(f"pools: {pool.cidr} overlaps {own.prefix} of the node's own pools")
    return value


_Path = Annotated[
    Path,
    BeforeValidator(_not_empty),
    AfterValidator(printable_path),
    WithJsonSchema(written.printable_text(1, PATH_MAX_BYTES)),
]
_SocketPath = Annotated[
    _Path, AfterValidator(socket_path), WithJsonSchema(written.printable_text(1, SOCKET_PATH_MAX_BYTES))
]
_Mode = Annotated[
    int,
    Field(ge=0, le=_MODE_MAX),
    BeforeValidator(_mode_of_text),
    PlainSerializer(_mode_as_text, when_used="json"),
    WithJsonSchema(written.MODE),
]
_Mtu = Annotated[int, AfterValidator(_mtu), WithJsonSchema(written.zero_or(MTU_MIN, MTU_MAX))]
_PoolText = Annotated[str, WithJsonSchema(written.POOL_PREFIX)]
_Pool = Annotated[
    Pool,
    BeforeValidator(_pool_of_prefix, json_schema_input_type=_PoolText | Pool),
    PlainSerializer(_pool_as_text, when_used="json"),
]
_Pools = Annotated[tuple[_Pool, ...], AfterValidator(_apart)]
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_SecondsIfAny = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _of_csv(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


_Pattern = Annotated[str, Field(min_length=1, max_length=253)]
_Patterns = Annotated[
    tuple[_Pattern, ...],
    BeforeValidator(
        _of_csv, json_schema_input_type=Annotated[str, WithJsonSchema(written.LIST_IN_TEXT)] | tuple[_Pattern, ...]
    ),
]

_Names = _Patterns
"""Spelt like patterns, and taken as they are."""

WORKLOAD_SYSCTLS = (
    "net.core.somaxconn",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_*",
    "net.ipv4.udp_*",
)
"""What touches nothing but the workload's own sockets."""


AT_START = (
    "socket",
    "socket_mode",
    "socket_group",
    "data_dir",
    "state_files",
    "own_table",
    "metrics",
    "ui",
    "ui_anywhere",
    "remote",
    "remote_cert",
    "remote_key",
    "remote_ca",
    "remote_connections_per_s",
    "cluster",
    "log_format",
    "log_level",
)
"""Settings that the daemon takes when it starts; it takes the others while it runs, too."""


class Settings(Model):
    """The daemon's settings. Every default is usable, but there is no default pool."""

    socket: _SocketPath = Field(
        default=Path("/run/netplumb/workloadnet.sock"), description="The unix socket that gRPC is served on"
    )
    socket_mode: _Mode = Field(
        default=0o660,
        description="The socket's mode, octal text such as 0660",
        json_schema_extra={"default": _mode_as_text(0o660)},
    )
    socket_group: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="The group that owns the socket; the daemon's own without one"
    )
    data_dir: _Path = Field(
        default=Path("/run/netplumb"), description="Directory of the durable store; its content is scoped to the boot"
    )
    state_files: _Path | None = Field(
        default=None, description="Directory of state files, watched for changes; none are read without one"
    )
    pools: _Pools = Field(
        default=(),
        description="Prefixes that workloads are given addresses from, in order, one address per family. "
        "A prefix such as 10.99.0.0/24, or {cidr, reserved} with the addresses that are never given out",
    )
    resync_s: _Seconds = Field(
        default=30.0,
        description="Seconds between full comparisons with the kernel; up to ten times more where one takes long",
    )
    masquerade: bool = Field(default=True, description="Masquerade what workloads send to outside the node")
    own_table: bool = Field(
        default=True, description="Let nobody else change the nftables table, where the kernel can (Linux 6.9)"
    )
    mtu: _Mtu = Field(default=0, description="MTU of workloads' interfaces, 1280 to 65535; 0 takes the uplink's")
    isolate_node: bool = Field(
        default=False, description="Keep workloads from the node's own services, unless an attachment says otherwise"
    )
    isolate_workloads: bool = Field(
        default=False, description="Keep workloads from each other, unless an attachment says otherwise"
    )
    host_ports_in_use: HostPortsInUse = Field(
        default=HostPortsInUse.WARN,
        description="Whether to map a port that a process of the node listens on: allow, warn or refuse",
    )
    workload_sysctls: _Patterns = Field(
        default=WORKLOAD_SYSCTLS,
        description="Kernel parameters that an attachment may set in its workload; * stands for any part of a name",
    )
    annotation_keys: _Patterns = Field(
        default=(), description="Annotations of a workload that are kept with its attachment; * stands for any part"
    )
    label_annotation_prefix: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        default=None, description="Annotations that begin so are labels, under the rest of their name; none without it"
    )
    attach_timeout_s: _Seconds = Field(default=30.0, description="Seconds that a call without a deadline may take")
    netns_gone_grace_s: _Seconds = Field(
        default=300.0,
        description="Seconds that the addresses of an RPC's attachment are kept after its namespace went away",
    )
    pod_address_grace_s: _SecondsIfAny = Field(
        default=60.0,
        description="Seconds that the addresses of a pod without a sandbox are kept for its next one; 0 for none",
    )
    metrics: Listen | None = Field(
        default=None,
        description="Where metrics are served to Prometheus over HTTP, such as 127.0.0.1:9478 or unix:/path; nowhere "
        "without it",
    )
    metrics_per_workload: bool = Field(
        default=False, description="Tell the bytes and packets of each workload among the metrics"
    )
    ui_anywhere: bool = Field(
        default=False, description="Serve the page at an address that others can reach, who then see all of it"
    )
    ui: PageAddress | None = Field(
        default=None,
        description="Where a page about the node is served to browsers, such as 127.0.0.1:9479; nowhere without it",
    )
    remote_cert: _Path | None = Field(
        default=None, description="The certificate that remote clients know the daemon by, a PEM file"
    )
    remote_key: _Path | None = Field(default=None, description="Its key, a PEM file")
    remote_ca: _Path | None = Field(
        default=None, description="The authority that has to have signed remote clients' certificates, a PEM file"
    )
    remote_read: _Names = Field(default=(), description="Names of certificates whose holders may read from elsewhere")
    remote_all: _Names = Field(default=(), description="Names of certificates whose holders may do all from elsewhere")
    remote_connections_per_s: int = Field(
        default=10,
        ge=0,
        le=10_000,
        description="How many connections a second one address may begin to the remote port; 0: any number",
    )
    remote: RemoteAddress | None = Field(
        default=None,
        description="Where gRPC is served to clients elsewhere, by mutual TLS, such as 192.0.2.1:9480; nowhere without",
    )
    cluster: Annotated[ClusterSettings | None, AfterValidator(_apart_from_pools)] = Field(
        default=None, description="How this node is one of many, by etcd; it stands alone without it"
    )
    log_format: LogFormat = Field(default=LogFormat.TEXT, description="How the daemon logs")
    log_level: LogLevel = Field(default=LogLevel.INFO, description="The least severe level that is logged")

    @property
    def awaited_pools(self) -> tuple[Pool, ...]:
        """Of the cluster's pools those of which this node has no part, as what a part would be called and be for."""
        if self.cluster is None:
            return ()
        return tuple(
            Pool(cidr=pool.cidr, name=pool.name, labels=pool.labels)
            for pool in self.cluster.pools
            if not any(is_within(it.cidr, pool.cidr) for it in self.pools)
        )

    @property
    def parted_pools(self) -> tuple[IPNetwork, ...]:
        """The cluster's, of which nodes have parts."""
        return tuple(it.cidr for it in self.cluster.pools) if self.cluster is not None else ()
