"""CNI's ADD, by the real plugin: what it answers, what is then in the kernel, and what it refuses."""

from __future__ import annotations

import pytest

from api.client import Client
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.runtimes import Runtime, installed


@pytest.fixture
def runtime(node: Host, daemon: Daemon) -> Runtime:
    return Runtime(node, installed(daemon))


async def test_add_answers_interfaces_addresses_and_routes(runtime: Runtime, client: Client, web: Host) -> None:
    """The result lists both ends, the container's with its sandbox, and what is bound to it by its index."""
    pod = runtime.container("c1", web)
    result = pod.add().result()
    print(result)
    assert pod.add().result() == result
    pod.check(result).succeeded()
    runtime.status().succeeded()
    pod.delete().succeeded()
    pod.delete().succeeded()
    runtime.gc().succeeded()
    print(pod.check(result).error())
