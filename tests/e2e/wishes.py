"""Requests in few words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import grpc
import pytest
from pydantic import TypeAdapter

from netplumb.api.answers import port_mapping
from netplumb.api.client.errors import ClientError
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.models.ports import PortMappings
from tests.e2e.hosts import Host


def attach(
    netns: Host | str,
    workload_id: str = "",
    *,
    if_name: str = "",
    container_id: str = "",
    labels: Mapping[str, str] | None = None,
    addresses: Sequence[str] = (),
    mac: str = "",
    mtu: int = 0,
    ports: Sequence[str] = (),
    **more: Any,
) -> pb.AttachRequest:
    """The wish for an interface in a host, or at a path. A workload without an id is called as its namespace is. Ports
    are written as on the command line; `more` are fields of the request as they are."""
    path = netns.path if isinstance(netns, Host) else netns
    return pb.AttachRequest(
        workload_id=workload_id or path.rpartition("/")[2],
        netns=pb.NetNSAttachment(netns_path=path, if_name=if_name),
        container_id=container_id,
        labels=labels or {},
        addresses=addresses,
        mac=mac,
        mtu=mtu,
        port_mappings=[port_mapping(mapping) for mapping in TypeAdapter(PortMappings).validate_python(tuple(ports))],
        **more,
    )


def detach(workload_id: str, path: str = "", *, if_name: str = "", container_id: str = "") -> pb.DetachRequest:
    return pb.DetachRequest(
        workload_id=workload_id,
        netns=pb.NetNSAttachment(netns_path=path, if_name=if_name),
        container_id=container_id,
    )


def texts(answer: pb.AttachResponse) -> tuple[str, ...]:
    """The answered addresses as text."""
    return tuple(str(ip_address(raw)) for raw in answer.ip)


def v4(answer: pb.AttachResponse) -> str:
    return str(next(IPv4Address(raw) for raw in answer.ip if len(raw) == 4))


def v6(answer: pb.AttachResponse) -> str:
    return str(next(IPv6Address(raw) for raw in answer.ip if len(raw) == 16))


def condition(attachment: pb.Attachment, type_: str) -> pb.Condition | None:
    return next((found for found in attachment.conditions if found.type == type_), None)


@contextmanager
def refused(code: grpc.StatusCode, *words: str) -> Iterator[None]:
    """The call within fails with this code, and its message has these words."""
    with pytest.raises(ClientError) as caught:
        yield
    assert caught.value.code is code, f"{caught.value.code}: {caught.value.message}"
    for word in words:
        assert word in caught.value.message
