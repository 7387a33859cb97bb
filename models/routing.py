"""What a workload is told of names and ways beside its default route: DNS, extra routes, kernel parameters."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    WithJsonSchema,
    field_serializer,
    model_validator,
)

from netplumb.models import written
from netplumb.models.base import IPAddress, IPNetwork, Model, printable

_SEARCH_MAX = 32  # glibc takes any number since 2.26; musl reads 256 characters
_INTERFACE = re.compile(r"[A-Za-z0-9_.-]{1,15}\Z")
_SYSCTL = re.compile(r"net(?:/[A-Za-z0-9_:.@-]+)+\Z")


def parse_prefix(value: object) -> object:
    """Text as a prefix; host bits that are set are a mistake, not something to mask away."""
    if isinstance(value, str):
        if "%" in value:  # Python takes any text behind it for an interface, line breaks included
            raise ValueError(f"{value[:100]!r} is not a prefix such as 192.0.2.0/24")
        try:
            return ip_network(value)
        except ValueError as error:
            raise ValueError(str(error)) from None
    return value


def _server(value: IPAddress) -> IPAddress:
    """A link-local server may name its interface, as resolv.conf(5) allows; any other text behind the % may not be."""
    scope = getattr(value, "scope_id", None)
    if scope is not None and not _INTERFACE.match(scope):
        raise ValueError(f"{str(value)[:100]!r} does not name an interface behind the %")
    return value


_Word = Annotated[
    str,
    StringConstraints(min_length=1, max_length=253, pattern=r"^\S+$"),
    AfterValidator(printable),
    WithJsonSchema(written.WORD),
]
_Server = Annotated[IPAddress, AfterValidator(_server), WithJsonSchema(written.NAME_SERVER)]


class Dns(Model):
    """Carried through to whoever writes the workload's resolv.conf(5); netplumb resolves nothing."""

    servers: tuple[_Server, ...] = Field(default=(), max_length=16, description="Addresses of name servers")
    searches: tuple[_Word, ...] = Field(default=(), max_length=_SEARCH_MAX, description="Search domains")
    options: tuple[_Word, ...] = Field(default=(), max_length=_SEARCH_MAX, description="Options of resolv.conf")

    @field_serializer("servers")
    def _as_text(self, servers: tuple[IPAddress, ...]) -> list[str]:
        return [str(server) for server in servers]


class ExtraRoute(Model):
    """A destination that the workload reaches through this interface. Every way out of it leads to the node, so that is
    the only gateway there can be."""

    dst: Annotated[IPNetwork, BeforeValidator(parse_prefix), WithJsonSchema(written.DESTINATION)] = Field(
        description="The prefix, such as 192.0.2.0/24"
    )
    gw: Annotated[IPAddress, WithJsonSchema(written.FIRST_HOP)] | None = Field(
        default=None, description="The gateway: the node's first hop, as without it"
    )

    @model_validator(mode="after")
    def _one_family(self) -> Self:
        if self.gw is not None and self.gw.version != self.dst.version:
            raise ValueError(f"gw: {self.gw} is of another family than {self.dst}")
        if getattr(self.gw, "scope_id", None):
            raise ValueError("gw: takes no interface behind a %; the route is through this one")
        if self.dst.is_multicast or self.dst.is_loopback or self.dst.is_link_local:
            raise ValueError(f"dst: {self.dst} cannot be routed")
        if self.dst.prefixlen == 0:
            raise ValueError(f"dst: {self.dst} is the default route; default_route decides about that")
        return self

    @field_serializer("dst", "gw")
    def _as_text(self, value: IPNetwork | IPAddress | None) -> str | None:
        return None if value is None else str(value)

    def __str__(self) -> str:
        return str(self.dst) if self.gw is None else f"{self.dst} via {self.gw}"


def _sysctl_name(value: str) -> str:
    """With slashes, as below /proc/sys. Dots separate too where there is no slash, as sysctl(8) reads it."""
    name = value if "/" in value else value.replace(".", "/")
    if not _SYSCTL.match(name) or any(part in (".", "..") for part in name.split("/")):
        raise ValueError(
            f"{value[:100]!r} is not a kernel parameter of a network namespace, such as net.core.somaxconn"
        )
    return name


SysctlName = Annotated[str, AfterValidator(_sysctl_name), WithJsonSchema(written.SYSCTL)]


def _sysctl_value(value: str) -> str:
    return " ".join(printable(value.replace("\t", " ")).split())


SysctlValue = Annotated[
    str,
    StringConstraints(min_length=1, max_length=256, strip_whitespace=True),
    AfterValidator(_sysctl_value),
    WithJsonSchema(written.SYSCTL_VALUE),
]
