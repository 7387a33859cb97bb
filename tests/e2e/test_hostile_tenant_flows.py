"""A workload that fills the node's connection tracking keeps nobody waiting who asks for ports."""

from __future__ import annotations

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e.conftest import MakeHost
from tests.e2e.hosts import Host
from tests.e2e.paces import attach_s
from tests.e2e.tenants import fill_with_flows
from tests.e2e.wishes import attach

NODE_ADDRESS = "10.213.0.1"  # in the pool of the tests
FLOWS = 60_000
MOST_LONGER = 5.0
"""How many times as long an Attach without ports may take."""
PORTS_WITHIN_S = 2.0
"""One with ports waits until no sender is led where its port led before."""


@pytest.fixture
def mallory(make_host: MakeHost) -> Host:
    return make_host("mallory")


def _tracked(node: Host) -> int:
    return int(node.sysctl("net/netfilter/nf_conntrack_count"))


async def test_others_do_not_wait_for_the_flows_of_one(
    client: AsyncClient, node: Host, db: Host, mallory: Host
) -> None:
    """Sixty thousand flows to the node: an Attach takes as long as before. One with eight UDP ports waits until it is
    looked whether any of them leads elsewhere now, beside the others."""
    await client.attach(attach(mallory))
    ports = tuple(f"{port}:80/udp" for port in range(9001, 9009))
    quiet = await attach_s(client, db), await attach_s(client, db, ports=ports)
    fill_with_flows(mallory, NODE_ADDRESS, FLOWS)
    assert _tracked(node) >= FLOWS
    busy = await attach_s(client, db), await attach_s(client, db, ports=ports)
    print(f"{busy[0] / quiet[0]:.1f} times an Attach, {busy[1] / quiet[1]:.1f} times one with ports")
    assert busy[0] / quiet[0] <= MOST_LONGER
    assert busy[1] <= PORTS_WITHIN_S
