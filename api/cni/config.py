"""A network configuration as the runtime gives it to a plugin, as far as netplumb reads it. Pure.

What it does not read it leaves alone, as chained plugins must. A result before ours keeps what is unknown in it, since
it becomes part of our answer.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

VALID_ATTACHMENTS = "cni.dev/valid-attachments"


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: object) -> object:
        """Go writes null for a list or an object that was never made."""
        if not isinstance(value, dict) or None not in value.values():
            return value
        return {name: it for name, it in value.items() if it is not None}


class _WrittenByGo(_Read):
    """Go reads names without regard to case, and go-cni, which containerd uses, writes `HostPort` for `hostPort`."""

    @model_validator(mode="before")
    @classmethod
    def _as_specified(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        names = {(field.alias or name).lower(): field.alias or name for name, field in cls.model_fields.items()}
        return {names.get(str(name).lower(), name): it for name, it in value.items()}


class _PassedOn(_Read):
    model_config = ConfigDict(extra="allow")


class Interface(_PassedOn):
    name: str
    sandbox: str = ""


class IPConfig(_PassedOn):
    address: str
    interface: int | None = None


class Result(_PassedOn):
    """The result of the plugins before this one, or of the whole chain."""

    interfaces: tuple[Interface, ...] = ()
    ips: tuple[IPConfig, ...] = ()
    routes: tuple[dict[str, Any], ...] = ()
    dns: dict[str, Any] = {}


class NetworkDns(_Read):
    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class RuntimeDns(_WrittenByGo):
    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class PortMapping(_WrittenByGo):
    host_port: int = Field(alias="hostPort")
    container_port: int = Field(alias="containerPort")
    protocol: str = ""
    host_ip: str = Field(default="", alias="hostIP")


class Bandwidth(_WrittenByGo):
    ingress_rate: int = Field(default=0, alias="ingressRate")
    ingress_burst: int = Field(default=0, alias="ingressBurst")
    egress_rate: int = Field(default=0, alias="egressRate")
    egress_burst: int = Field(default=0, alias="egressBurst")


class RuntimeConfig(_Read):
    """What the runtime passes under the capabilities that the configuration declares."""

    port_mappings: tuple[PortMapping, ...] = Field(default=(), alias="portMappings")
    bandwidth: Bandwidth = Bandwidth()
    dns: RuntimeDns | None = None
    ips: tuple[str, ...] = ()
    mac: str = ""
    pod_annotations: dict[str, str] = Field(default={}, alias="io.kubernetes.cri.pod-annotations")


class Label(_Read):
    key: str
    value: str = ""


class ConventionalArgs(_Read):
    """`args.cni`, of CNI's conventions."""

    labels: tuple[Label, ...] = ()
    ips: tuple[str, ...] = ()


class Args(_Read):
    cni: ConventionalArgs = ConventionalArgs()


class ValidAttachment(_Read):
    container_id: str = Field(alias="containerID")
    if_name: str = Field(alias="ifname")


class NetworkConfig(_Read):
    """`pool`, `mtu`, `default_route` and `allow_foreign_address` are netplumb's own, the rest the specification's and
    its conventions'."""

    cni_version: str = Field(alias="cniVersion")
    name: str
    pool: str = ""
    mtu: int = 0
    default_route: bool | None = None
    allow_foreign_address: bool = False
    dns: NetworkDns = NetworkDns()
    args: Args = Args()
    runtime_config: RuntimeConfig = Field(default=RuntimeConfig(), alias="runtimeConfig")
    prev_result: Result | None = Field(default=None, alias="prevResult")
    valid_attachments: tuple[ValidAttachment, ...] | None = Field(default=None, alias="cni.dev/valid-attachments")

    @model_validator(mode="before")
    @classmethod
    def _none_alive(cls, value: object) -> object:
        """Here a null is an empty list and not a missing one. libcni 1.2.0 to 1.2.2 has another name for it."""
        if isinstance(value, dict):
            for name in ("cni.dev/attachments", VALID_ATTACHMENTS):
                if name in value:
                    value = value | {VALID_ATTACHMENTS: value[name] or ()}
        return value
