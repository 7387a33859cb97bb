"""`ctr run --cni`, containerd's own client, which calls the plugin without a kubelet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.waiting import until
from tests.runtimes import image
from tests.runtimes.containerd import Containerd
from tests.runtimes.networks import installed
from tests.runtimes.remains import Remains
from tests.runtimes.traffic import seen_as

RUN_WITHIN_S = 30.0


@pytest.fixture
async def containerd(daemon: Daemon, node: Host, directory: Path) -> AsyncIterator[Containerd]:
    """A containerd whose client finds netplumb's plugin where it looks for plugins by itself."""
    containerd = Containerd(node, directory / "containerd")
    with installed(daemon):
        try:
            yield await containerd.start()
        finally:
            containerd.end()


async def test_a_container_has_its_network_from_its_first_instruction(containerd: Containerd, remains: Remains) -> None:
    """The container's command sees both addresses and the default routes, and nothing is left when it ended."""
    said = containerd.ctr("-n", "k8s.io", *_run(containerd, "probe"), "ip", "address", "show", "dev", "eth0")
    assert "inet 10.213.0." in said
    assert "inet6 fd13::" in said
    await remains.are_none()


async def test_a_container_is_reachable_while_it_runs(
    containerd: Containerd, client: AsyncClient, node: Host, remains: Remains
) -> None:
    """A container that serves answers at both addresses; when it is killed nothing is left."""
    words = containerd.command("-n", "k8s.io", *_run(containerd, "web"))
    running = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)

    async def addresses() -> list[str]:
        return [address async for found in client.list() for address in found.addresses]

    await until(addresses, "the container is attached", within_s=RUN_WITHIN_S)
    for address in await addresses():
        assert seen_as(node, address)
    assert [found.workload_id async for found in client.list()] == ["k8s.io-web"]
    containerd.ctr("-n", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", "web")
    await asyncio.wait_for(running.communicate(), RUN_WITHIN_S)
    await remains.are_none()


def _run(containerd: Containerd, name: str) -> list[str]:
    flags = ("--cni", "--rm", "--snapshotter", "native", "--cgroup", f"/{containerd.cgroup}/{name}")
    return ["run", *flags, image.REFERENCE, name]
