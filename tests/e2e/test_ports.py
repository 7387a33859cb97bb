"""Ports of the node that lead to workloads, by real traffic in both families."""

from __future__ import annotations

import pytest

from api.client import Client
from api.v1 import netplumb_pb2 as pb
from tests.e2e import wishes
from tests.e2e.conftest import NODE_V4, NODE_V6, OUTSIDE_V4, OUTSIDE_V6
from tests.e2e.echoes import ask, serving
from tests.e2e.hosts import Host

PORT, INNER = 8080, 80
BOTH = (f"{PORT}:{INNER}/tcp", f"{PORT}:{INNER}/udp")
PROTOCOLS = ("tcp", "udp")


@pytest.fixture
async def mapped(client: Client, web: Host) -> pb.AttachResponse:
    return await client.attach(wishes.attach(web, ports=BOTH))


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_from_wherever_it_is_asked(
    mapped: pb.AttachResponse, client: Client, node: Host, outside: Host, web: Host, db: Host, protocol: str
) -> None:
    """From outside and from another workload the asker's own address is seen; from the node by every address of its
    own, loopback too; from the workload itself."""
    other = await client.attach(wishes.attach(db))
    with serving(web, INNER):
        for version, node_ip, outside_ip, pool_ip, loopback in (
            (4, NODE_V4, OUTSIDE_V4, "10.213.0.1", "127.0.0.1"),
            (6, NODE_V6, OUTSIDE_V6, "fd13::1", "::1"),
        ):
            own = wishes.v4(other) if version == 4 else wishes.v6(other)
            assert ask(outside, node_ip, PORT, protocol) == f"web {outside_ip}"
            assert ask(db, node_ip, PORT, protocol) == f"web {own}"
            assert ask(db, pool_ip, PORT, protocol) == f"web {own}"
            for address in (node_ip, pool_ip, loopback):
                assert (ask(node, address, PORT, protocol) or "").startswith("web "), address
            for address in (node_ip, pool_ip):
                assert (ask(web, address, PORT, protocol) or "").startswith("web "), address
