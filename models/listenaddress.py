"""Where something is served, as people write it: 127.0.0.1:9478, [::1]:9478 or unix:/path."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TypeAlias

from netplumb.models.base import IPAddress

PORT_MAX = 65535
_UNIX = "unix:"


@dataclass(frozen=True, slots=True)
class TcpAddress:
    ip: IPAddress
    port: int

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if self.ip.version == 6 else f"{self.ip}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    path: Path

    def __str__(self) -> str:
        return f"{_UNIX}{self.path}"


ListenAddress: TypeAlias = TcpAddress | UnixAddress


def listen_address(value: object) -> ListenAddress:
    """Raises ValueError."""
    if isinstance(value, TcpAddress | UnixAddress):
        return value
    if isinstance(value, str) and (found := _unix(value) if value.startswith(_UNIX) else _tcp(value)) is not None:
        return found
    raise ValueError(f"{value!r} is not like 127.0.0.1:9478, [::1]:9478 or unix:/run/netplumb/metrics.sock")


def _unix(text: str) -> UnixAddress | None:
    path = Path(text.removeprefix(_UNIX))
    return UnixAddress(path) if path.is_absolute() else None


def _tcp(text: str) -> TcpAddress | None:
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        ip = ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        return None
    if bracketed != (ip.version == 6) or not port.isascii() or not port.isdigit() or not 0 < int(port) <= PORT_MAX:
        return None
    return TcpAddress(ip, int(port))
