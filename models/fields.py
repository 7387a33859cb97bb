"""The single values of a wish, each with its rule and with what JSON Schema can say of it."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated

from pydantic import AfterValidator, StringConstraints, WithJsonSchema

from netplumb.models import written
from netplumb.models.base import GivenAddress, IPAddress, printable

WORKLOAD_ID_MAX_BYTES = 200
LABEL_KEY_MAX_CHARS = 253 + 1 + 63  # what Kubernetes allows: a DNS name, a slash, a name
LABEL_VALUE_MAX_CHARS = 1024
IF_NAME_MAX_CHARS = 15  # IFNAMSIZ less the closing NUL, include/uapi/linux/if.h
MTU_MIN = 1280  # RFC 8200 section 5; below it the kernel takes IPv6 off the link
MTU_MAX = 65535
NOT_GIVEN = ""  # what proto3 has for a field that was left out; a stored wish says it too
_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\Z")


def _workload_id(value: str) -> str:
    if not value:
        raise ValueError("must not be empty")
    if (size := len(value.encode(errors="surrogatepass"))) > WORKLOAD_ID_MAX_BYTES:
        raise ValueError(f"is {size} bytes long; at most {WORKLOAD_ID_MAX_BYTES} fit the mark on the link")
    return printable(value)


def _if_name(value: str) -> str:
    """The kernel's own rule (dev_valid_name) and two of ours: it would expand `%d`, and `lo` is taken everywhere."""
    if not value:
        raise ValueError("must not be empty")
    if len(value.encode(errors="surrogatepass")) > IF_NAME_MAX_CHARS:
        raise ValueError(f"{value!r} is longer than {IF_NAME_MAX_CHARS} bytes, the kernel's limit")
    if value in {".", "..", "lo", "all", "default"}:
        raise ValueError(f"{value!r} is not free to choose")
    if bad := next((c for c in value if c in "/:%" or c.isspace() or not c.isprintable()), None):
        raise ValueError(f"{value!r} must not contain {bad!r}")
    return value


def _absolute_path(value: str) -> str:
    if value == NOT_GIVEN:
        return value
    if not value.startswith("/"):
        raise ValueError(f"{value!r} is not an absolute path")
    if len(value) > 4095:
        raise ValueError("is longer than the kernel's 4095 bytes for a path")
    return printable(value)


def _netns_name(value: str) -> str:
    if value == NOT_GIVEN:
        return value
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}", value):
        raise ValueError(f"{value!r} must be letters, digits, dots, dashes and underscores, at most 200")
    return value


def _mac(value: str) -> str:
    if value == NOT_GIVEN:
        return value
    value = value.lower().replace("-", ":")
    if not _MAC.match(value):
        raise ValueError(f"{value!r} is not a MAC address such as 02:00:5e:10:00:01")
    if int(value[:2], 16) & 1:
        raise ValueError(f"{value!r} is a multicast address; an interface needs a unicast one")
    if value == "00:00:00:00:00:00":
        raise ValueError("all zeros is not an address of an interface")
    return value


def _assignable(value: IPAddress) -> IPAddress:
    if value.is_unspecified or value.is_multicast or value.is_loopback:
        raise ValueError(f"{value} cannot be an interface's address")
    if value.is_link_local:
        raise ValueError(f"{value} is link-local; the first hop uses that range")
    if isinstance(value, IPv4Address) and int(value) >= 0xF000_0000:
        raise ValueError(f"{value} is reserved (240.0.0.0/4)")
    if isinstance(value, IPv4Address) and int(value) < 0x0100_0000:
        raise ValueError(f"{value} is of this network (0.0.0.0/8)")
    if isinstance(value, IPv6Address) and (value.scope_id or value.ipv4_mapped):
        raise ValueError(f"{value} cannot be an interface's address")
    return value


WorkloadId = Annotated[
    str, AfterValidator(_workload_id), WithJsonSchema(written.printable_text(1, WORKLOAD_ID_MAX_BYTES))
]
IfName = Annotated[str, AfterValidator(_if_name), WithJsonSchema(written.if_name(IF_NAME_MAX_CHARS))]
AbsolutePath = Annotated[str, AfterValidator(_absolute_path), WithJsonSchema(written.ABSOLUTE_PATH)]
NetnsName = Annotated[
    str, AfterValidator(_netns_name), WithJsonSchema(written.text(r"^([A-Za-z0-9_][A-Za-z0-9._-]{0,199})?$"))
]
Mac = Annotated[str, AfterValidator(_mac), WithJsonSchema(written.MAC)]
Mtu = Annotated[int, WithJsonSchema(written.zero_or(MTU_MIN, MTU_MAX))]
AssignableAddress = Annotated[GivenAddress, AfterValidator(_assignable), WithJsonSchema(written.WORKLOAD_ADDRESS)]
ContainerId = Annotated[
    str, StringConstraints(max_length=256), AfterValidator(printable), WithJsonSchema(written.printable_text(0, 256))
]
LabelKey = Annotated[
    str,
    StringConstraints(min_length=1, max_length=LABEL_KEY_MAX_CHARS),
    AfterValidator(printable),
    WithJsonSchema(written.printable_text(1, LABEL_KEY_MAX_CHARS)),
]
LabelValue = Annotated[
    str,
    StringConstraints(max_length=LABEL_VALUE_MAX_CHARS),
    AfterValidator(printable),
    WithJsonSchema(written.printable_text(0, LABEL_VALUE_MAX_CHARS)),
]


def _pool_name(value: str) -> str:
    if value != NOT_GIVEN and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,62}", value):
        raise ValueError(f"{value[:100]!r} must be letters, digits, dots, dashes, colons and slashes, at most 63")
    return value


PoolName = Annotated[
    str, AfterValidator(_pool_name), WithJsonSchema(written.text(r"^([A-Za-z0-9][A-Za-z0-9._:/-]{0,62})?$"))
]
