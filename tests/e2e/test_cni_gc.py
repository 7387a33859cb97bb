"""CNI's GC by the real plugin: what a network holds and the runtime does not know any more goes, and only that."""

from __future__ import annotations

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e.conftest import MakeHost
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.runtimes import Runtime
from tests.e2e.statefiles import declare, document
from tests.e2e.waiting import until
from tests.e2e.wishes import attach


async def recorded(client: AsyncClient) -> set[tuple[str, str, str]]:
    return {(it.workload_id, it.if_name, it.source) async for it in client.list()}


async def test_what_is_not_valid_any_more_goes(
    runtime: Runtime, client: AsyncClient, node: Host, make_host: MakeHost
) -> None:
    """A plugin SHOULD remove as many stale resources as possible, and keep those of valid attachments. When GC returns
    they are gone from the kernel."""
    containers = [runtime.container(f"c{n}", make_host(f"w{n}")) for n in range(4)]
    results = [container.add().result() for container in containers]
    runtime.gc(containers[0], containers[2]).succeeded()
    assert await recorded(client) == {("c0", "eth0", "cni/cluster"), ("c2", "eth0", "cni/cluster")}
    for number, (container, result) in enumerate(zip(containers, results, strict=True)):
        assert (result["interfaces"][0]["name"] in node.links()) == (number in (0, 2))
        if number in (0, 2):
            container.check(result).succeeded()


async def test_an_empty_list_removes_all_of_the_network(runtime: Runtime, client: AsyncClient, web: Host) -> None:
    """Nothing is valid any more."""
    for name in ("eth0", "eth1"):
        runtime.container("c1", web, if_name=name).add().result()
    runtime.gc().succeeded()
    assert await recorded(client) == set()
    assert "eth0" not in web.links()


async def test_go_writes_an_empty_list_as_null(runtime: Runtime, client: AsyncClient, web: Host) -> None:
    runtime.container("c1", web).add().result()
    config = runtime.config() | {"cni.dev/valid-attachments": None}
    runtime.run({"CNI_COMMAND": "GC"}, config).succeeded()
    assert await recorded(client) == set()


async def test_a_missing_list_removes_nothing(runtime: Runtime, client: AsyncClient, web: Host) -> None:
    """Error 7: a mistake must not take down a node."""
    runtime.container("c1", web).add().result()
    error = runtime.run({"CNI_COMMAND": "GC"}, runtime.config()).error()
    assert error["code"] == 7
    assert "cni.dev/valid-attachments" in error["msg"]
    assert len(await recorded(client)) == 1


async def test_an_attachment_is_a_container_with_an_interface(runtime: Runtime, client: AsyncClient, web: Host) -> None:
    """Of two interfaces of one container, one may be stale."""
    first, second = (runtime.container("c1", web, if_name=name) for name in ("eth0", "eth1"))
    first.add().result()
    second.add().result()
    runtime.gc(second).succeeded()
    assert await recorded(client) == {("c1", "eth1", "cni/cluster")}


async def test_a_pod_is_known_by_its_container(runtime: Runtime, client: AsyncClient, web: Host, db: Host) -> None:
    """The runtime names containers, also where the workload is a pod; a pod whose sandbox was made anew is valid by
    its new one."""
    args = "IgnoreUnknown=1;K8S_POD_UID=0b1e"
    old, new = runtime.container("c1", web, args=args), runtime.container("c2", db, args=args)
    old.add().result()
    runtime.gc(old).succeeded()
    assert await recorded(client) == {("0b1e", "eth0", "cni/cluster")}
    new.add().result()
    runtime.gc(new).succeeded()
    assert await recorded(client) == {("0b1e", "eth0", "cni/cluster")}
    runtime.gc(old).succeeded()
    assert await recorded(client) == set()


async def test_other_networks_and_sources_are_left_alone(
    runtime: Runtime, client: AsyncClient, daemon_state: None, make_host: MakeHost
) -> None:
    """GC speaks of one network: that of gRPC, of state files and of another network stays."""
    other = Runtime(runtime.node, runtime.bin_dir, "storage")
    runtime.container("c1", make_host("w1")).add().result()
    other.container("c2", make_host("w2")).add().result()
    await client.attach(attach(make_host("w3"), "c3"))
    runtime.gc().succeeded()
    assert await recorded(client) == {
        ("c2", "eth0", "cni/storage"),
        ("c3", "eth0", "rpc"),
        ("web-1", "eth0", "file/a.yaml"),
    }


@pytest.fixture
async def daemon_state(runtime: Runtime, client: AsyncClient, daemon: Daemon, web: Host) -> None:
    """A state file that holds an attachment."""
    declare(daemon, "a.yaml", document("web-1", web))

    async def declared() -> bool:
        return await recorded(client) == {("web-1", "eth0", "file/a.yaml")}

    await until(declared, "the file is read")


async def test_containers_without_a_namespace_go_too(
    runtime: Runtime, client: AsyncClient, node: Host, make_host: MakeHost
) -> None:
    """The namespace may have been deleted: the node died, or the runtime lost its state."""
    before = set(node.links())
    hosts = [make_host(f"w{n}") for n in range(3)]
    for number, host in enumerate(hosts):
        runtime.container(f"c{number}", host).add().result()
    for host in hosts:
        host.remove()
    runtime.gc().succeeded()
    assert await recorded(client) == set()
    assert set(node.links()) == before


async def test_where_nothing_is_stale_it_succeeds(runtime: Runtime, web: Host) -> None:
    """Also for containers that were never added, and twice."""
    runtime.gc().succeeded()
    container = runtime.container("c1", web)
    result = container.add().result()
    for _ in range(2):
        runtime.gc(container, runtime.container("c9")).succeeded()
    container.check(result).succeeded()


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0"])
async def test_before_1_1_0_there_is_no_gc(runtime: Runtime, client: AsyncClient, web: Host, version: str) -> None:
    """Error 1; nothing goes."""
    runtime.container("c1", web).add().result()
    config = runtime.config(version) | {"cni.dev/valid-attachments": []}
    assert runtime.run({"CNI_COMMAND": "GC"}, config).error()["code"] == 1
    assert len(await recorded(client)) == 1


async def test_with_the_daemon_away_it_is_an_error(runtime: Runtime, daemon: Daemon) -> None:
    """Error 11: the runtime will collect another time."""
    daemon.terminate()
    assert runtime.gc().error()["code"] == 11
