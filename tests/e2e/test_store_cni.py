"""A runtime's CNI commands after the daemon's store was lost: the container's attachment is known by its namespace."""

from __future__ import annotations

import pytest

from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host, kernel_state
from tests.e2e.losses import all_attached, listed, start_without_store
from tests.e2e.runtimes import Runtime
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, v4

POD = "IgnoreUnknown=1;K8S_POD_UID=0b1e"


async def lose_store(daemon: Daemon, count: int) -> None:
    await start_without_store(daemon)
    async with daemon.client() as client:
        await until(lambda: all_attached(client, count), "all are attached")


@pytest.mark.parametrize("args", ["", POD], ids=["known by container", "known by pod"])
async def test_a_del_takes_away_what_was_rebuilt(
    daemon: Daemon, runtime: Runtime, node: Host, web: Host, db: Host, args: str
) -> None:
    """By the namespace that it names, and nothing of another container's."""
    one, other = runtime.container("c1", web, args=args), runtime.container("c2", db)
    result = one.add().result()
    other.add().result()
    await lose_store(daemon, 2)
    before = kernel_state(db)
    one.delete(prevResult=result).succeeded()
    assert "eth0" not in web.links()
    assert kernel_state(db) == before
    async with daemon.client() as client:
        assert [it.source for it in (await listed(client)).values()] == ["rebuilt"]


async def test_a_del_without_a_namespace_goes_by_the_container(daemon: Daemon, runtime: Runtime, web: Host) -> None:
    runtime.container("c1", web).add().result()
    await lose_store(daemon, 1)
    runtime.container("c2").delete().succeeded()
    assert "eth0" in web.links()
    runtime.container("c1").delete().succeeded()
    assert "eth0" not in web.links()


async def test_a_check_and_a_repeated_add_find_what_was_rebuilt(
    daemon: Daemon, runtime: Runtime, node: Host, web: Host
) -> None:
    """CHECK compares it, and ADD makes it the network's again, with the same addresses and nothing made anew."""
    container = runtime.container("c1", web)
    result = container.add().result()
    before = kernel_state(node, web)
    await lose_store(daemon, 1)
    container.check(result).succeeded()
    assert container.add().result()["ips"] == result["ips"]
    assert kernel_state(node, web) == before
    async with daemon.client() as client:
        (found,) = (await listed(client)).values()
        assert (found.source, found.container_id) == ("cni/cluster", "c1")


async def test_a_del_of_another_interface_leaves_what_was_rebuilt(
    daemon: Daemon, runtime: Runtime, node: Host, web: Host
) -> None:
    """An interface that the namespace has by another name, or an attachment that is known to be another's, is not
    meant."""
    container = runtime.container("c1", web)
    container.add().result()
    await lose_store(daemon, 1)
    async with daemon.client() as client:
        answer = await client.attach(attach(web, "c1"))
    container.delete().succeeded()
    assert "eth0" in web.links()
    assert node.ping(v4(answer))
