"""Ports of the node that lead to a workload.

A person writes `8080:80`, `8000-8010:9000-9010/udp`, `127.0.0.1:8080:80` or `[::1]:8080:80`; a program the fields. Two
mappings collide when one packet could mean both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated, Any, NamedTuple, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, field_serializer, model_validator

from netplumb.models.base import IPAddress, Model

MAPPINGS_MAX = 1024
PORTS_MAX = 20_000
"""Ports of one attachment. Each is an element of a hash map in the kernel: a range has no price for a packet, but one
for its writer."""
_PORT_MAX = 65535
Holder = TypeVar("Holder")
_TEXT = re.compile(
    r"(?:(?P<ip>\[[^\]]*\]|[^:\[\]]*):)?(?P<host>\d+(?:-\d+)?):(?P<container>\d+(?:-\d+)?)(?:/(?P<protocol>\w+))?\Z",
    re.ASCII,
)


class Protocol(StrEnum):
    TCP = "tcp"
    UDP = "udp"
    SCTP = "sctp"

    @property
    def number(self) -> int:
        """IANA's, as it stands in an IP header."""
        return _PROTOCOL_NUMBERS[self]


_PROTOCOL_NUMBERS = {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.SCTP: 132}

Port = tuple[int, int, int]
"""A port of the node as the kernel counts it: IP version, protocol number, port."""

End = tuple[bytes, int]
"""An address and a port."""


class HostPort(NamedTuple):
    """A port of the node, at whichever of its addresses. `version` is the address family."""

    version: int
    protocol: Protocol
    port: int

    def __str__(self) -> str:
        return f"{self.protocol} port {self.port} (IPv{self.version})"


class PortMapping(Model):
    """`host_port`, up to `host_port_end` where there is one, to `container_port` and the ports that follow it."""

    host_port: int = Field(ge=1, le=_PORT_MAX)
    container_port: int = Field(ge=1, le=_PORT_MAX)
    protocol: Protocol = Protocol.TCP
    host_ip: IPAddress | None = Field(default=None, description="The node's address; every one without it")
    host_port_end: int = Field(default=0, ge=0, le=_PORT_MAX, description="The last port of a range")

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        if self.host_port_end and self.host_port_end < self.host_port:
            raise ValueError(f"the range {self.host_port}-{self.host_port_end} ends before it begins")
        if self.container_port + self.size - 1 > _PORT_MAX:
            raise ValueError(f"{self.size} ports from container port {self.container_port} on go beyond {_PORT_MAX}")
        if self.host_ip is not None and (self.host_ip.is_multicast or getattr(self.host_ip, "scope_id", None)):
            raise ValueError(f"host_ip: {self.host_ip} cannot be an address of the node")
        return self

    @field_serializer("host_ip")
    def _as_text(self, host_ip: IPAddress | None) -> str | None:
        return None if host_ip is None else str(host_ip)

    @property
    def last_host_port(self) -> int:
        return self.host_port_end or self.host_port

    @property
    def size(self) -> int:
        return self.last_host_port - self.host_port + 1

    @property
    def is_range(self) -> bool:
        return self.last_host_port > self.host_port

    @property
    def bound_ip(self) -> IPAddress | None:
        """The one address of the node that is meant, None for every one."""
        return self.host_ip if self.host_ip is not None and not self.host_ip.is_unspecified else None

    @property
    def versions(self) -> tuple[int, ...]:
        """The address families that are meant."""
        return (4, 6) if self.host_ip is None else (self.host_ip.version,)

    def host_ports(self) -> Iterator[HostPort]:
        for version in self.versions:
            for port in range(self.host_port, self.last_host_port + 1):
                yield HostPort(version, self.protocol, port)

    def __str__(self) -> str:
        ip = "" if self.host_ip is None else f"[{self.host_ip}]:" if self.host_ip.version == 6 else f"{self.host_ip}:"
        host, container = str(self.host_port), str(self.container_port)
        if self.is_range:
            host += f"-{self.last_host_port}"
            container += f"-{self.container_port + self.size - 1}"
        return f"{ip}{host}:{container}/{self.protocol}"


def _of_text(value: Any) -> Any:
    """`[HOST_IP:]HOST_PORT[-END]:CONTAINER_PORT[-END][/PROTOCOL]` as fields; anything else as it is."""
    if isinstance(value, dict) and isinstance(ports := value.get("host_port"), str) and "-" in ports:
        first, _, last = ports.partition("-")
        return {**value, "host_port": first, "host_port_end": last}
    if not isinstance(value, str):
        return value
    if not (found := _TEXT.match(value)):
        raise ValueError(f"{value[:100]!r} is not like 8080:80, 8000-8010:9000-9010/udp or 127.0.0.1:8080:80")
    first, _, last = found["host"].partition("-")
    container, _, container_last = found["container"].partition("-")
    if container_last and int(container_last) - int(container) != int(last or first) - int(first):
        raise ValueError(f"{value!r}: the two ranges differ in length")
    fields: dict[str, object] = {"host_port": first, "host_port_end": last or 0, "container_port": container}
    if found["protocol"]:
        fields["protocol"] = found["protocol"].lower()
    if found["ip"]:
        try:
            fields["host_ip"] = ip_address(found["ip"].strip("[]"))
        except ValueError as error:
            raise ValueError(f"{value!r}: {error}") from None
    return fields


def _apart(mappings: tuple[PortMapping, ...]) -> tuple[PortMapping, ...]:
    if (total := sum(mapping.size for mapping in mappings)) > PORTS_MAX:
        raise ValueError(f"{total} ports are mapped; at most {PORTS_MAX} may be")
    seen: dict[HostPort, dict[IPAddress | None, PortMapping]] = {}
    for mapping in mappings:
        for port in mapping.host_ports():
            holders = seen.setdefault(port, {})
            if (other := colliding(holders, mapping.bound_ip)) is not None:
                raise ValueError(f"{mapping} and {other} both mean {port}")
            holders[mapping.bound_ip] = mapping
    return mappings


def colliding(holders: Mapping[IPAddress | None, Holder], ip: IPAddress | None) -> Holder | None:
    """Who of those that map one port, each at an address of the node or at every one (None), is in the way at `ip`."""
    if ip is None:
        return next(iter(holders.values()), None)
    return holders.get(ip) or holders.get(None)


PortMappings = Annotated[
    tuple[Annotated[PortMapping, BeforeValidator(_of_text, json_schema_input_type=str | PortMapping)], ...],
    Field(max_length=MAPPINGS_MAX),
    AfterValidator(_apart),
]
