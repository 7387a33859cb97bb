"""Ports of the node that lead to a workload.

A person writes `8080:80`, `8000-8010:9000-9010/udp`, `127.0.0.1:8080:80` or `[::1]:8080:80`; a program the fields. Two
mappings collide when one packet could mean both and they lead to different ports; what leads to the same is one mapping
said twice.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, field_serializer, model_validator

from netplumb.models import written
from netplumb.models.base import IPAddress, Model

MAPPINGS_MAX = 1024
PORTS_MAX = 20_000
"""Ports of one attachment. Each is an element of a hash map in the kernel: a range has no price for a packet, but one
for its writer."""
PORT_MAX = 65535
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

EVERYWHERE: Mapping[int, IPAddress] = MappingProxyType({4: IPv4Address(0), 6: IPv6Address(0)})
"""The `host_ip` that means every address of the node of one family."""


class HostPort(NamedTuple):
    """A port of the node, at whichever of its addresses. `version` is the address family."""

    version: int
    protocol: Protocol
    port: int

    def __str__(self) -> str:
        return f"{self.protocol} port {self.port} (IPv{self.version})"


Place = tuple[HostPort, IPAddress | None]
"""Where one port is mapped: at one address of the node, or as None at every one of its family."""


def _unmappable(ip: IPAddress) -> str:
    """Why no port of this address can be mapped; empty where one can. An IPv4 address in IPv6's clothes is none that a
    packet is sent to, and the kernel spells it otherwise."""
    if ip.version == 6 and ip.is_link_local:
        return f"{ip} is link-local, the same on every interface; leave the address out, or name a global one"
    if (isinstance(ip, IPv6Address) and (ip.scope_id or ip.ipv4_mapped)) or (
        ip.is_multicast or (ip.version == 4 and ip.is_reserved)
    ):
        return f"{ip} cannot be an address of the node"
    return ""


class PortMapping(Model):
    """`host_port`, up to `host_port_end` where there is one, to `container_port` and the ports that follow it."""

    host_port: Annotated[int, WithJsonSchema(written.PORTS)] = Field(
        ge=1,
        le=PORT_MAX,
        description="The node's port; the first one of a range, or as text a range such as 8000-8009",
    )
    container_port: Annotated[int, WithJsonSchema(written.PORT)] = Field(
        ge=1, le=PORT_MAX, description="The workload's port; of a range, the one that the first leads to"
    )
    protocol: Protocol = Field(default=Protocol.TCP, description="The transport")
    host_ip: Annotated[IPAddress, WithJsonSchema(written.NODE_ADDRESS)] | None = Field(
        default=None, description="The node's address; every one without it"
    )
    host_port_end: int = Field(default=0, ge=0, le=PORT_MAX, description="The last port of a range")

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        if self.host_port_end and self.host_port_end < self.host_port:
            raise ValueError(f"the range {self.host_port}-{self.host_port_end} ends before it begins")
        if self.container_port + self.size - 1 > PORT_MAX:
            raise ValueError(f"{self.size} ports from container port {self.container_port} on go beyond {PORT_MAX}")
        if self.host_ip is not None and (why := _unmappable(self.host_ip)):
            raise ValueError(f"host_ip: {why}")
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
        return (port for port, _ in self.leads())

    def leads(self, versions: Collection[int] = (4, 6)) -> Iterator[tuple[HostPort, int]]:
        """Each port of the node, in these families, with the workload's port that it leads to."""
        for version in self.versions:
            if version in versions:
                for offset in range(self.size):
                    yield HostPort(version, self.protocol, self.host_port + offset), self.container_port + offset

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
    """The mappings less those of which others say all already."""
    if (total := sum(mapping.size for mapping in mappings)) > PORTS_MAX:
        raise ValueError(f"{total} ports are mapped; at most {PORTS_MAX} may be")
    seen: dict[HostPort, dict[IPAddress | None, tuple[PortMapping, int]]] = {}
    needless = set()
    for position, mapping in sorted(enumerate(mappings), key=lambda it: _narrowness(it[1])):
        needless.add(position)
        for port, leads_to in mapping.leads():
            ends = seen.setdefault(port, {})
            for ip, (other, other_leads_to) in ends.items():
                if overlapping(ip, mapping.bound_ip) and other_leads_to != leads_to:
                    raise ValueError(f"{mapping} and {other} both mean {port}")
            if None not in ends and mapping.bound_ip not in ends:
                ends[mapping.bound_ip] = mapping, leads_to
                needless.discard(position)
    return tuple(mapping for position, mapping in enumerate(mappings) if position not in needless)


def _narrowness(mapping: PortMapping) -> tuple[bool, int, int]:
    return mapping.bound_ip is not None, -len(mapping.versions), -mapping.size


def places(mappings: Iterable[PortMapping]) -> Iterator[Place]:
    return ((port, mapping.bound_ip) for mapping in mappings for port in mapping.host_ports())


def overlapping(one: IPAddress | None, other: IPAddress | None) -> bool:
    """Whether a packet could mean both, each an address of the node or, as None, every one of its family."""
    return one is None or other is None or one == other


_MappingText = Annotated[str, WithJsonSchema(written.PORT_MAPPING)]

PortMappings = Annotated[
    tuple[Annotated[PortMapping, BeforeValidator(_of_text, json_schema_input_type=_MappingText | PortMapping)], ...],
    Field(max_length=MAPPINGS_MAX),
    AfterValidator(_apart),
]
