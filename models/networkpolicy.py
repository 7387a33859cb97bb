"""Network policies and namespaces, in the schema of Kubernetes as it is (networking.k8s.io/v1, v1).

An existing manifest is taken unchanged. What netplumb cannot do is refused when it is written, never ignored: a policy
that means less than its author thinks is worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from ipaddress import IPv6Network, ip_network
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_serializer,
    model_validator,
)

from netplumb.models import written
from netplumb.models.base import IPNetwork, Model, Quoted
from netplumb.models.fields import LabelKey, LabelValue
from netplumb.models.labelselectors import LabelSelector, nothing_is
from netplumb.models.ports import PORT_MAX, Protocol

DEFAULT_NAMESPACE = "default"
NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name"
"""The label that each namespace has by itself."""

RULES_MAX = 256
PARTS_MAX = 10_000
"""Peers or ports of a rule, or networks that are excepted: the ranges of a large provider are some thousands."""

_SET_BY_KUBERNETES = (
    *("creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "finalizers", "generateName"),
    *("generation", "managedFields", "ownerReferences", "resourceVersion", "selfLink", "uid"),
)
"""What `kubectl get -o yaml` prints of an object's metadata that nobody wrote."""
_LABEL_NAME = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"  # RFC 1123
_NAMESPACE = re.compile(_LABEL_NAME)
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
"""RFC 1123 too, as Kubernetes reads it: no part of it has a bound of its own."""


class PolicyKey(NamedTuple):
    """What a policy is known by among policies."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class ManifestKey(NamedTuple):
    """What a policy or a namespace is known by; a namespace is in none."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


def _policy_name(value: str) -> str:
    if len(value) > 253 or not _NAME.fullmatch(value):
        raise ValueError(f"{value[:100]!r} must be lower-case letters, digits, dashes and dots, at most 253")
    return value


def _namespace_name(value: str) -> str:
    if not _NAMESPACE.fullmatch(value):
        raise ValueError(f"{value[:100]!r} must be lower-case letters, digits and dashes, at most 63")
    return value


def _without(*names: str) -> Callable[[Any], Any]:
    """A validator that passes over what an API server adds."""

    def passed_over(data: Any) -> Any:
        return {name: it for name, it in data.items() if name not in names} if isinstance(data, dict) else data

    return passed_over


def _add(schema: dict[str, Any], *names: str) -> None:
    """The same in a schema."""
    schema["properties"] |= {name: {"description": "Set by Kubernetes; not used"} for name in names}


PolicyName = Annotated[
    str, AfterValidator(_policy_name), WithJsonSchema(written.text(f"^{_NAME.pattern}$") | {"maxLength": 253})
]
NamespaceName = Annotated[str, AfterValidator(_namespace_name), WithJsonSchema(written.text(f"^{_LABEL_NAME}$"))]
NamespaceOrNone = Annotated[
    str,
    AfterValidator(lambda value: value and _namespace_name(value)),
    WithJsonSchema(written.text(f"^({_LABEL_NAME})?$")),
]
_Labels = Annotated[dict[LabelKey, LabelValue], nothing_is({})]
_Annotations = Annotated[dict[LabelKey, str], nothing_is({})]


class Transport(StrEnum):
    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"

    @property
    def known(self) -> Protocol:
        return Protocol(self.lower())


class Direction(StrEnum):
    """As the workload that a policy selects sees it."""

    INGRESS = "Ingress"
    EGRESS = "Egress"


def _cidr(value: Any) -> IPNetwork:
    if not isinstance(value, str) or "/" not in value:
        raise ValueError("must be a network such as 10.0.0.0/8")
    network: IPNetwork = ip_network(value, strict=False)
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise ValueError(f"{value} is IPv4 in IPv6's clothes, and no packet has such an address; write it as IPv4")
    return network


Cidr = Annotated[
    IPNetwork, BeforeValidator(_cidr), WithJsonSchema({"type": "string", "pattern": "^[0-9a-fA-F.:]+/[0-9]+$"})
]


class IPBlock(Model):
    """Addresses, less some of them."""

    cidr: Cidr = Field(description="The network")
    except_: Annotated[tuple[Cidr, ...], nothing_is(())] = Field(
        default=(), alias="except", max_length=PARTS_MAX, description="Networks within it that are not meant"
    )

    @model_validator(mode="after")
    def _excepted_lie_within(self) -> Self:
        for network in self.except_:
            inside = network.version == self.cidr.version and network.prefixlen > self.cidr.prefixlen
            if not inside or network.network_address not in self.cidr:
                raise ValueError(f"except: {network} must lie within {self.cidr}, and be less than all of it")
        return self

    @field_serializer("cidr")
    def _as_text(self, cidr: IPNetwork) -> str:
        return str(cidr)

    @field_serializer("except_")
    def _all_as_text(self, networks: tuple[IPNetwork, ...]) -> list[str]:
        return [str(network) for network in networks]

    def __str__(self) -> str:
        excepted = f" except {', '.join(map(str, self.except_))}" if self.except_ else ""
        return f"{self.cidr}{excepted}"


class Peer(Model):
    """Who is at the other end: workloads by selectors, or addresses."""

    pod_selector: LabelSelector | None = Field(
        default=None,
        alias="podSelector",
        description="Workloads with these labels; of the policy's namespace unless another is selected",
    )
    namespace_selector: LabelSelector | None = Field(
        default=None, alias="namespaceSelector", description="Namespaces with these labels"
    )
    ip_block: IPBlock | None = Field(default=None, alias="ipBlock", description="Addresses; with no selector beside it")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        selects = self.pod_selector is not None or self.namespace_selector is not None
        if self.ip_block is not None and selects:
            raise ValueError("ipBlock stands alone; give a second entry for the selectors")
        if self.ip_block is None and not selects:
            raise ValueError("give podSelector, namespaceSelector or ipBlock; an empty entry means nobody")
        return self

    def __str__(self) -> str:
        if self.ip_block is not None:
            return str(self.ip_block)
        words = [f"workloads with {self.pod_selector}" if self.pod_selector is not None else "all workloads"]
        if self.namespace_selector is not None:
            words.append(f"in namespaces with {self.namespace_selector}")
        return " ".join(words)


def _number(value: Any) -> Any:
    if isinstance(value, Quoted):
        shown = value[:100]
        raise ValueError(f'"{shown}" in quotes is a port by name, and no name has digits alone; leave the quotes out')
    if isinstance(value, str) and not value.strip().isdigit():
        raise ValueError(f"{value[:100]!r} is a port by name, and nobody tells netplumb those names; give its number")
    return value


_PORT = {"type": "integer", "minimum": 1, "maximum": PORT_MAX}


class PolicyPort(Model):
    """A protocol, and the ports of it that are meant: all without a port, a range with an end."""

    protocol: Annotated[Transport, nothing_is(Transport.TCP)] = Field(
        default=Transport.TCP, description="TCP, UDP or SCTP"
    )
    port: Annotated[int, BeforeValidator(_number), WithJsonSchema(_PORT)] | None = Field(
        default=None, ge=1, le=PORT_MAX, description="The port at the workload, by number; every one without it"
    )
    end_port: Annotated[int, BeforeValidator(_number), WithJsonSchema(_PORT)] | None = Field(
        default=None, alias="endPort", ge=1, le=PORT_MAX, description="The last port of a range"
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.end_port is not None and (self.port is None or self.end_port < self.port):
            raise ValueError("endPort: needs a port that is not behind it")
        return self

    @property
    def range(self) -> tuple[int, int] | None:
        """First and last port; None where every port is meant."""
        return None if self.port is None else (self.port, self.end_port or self.port)

    def __str__(self) -> str:
        ports = "" if self.port is None else f" {self.port}" + (f"-{self.end_port}" if self.end_port else "")
        return f"{self.protocol}{ports}"


_Peers = Annotated[tuple[Peer, ...], nothing_is(()), Field(max_length=PARTS_MAX)]
_Ports = Annotated[tuple[PolicyPort, ...], nothing_is(()), Field(max_length=PARTS_MAX)]


class IngressRule(Model):
    """Who may come in and to which ports. An empty list of either means all."""

    from_: _Peers = Field(default=(), alias="from", description="Whom from; without any, from everyone")
    ports: _Ports = Field(default=(), description="Which ports; without any, every protocol")

    @property
    def peers(self) -> tuple[Peer, ...]:
        return self.from_


class EgressRule(Model):
    """Who may be asked and at which ports. An empty list of either means all."""

    to: _Peers = Field(default=(), description="Whom; without any, everyone")
    ports: _Ports = Field(default=(), description="Which ports; without any, every protocol")

    @property
    def peers(self) -> tuple[Peer, ...]:
        return self.to


Rule = IngressRule | EgressRule


class PolicySpec(Model):
    """Whom a policy selects, for which directions, and what is allowed then."""

    pod_selector: Annotated[LabelSelector, nothing_is({})] = Field(
        default_factory=LabelSelector,
        alias="podSelector",
        description="The workloads that are selected; all of the namespace if empty",
    )
    policy_types: Annotated[tuple[Direction, ...] | None, Field(max_length=2)] = Field(
        default=None,
        alias="policyTypes",
        description="Directions; without any Ingress, and Egress where there are rules for it",
    )
    ingress: Annotated[tuple[IngressRule, ...], nothing_is(())] = Field(
        default=(), max_length=RULES_MAX, description="What may come in"
    )
    egress: Annotated[tuple[EgressRule, ...], nothing_is(())] = Field(
        default=(), max_length=RULES_MAX, description="What may go out"
    )

    @property
    def directions(self) -> frozenset[Direction]:
        if self.policy_types:
            return frozenset(self.policy_types)
        return frozenset({Direction.INGRESS, *((Direction.EGRESS,) if self.egress else ())})

    def rules(self, direction: Direction) -> tuple[Rule, ...]:
        return self.ingress if direction is Direction.INGRESS else self.egress


class PolicyMetadata(Model):
    model_config = ConfigDict(json_schema_extra=lambda schema: _add(schema, *_SET_BY_KUBERNETES))

    name: PolicyName = Field(description="The policy's name")
    namespace: NamespaceName = Field(default=DEFAULT_NAMESPACE, description="The namespace that it is about")
    labels: _Labels = Field(default_factory=dict, max_length=64, description="Of the policy itself; not used")
    annotations: _Annotations = Field(default_factory=dict, description="Of the policy itself; not used")

    _as_written = model_validator(mode="before")(_without(*_SET_BY_KUBERNETES))


class NetworkPolicy(Model):
    """A network policy of Kubernetes, in its own schema."""

    model_config = ConfigDict(json_schema_extra=lambda schema: _add(schema, "status"))

    api_version: Literal["networking.k8s.io/v1"] = Field(alias="apiVersion", description="The schema's version")
    kind: Literal["NetworkPolicy"] = Field(description="What the document declares")
    metadata: PolicyMetadata = Field(description="Its name and namespace")
    spec: PolicySpec = Field(description="What it says")

    _as_written = model_validator(mode="before")(_without("status"))

    @property
    def policy_key(self) -> PolicyKey:
        return PolicyKey(self.metadata.namespace, self.metadata.name)

    @property
    def key(self) -> ManifestKey:
        return ManifestKey(self.kind, self.metadata.namespace, self.metadata.name)


class NamespaceMetadata(Model):
    model_config = ConfigDict(json_schema_extra=lambda schema: _add(schema, *_SET_BY_KUBERNETES))

    name: NamespaceName = Field(description="The namespace's name")
    labels: _Labels = Field(default_factory=dict, max_length=64, description="What namespaceSelector selects by")
    annotations: _Annotations = Field(default_factory=dict, description="Not used")

    _as_written = model_validator(mode="before")(_without(*_SET_BY_KUBERNETES))


class Namespace(Model):
    """The labels of a namespace, in the schema of Kubernetes."""

    model_config = ConfigDict(json_schema_extra=lambda schema: _add(schema, "spec", "status"))

    api_version: Literal["v1"] = Field(alias="apiVersion", description="The schema's version")
    kind: Literal["Namespace"] = Field(description="What the document declares")
    metadata: NamespaceMetadata = Field(description="Its name and labels")

    _as_written = model_validator(mode="before")(_without("spec", "status"))

    @property
    def key(self) -> ManifestKey:
        return ManifestKey(self.kind, "", self.metadata.name)


Manifest = NetworkPolicy | Namespace
MANIFESTS: Mapping[str, type[Manifest]] = {"NetworkPolicy": NetworkPolicy, "Namespace": Namespace}


def namespace_labels(name: str, declared: Namespace | None) -> dict[str, str]:
    """The labels of a namespace, declared or not."""
    labels = declared.metadata.labels if declared is not None else {}
    return {**labels, NAMESPACE_NAME_LABEL: name}
