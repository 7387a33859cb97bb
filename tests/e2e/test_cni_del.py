"""CNI's DEL by the real plugin: what it takes away, what it leaves, and that there is nothing it fails over."""

from __future__ import annotations

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host, kernel_state
from tests.e2e.runtimes import Json, Runtime
from tests.e2e.wishes import attach

TRY_AGAIN_LATER = 11
POD = "IgnoreUnknown=1;K8S_POD_UID=0b1e"


async def recorded(client: AsyncClient) -> list[tuple[str, str]]:
    return [(it.workload_id, it.source) async for it in client.list()]


async def test_nothing_is_left(runtime: Runtime, client: AsyncClient, node: Host, web: Host) -> None:
    """When DEL returns, the interface is gone from the container and the node, and the addresses are free again."""
    web.ip("link set lo up")  # an ADD leaves it so
    before = kernel_state(node, web)
    held = [pool.held for pool in (await client.status()).pools]
    container = runtime.container("c1", web)
    result = container.add().result()
    container.delete(prevResult=result).succeeded()
    assert kernel_state(node, web) == before
    assert await recorded(client) == []
    assert [pool.held for pool in (await client.status()).pools] == held


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0", "1.1.0"])
async def test_every_version_deletes(runtime: Runtime, web: Host, version: str) -> None:
    """Without a prevResult too: plugins should still return without error if it is empty."""
    container = runtime.container("c1", web)
    container.add(version).result()
    container.delete(version).succeeded()
    assert "eth0" not in web.links()


async def test_a_second_del_succeeds(runtime: Runtime, web: Host) -> None:
    """Plugins MUST accept multiple DEL calls for the same pair and return success if the interface is missing."""
    container = runtime.container("c1", web)
    container.add().result()
    for _ in range(3):
        container.delete().succeeded()


async def test_a_del_without_an_add_succeeds(runtime: Runtime, web: Host) -> None:
    """Whatever is missing: the container, the namespace, all of it."""
    runtime.container("c1", web).delete().succeeded()
    runtime.container("c1", "/run/netns/nobody").delete().succeeded()
    runtime.container("c1").delete().succeeded()


async def test_a_del_after_an_add_that_was_refused_succeeds(runtime: Runtime, web: Host) -> None:
    """A delete must be executed even if the add fails; what was wrong with that does not keep the container."""
    wrong: Json = {"ipam": {"type": "host-local"}, "runtimeConfig": {"portMappings": [{"hostPort": "x"}]}, "mtu": 1}
    for args in ("", "COLOUR=red"):
        container = runtime.container("c1", web, args=args)
        assert container.add(**wrong).status == 1
        container.delete(**wrong).succeeded()


async def test_a_del_without_the_namespace_cleans_up(
    runtime: Runtime, client: AsyncClient, node: Host, web: Host
) -> None:
    """CNI_NETNS is optional; a runtime that closed the namespace has none to name."""
    before = set(node.links())
    runtime.container("c1", web).add().result()
    runtime.container("c1").delete().succeeded()
    assert set(node.links()) == before
    assert "eth0" not in web.links()
    assert await recorded(client) == []


async def test_a_del_after_the_namespace_is_gone_cleans_up(
    runtime: Runtime, client: AsyncClient, node: Host, web: Host
) -> None:
    """A plugin should release what it holds even if the container's namespace no longer exists."""
    before = set(node.links())
    container = runtime.container("c1", web)
    container.add().result()
    web.remove()
    container.delete().succeeded()
    assert set(node.links()) == before
    assert await recorded(client) == []


async def test_a_strangers_namespace_at_the_path_is_not_touched(
    runtime: Runtime, client: AsyncClient, web: Host
) -> None:
    """The container is what the DEL means, not what is at the path now."""
    container = runtime.container("c1", web)
    container.add().result()
    web.remake()
    web.ip("link add eth0 type veth peer name other")
    container.delete().succeeded()
    assert "eth0" in web.links()
    assert await recorded(client) == []


async def test_the_other_interface_of_a_container_stays(runtime: Runtime, web: Host) -> None:
    """An attachment is a container and an interface."""
    first, second = (runtime.container("c1", web, if_name=name) for name in ("eth0", "eth1"))
    first.add().result()
    result = second.add().result()
    first.delete().succeeded()
    assert "eth0" not in web.links()
    second.check(result).succeeded()


async def test_an_attachment_of_another_network_stays(runtime: Runtime, web: Host) -> None:
    """A DEL only detaches what its own network holds."""
    container = runtime.container("c1", web)
    result = container.add().result()
    Runtime(runtime.node, runtime.bin_dir, "storage").container("c1", web).delete().succeeded()
    container.check(result).succeeded()


async def test_an_attachment_of_grpc_stays(runtime: Runtime, client: AsyncClient, web: Host) -> None:
    """Also if it has the same workload, interface, container and namespace."""
    await client.attach(attach(web, "c1", container_id="c1"))
    runtime.container("c1", web).delete().succeeded()
    assert await recorded(client) == [("c1", "rpc")]
    assert "eth0" in web.links()


@pytest.mark.parametrize("args", ["", "IgnoreUnknown=1;K8S_POD_UID=", POD])
async def test_the_container_tells_which_attachment_is_meant(
    runtime: Runtime, client: AsyncClient, web: Host, args: str
) -> None:
    """An attachment is known by container and interface, so the DEL finds a pod's also without the pod's name."""
    runtime.container("c1", web, args=POD).add().result()
    runtime.container("c1", web, args=args).delete().succeeded()
    assert await recorded(client) == []


async def test_the_late_del_of_an_older_sandbox_changes_nothing(
    runtime: Runtime, client: AsyncClient, web: Host, db: Host
) -> None:
    """A pod's sandbox was made anew before the old one was deleted; with and without a namespace in the DEL."""
    runtime.container("c1", web, args=POD).add().result()
    new = runtime.container("c2", db, args=POD)
    result = new.add().result()
    for netns in ("", web, db):
        runtime.container("c1", netns, args=POD).delete().succeeded()
    new.check(result).succeeded()
    assert await recorded(client) == [("0b1e", "cni/cluster")]


async def test_with_the_daemon_away_it_fails_and_the_next_try_cleans_up(
    runtime: Runtime, daemon: Daemon, node: Host, web: Host
) -> None:
    """Error 11 and no more; the runtime tries again, and what was attached before the restart is known after it."""
    before = set(node.links())
    container = runtime.container("c1", web)
    container.add().result()
    daemon.kill9()
    assert container.delete().error()["code"] == TRY_AGAIN_LATER
    assert "eth0" in web.links()
    await daemon.start()
    container.delete().succeeded()
    assert set(node.links()) == before
    assert "eth0" not in web.links()


async def test_with_the_daemon_away_an_add_fails(runtime: Runtime, daemon: Daemon, web: Host) -> None:
    """Error 11: the runtime should try again later. Then it works."""
    daemon.terminate()
    error = runtime.container("c1", web).add("0.4.0").error()
    assert (error["code"], error["cniVersion"]) == (TRY_AGAIN_LATER, "0.4.0")
    assert str(daemon.socket) in error["details"]
    await daemon.start()
    runtime.container("c1", web).add("0.4.0").result()


async def test_addresses_are_free_again(runtime: Runtime, web: Host, db: Host) -> None:
    """What a DEL let go can be asked for by the next ADD."""
    static: Json = {"runtimeConfig": {"ips": ["10.213.0.77/24"]}}
    first = runtime.container("c1", web)
    first.add(**static).result()
    assert runtime.container("c2", db).add(**static).error()["code"] == 101
    first.delete(**static).succeeded()
    result = runtime.container("c2", db).add(**static).result()
    assert result["ips"][0]["address"] == "10.213.0.77/32"


async def test_a_wrong_version_deletes_nothing(runtime: Runtime, web: Host) -> None:
    """Error 1."""
    container = runtime.container("c1", web)
    container.add().result()
    assert container.delete("0.2.0").error()["code"] == 1
    assert "eth0" in web.links()
