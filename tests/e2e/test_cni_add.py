"""CNI's ADD by the real plugin: what it answers, what is then in the kernel, and what it refuses.

The sentences of the specification that a test holds are in its docstring.
"""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from pathlib import Path

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.models.attachment import AttachmentKey
from netplumb.models.naming import node_if_name, workload_mac
from tests.e2e.conftest import MakeHost, StartDaemon
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host, kernel_state
from tests.e2e.runtimes import Container, Json, Runtime, addresses, installed, reaches
from tests.e2e.statefiles import declare, document
from tests.e2e.waiting import until
from tests.e2e.wishes import attach

HELD, TRY_AGAIN_LATER, INVALID_ENVIRONMENT = 101, 11, 4
VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")


async def recorded(client: AsyncClient) -> list[tuple[str, str, str]]:
    """Workload, interface and source of all that is attached."""
    return [(it.workload_id, it.if_name, it.source) async for it in client.list()]


async def test_the_interface_is_created_in_the_container(runtime: Runtime, web: Host, node: Host) -> None:
    """ADD must create the interface of CNI_IFNAME in the container at CNI_NETNS; what the result says of interfaces,
    addresses and routes is what the kernel holds, on both sides."""
    result = runtime.container("c1", web, if_name="net7").add().result()
    host, container = result["interfaces"]
    assert host["mac"] == node.link(host["name"])["address"]
    assert host.get("sandbox", "") == ""
    assert (container["name"], container["mac"]) == ("net7", web.link("net7")["address"])
    assert container["sandbox"] == web.path
    assert {ip["address"] for ip in result["ips"]} == web.addresses("net7")
    assert {ip["interface"] for ip in result["ips"]} == {1}
    for route, version in zip(result["routes"], (4, 6), strict=True):
        default = web.default_route(version)
        assert default is not None
        assert (default["gateway"], default["dev"]) == (route["gw"], "net7")
    assert [route["dst"] for route in result["routes"]] == ["0.0.0.0/0", "::/0"]


async def test_the_container_is_reachable(runtime: Runtime, web: Host, db: Host, node: Host) -> None:
    """The node and other containers reach it in both families."""
    runtime.container("c1", web).add().result()
    result = runtime.container("c2", db).add().result()
    for source in (node, web):
        await reaches(source, result)


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_version_adds(runtime: Runtime, web: Host, version: str) -> None:
    """The result is in the version that was supplied. An address has its family before 1.0.0 and not since."""
    result = runtime.container("c1", web).add(version).result()
    assert result["cniVersion"] == version
    families = [ip.get("version") for ip in result["ips"]]
    assert families == (["4", "6"] if version.startswith("0.") else [None, None])


async def test_each_network_is_a_source_of_its_own(runtime: Runtime, client: AsyncClient, web: Host) -> None:
    """What is attached says by which network; the container is the workload."""
    runtime.container("c1", web).add().result()
    assert await recorded(client) == [("c1", "eth0", "cni/cluster")]


async def test_the_same_add_again_gives_the_same_result(runtime: Runtime, web: Host, node: Host) -> None:
    """A runtime should not do that; if it does, nothing changes, on either side."""
    container = runtime.container("c1", web)
    result = container.add().result()
    before = kernel_state(node, web)
    assert container.add().result() == result
    assert kernel_state(node, web) == before


async def test_an_interface_of_the_name_that_exists_is_an_error(
    runtime: Runtime, client: AsyncClient, web: Host, node: Host
) -> None:
    """If an interface of the requested name already exists in the container, the plugin MUST return with an error. It
    stays, and nothing else comes."""
    web.ip("link add eth0 type veth peer name other")
    before = kernel_state(node, web)
    error = runtime.container("c1", web).add().error()
    assert error["code"] == HELD
    assert "eth0" in error["details"]
    assert await recorded(client) == []
    assert {line for line in kernel_state(node, web) if "eth0" in line} == {line for line in before if "eth0" in line}
    assert not [name for name in node.links() if name.startswith("np")]


async def test_the_interface_of_another_container_is_an_error(runtime: Runtime, client: AsyncClient, web: Host) -> None:
    """Also if it is ours: a second container in the same namespace needs another name."""
    first = runtime.container("c1", web)
    result = first.add().result()
    assert runtime.container("c2", web).add().error()["code"] == HELD
    first.check(result).succeeded()
    assert await recorded(client) == [("c1", "eth0", "cni/cluster")]
    assert runtime.container("c2", web, if_name="eth1").add().result()["interfaces"][1]["name"] == "eth1"


async def test_an_interface_of_the_same_pod_and_another_container_is_an_error(runtime: Runtime, web: Host) -> None:
    """A pod's new sandbox has a namespace of its own. In that of the old one its interface is not the new one's."""
    args = "IgnoreUnknown=1;K8S_POD_UID=0b1e"
    first = runtime.container("c1", web, args=args)
    result = first.add().result()
    error = runtime.container("c2", web, args=args).add().error()
    assert error["code"] == HELD
    assert "c1" in error["details"]
    first.check(result).succeeded()


async def test_a_pods_new_sandbox_keeps_its_addresses(
    runtime: Runtime, client: AsyncClient, web: Host, db: Host
) -> None:
    """The workload is the pod; a sandbox that is made anew takes over, and the DEL of the old one is a late echo."""
    args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=prod;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=0b1e"
    old = runtime.container("c1", web, args=args)
    result = old.add().result()
    new = runtime.container("c2", db, args=args.replace("=c1", "=c2"))
    assert addresses(new.add().result()) == addresses(result)
    before = db.addresses("eth0")
    assert len(before) == 2
    assert await recorded(client) == [("0b1e", "eth0", "cni/cluster")]
    old.delete().succeeded()
    assert db.addresses("eth0") == before
    labels = dict((await client.get("0b1e")).labels)
    assert (labels["K8S_POD_NAMESPACE"], labels["K8S_POD_NAME"]) == ("prod", "web-0")


async def test_an_empty_pod_uid_counts_as_none(runtime: Runtime, client: AsyncClient, web: Host, db: Host) -> None:
    """Podman and `ctr` have no pods. Two containers are two workloads."""
    for name, host in (("c1", web), ("c2", db)):
        runtime.container(name, host, args="IgnoreUnknown=1;K8S_POD_UID=").add().result()
    assert [workload for workload, _, _ in await recorded(client)] == ["c1", "c2"]


async def test_unknown_args_are_an_error_unless_ignored(runtime: Runtime, client: AsyncClient, web: Host) -> None:
    """CNI_ARGS: what no one knows is told, with its name; a runtime may say that it does not matter."""
    error = runtime.container("c1", web, args="COLOUR=red").add().error()
    assert error["code"] == INVALID_ENVIRONMENT
    assert "COLOUR" in error["msg"]
    assert await recorded(client) == []
    runtime.container("c1", web, args="COLOUR=red;IgnoreUnknown=true").add().result()


@pytest.mark.parametrize("path", ["/run/netns/nobody", "/etc/passwd", "/proc/self/ns/uts", "not/absolute"])
async def test_what_is_no_network_namespace_is_an_error(runtime: Runtime, client: AsyncClient, path: str) -> None:
    """Error 4: the message must contain the name of the invalid variable. Nothing is recorded."""
    error = runtime.container("c1", path).add().error()
    assert error["code"] == INVALID_ENVIRONMENT
    assert "CNI_NETNS" in error["msg"]
    assert await recorded(client) == []


async def test_the_nodes_own_namespace_is_an_error(runtime: Runtime, node: Host) -> None:
    """The plugin's namespace is never a container's."""
    before = node.links().keys()
    assert runtime.container("c1", node).add().error()["code"] == INVALID_ENVIRONMENT
    assert node.links().keys() == before


async def test_a_container_may_have_several_interfaces(runtime: Runtime, client: AsyncClient, web: Host) -> None:
    """A given container may be added more than once if each addition has a different interface name."""
    for name in ("eth0", "eth1"):
        runtime.container("c1", web, if_name=name).add().result()
    assert [(workload, name) for workload, name, _ in await recorded(client)] == [("c1", "eth0"), ("c1", "eth1")]
    assert {"eth0", "eth1"} <= web.links().keys()


async def test_a_key_of_another_network_is_never_taken(runtime: Runtime, web: Host) -> None:
    """Two networks can't have the same interface of the same container; the holder is named."""
    result = runtime.container("c1", web).add().result()
    other = Runtime(runtime.node, runtime.bin_dir, "storage")
    error = other.container("c1", web).add().error()
    assert (error["code"], "cni/cluster" in error["details"]) == (HELD, True)
    runtime.container("c1", web).check(result).succeeded()
    other.container("c1", web, if_name="eth1").add().result()


async def test_a_key_of_grpc_is_never_taken(runtime: Runtime, client: AsyncClient, web: Host) -> None:
    """Nor that of a client of another kind, nor the other way round."""
    await client.attach(attach(web, "c1"))
    error = runtime.container("c1", web).add().error()
    assert error["code"] == HELD
    assert "rpc" in error["details"]
    assert await recorded(client) == [("c1", "eth0", "rpc")]


async def test_a_key_of_a_state_file_is_never_taken(
    runtime: Runtime, client: AsyncClient, daemon: Daemon, web: Host
) -> None:
    declare(daemon, "a.yaml", document("c1", web))

    async def declared() -> bool:
        return await recorded(client) == [("c1", "eth0", "file/a.yaml")]

    await until(declared, "the file is read")
    error = runtime.container("c1", web).add().error()
    assert error["code"] == HELD
    assert "file/a.yaml" in error["details"]


async def test_without_a_pool_it_is_to_be_tried_again(start_daemon: StartDaemon, node: Host, web: Host) -> None:
    """Error 11: a transient condition that should clear up."""
    daemon = await start_daemon(pools=(), ready=False)
    container = Runtime(node, installed(daemon)).container("c1", web)
    assert container.add().error()["code"] == TRY_AGAIN_LATER
    assert "eth0" not in web.links()


async def test_a_full_pool_is_to_be_tried_again(start_daemon: StartDaemon, node: Host, web: Host, db: Host) -> None:
    """It clears up with the next DEL. The pool is named."""
    daemon = await start_daemon(pools=("10.213.0.0/30",))
    runtime = Runtime(node, installed(daemon))
    runtime.container("c1", web).add().result()
    error = runtime.container("c2", db).add().error()
    assert error["code"] == TRY_AGAIN_LATER
    assert "10.213.0.0/30" in error["details"]
    runtime.container("c1", web).delete().succeeded()
    runtime.container("c2", db).add().result()


async def test_many_at_once(runtime: Runtime, make_host: MakeHost) -> None:
    """Plugins must handle being executed concurrently across different containers: no address is given twice."""
    containers = [runtime.container(f"c{n}", make_host(f"w{n}")) for n in range(16)]
    results = [done.result() for done in await asyncio.gather(*(asyncio.to_thread(it.add) for it in containers))]
    given = [address for result in results for address in addresses(result)]
    assert len(set(given)) == len(given) == 32
    for done in await asyncio.gather(*(asyncio.to_thread(it.delete) for it in containers)):
        done.succeeded()


async def test_a_wrong_configuration_changes_nothing(
    runtime: Runtime, client: AsyncClient, web: Host, node: Host
) -> None:
    """Error 7, naming the field; error 2 with key and value for one that netplumb has no way to serve."""
    before = kernel_state(node, web)
    container = runtime.container("c1", web)
    error = container.add(runtimeConfig={"portMappings": [{"hostPort": 70000, "containerPort": 80}]}).error()
    assert error["code"] == 7
    assert "runtimeConfig.portMappings[0].hostPort" in error["msg"]
    error = container.add(ipam={"type": "host-local"}).error()
    assert error["code"] == 2
    assert "ipam" in error["msg"]
    assert "host-local" in error["msg"]
    error = container.add("0.2.0").error()
    assert (error["code"], error["cniVersion"]) == (1, "0.2.0")
    assert kernel_state(node, web) == before
    assert await recorded(client) == []


async def test_the_names_in_the_result_are_those_of_the_key(runtime: Runtime, web: Host) -> None:
    """The node's end and the MAC are derived from the workload, the interface and for the MAC the addresses."""
    key = AttachmentKey("c1", "eth0")
    result = runtime.container("c1", web).add().result()
    host, container = result["interfaces"]
    mac = workload_mac(key, map(ip_address, addresses(result)))
    assert (host["name"], container["mac"]) == (node_if_name(key), mac)


async def test_an_add_that_is_cut_off_is_undone_by_its_del(
    start_daemon: StartDaemon, node: Host, web: Host, directory: Path
) -> None:
    """A daemon that dies under an ADD answers nothing: error 11. After its restart the runtime's DEL, which must follow
    a failed ADD, cleans up."""
    daemon = await start_daemon(pools=("10.213.0.0/24",))
    container = Runtime(node, installed(daemon)).container("c1", web)
    done = await _killed_under(daemon, container)
    assert done["code"] == TRY_AGAIN_LATER
    await daemon.start()
    container.delete().succeeded()
    assert "eth0" not in web.links()
    async with daemon.client() as client:
        assert await recorded(client) == []


async def _killed_under(daemon: Daemon, container: Container) -> Json:
    """The answer of an ADD under which the daemon is stopped and killed."""
    daemon.pause()
    adding = asyncio.create_task(asyncio.to_thread(container.add))
    await asyncio.sleep(0.2)
    daemon.kill9()
    return (await adding).error()
