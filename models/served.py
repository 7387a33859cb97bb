"""Where something is served, as settings: each with what must not be left out beside it, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema

from netplumb.models import written
from netplumb.models.listenaddress import ListenAddress, TcpAddress, UnixAddress, listen_address

SOCKET_PATH_MAX_BYTES = 103  # sun_path less the closing NUL, unix(7), and less the `.cni` of the socket beside it


def printable_path(value: Path) -> Path:
    if not str(value).isprintable():
        raise ValueError("must hold printable characters only")
    return value


def socket_path(value: Path) -> Path:
    if (size := len(bytes(value))) > SOCKET_PATH_MAX_BYTES:
        raise ValueError(f"is {size} bytes long; a unix socket's path holds at most {SOCKET_PATH_MAX_BYTES}")
    return value


def _listen(value: object) -> ListenAddress:
    address = listen_address(value)
    if isinstance(address, UnixAddress):
        socket_path(printable_path(address.path))
    return address


def _page_address(value: object, info: ValidationInfo) -> TcpAddress:
    address = listen_address(value)
    if not isinstance(address, TcpAddress):
        raise ValueError(f"{value!r} is not like 127.0.0.1:9479; browsers take no unix socket")
    if not address.ip.is_loopback and not info.data.get("ui_anywhere"):
        raise ValueError(
            f"{address} can be reached from elsewhere, and whoever reaches it sees all: take 127.0.0.1, or say "
            "ui_anywhere: true if that is meant"
        )
    return address


def _remote_address(value: object, info: ValidationInfo) -> TcpAddress:
    address = listen_address(value)
    if not isinstance(address, TcpAddress):
        raise ValueError(f"{value!r} is not like 192.0.2.1:9480")
    if missing := [name for name in ("remote_cert", "remote_key", "remote_ca") if not info.data.get(name)]:
        raise ValueError(f"wants {', '.join(missing)} too: nobody is let in without a certificate")
    if not (info.data.get("remote_read") or info.data.get("remote_all")):
        raise ValueError("lets nobody in: name certificates in remote_read or remote_all")
    return address


Listen = Annotated[
    ListenAddress,
    PlainValidator(_listen),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema(written.LISTEN_ADDRESS),
]
PageAddress = Annotated[
    TcpAddress,
    PlainValidator(_page_address),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema(written.TCP_ADDRESS),
]
RemoteAddress = Annotated[
    TcpAddress,
    PlainValidator(_remote_address),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema(written.TCP_ADDRESS),
]
