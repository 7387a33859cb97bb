"""The library for orchestrators in Python, against the real daemon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_network
from pathlib import Path

import grpc
import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.client.errors import ClientError
from netplumb.api.cniproxy import (
    CNI,
    AsyncCNI,
    Bandwidth,
    Capabilities,
    Dns,
    Network,
    NotFound,
    NotInitialized,
    NotInSync,
    PortMapping,
    Route,
)
from netplumb.models.attachment import AttachmentKey
from netplumb.models.naming import node_if_name
from tests.e2e.conftest import NODE_V4, MakeHost, StartDaemon
from tests.e2e.daemons import POOLS, Daemon
from tests.e2e.echoes import ask, serving
from tests.e2e.hosts import Host
from tests.e2e.waiting import until

ID = "3f1e9a"
POD = {"K8S_POD_UID": "uid-7", "K8S_POD_NAME": "web-0", "K8S_POD_NAMESPACE": "shop", "IgnoreUnknown": "1"}


@pytest.fixture
async def cni(daemon: Daemon) -> AsyncIterator[AsyncCNI]:
    async with AsyncCNI(socket_path=daemon.socket, timeout_s=10) as cni:
        yield cni


async def test_setup_gives_an_interface(cni: AsyncCNI, node: Host, web: Host) -> None:
    """The result names what is in the kernel: addresses, gateways, default routes, MAC address, both ends."""
    result = await cni.setup(ID, web.path)
    eth0 = result.interfaces["eth0"]
    assert [config.ip in ip_network(pool) for config, pool in zip(eth0.ip_configs, POOLS, strict=True)] == [True, True]
    assert web.addresses("eth0") == {f"{config.ip}/{config.ip.max_prefixlen}" for config in eth0.ip_configs}
    assert web.link("eth0")["address"] == eth0.mac
    assert eth0.sandbox == web.path
    hops = {config.ip.version: str(config.gateway) for config in eth0.ip_configs}
    assert hops == {4: "169.254.77.1", 6: "fe80::1"}
    for version in hops:
        default = web.default_route(version)
        assert default is not None
        assert default["gateway"] == hops[version]
    assert set(result.routes) == {
        Route(ip_network("0.0.0.0/0"), ip_address("169.254.77.1")),
        Route(ip_network("::/0"), ip_address("fe80::1")),
    }
    assert result.interfaces.keys() == {"eth0", node_if_name(AttachmentKey(ID, "eth0"))}
    assert result.interfaces.keys() - {"eth0"} <= node.links().keys()
    assert result.dns == (Dns(),)


@pytest.mark.parametrize(("labels", "workload_id"), [(POD, "uid-7"), (POD | {"K8S_POD_UID": ""}, ID), ({}, ID)])
async def test_the_workload_is_the_pod_or_the_container(
    cni: AsyncCNI, client: AsyncClient, web: Host, labels: dict[str, str], workload_id: str
) -> None:
    """K8S_POD_UID names the workload unless it is empty; the container's id is carried beside it."""
    await cni.setup(ID, web.path, labels=labels)
    attachment = await client.get(workload_id)
    assert attachment.container_id == ID
    assert dict(attachment.labels) == {key: value for key, value in labels.items() if key != "IgnoreUnknown"}
    await cni.check(ID, web.path, labels=labels)
    await cni.remove(ID, web.path, labels=labels)
    assert "eth0" not in web.links()


async def test_capabilities_reach_the_daemon(cni: AsyncCNI, client: AsyncClient, outside: Host, web: Host) -> None:
    """Ports, limits, DNS, addresses and the MAC address are what was asked for, in the record and in the kernel."""
    dns = Dns(servers=(ip_address("10.0.0.53"),), searches=("shop.example",), options=("ndots:2",))
    result = await cni.setup(
        ID,
        web.path,
        capabilities={
            "portMappings": [PortMapping(host_port=8080, container_port=80)],
            "bandwidth": Bandwidth(ingress_rate=50_000_000, egress_rate=20_000_000, egress_burst=1_000_000),
            "dns": dns,
            "ips": ["10.213.0.77/24", "fd13::77"],
            "mac": "02:00:5e:10:00:01",
        },
    )
    assert result.dns == (dns,)
    assert {str(config.ip) for config in result.interfaces["eth0"].ip_configs} == {"10.213.0.77", "fd13::77"}
    assert web.addresses("eth0") == {"10.213.0.77/32", "fd13::77/128"}
    assert web.link("eth0")["address"] == result.interfaces["eth0"].mac == "02:00:5e:10:00:01"
    bandwidth = (await client.get(ID)).bandwidth
    assert (bandwidth.ingress_rate, bandwidth.egress_rate, bandwidth.egress_burst) == (
        50_000_000,
        20_000_000,
        1_000_000,
    )
    with serving(web, 80):
        assert (ask(outside, NODE_V4, 8080, "tcp") or "").startswith("web ")


async def test_the_allowed_annotations_are_kept(
    start_daemon: StartDaemon, web: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the pod's annotations and the cgroup path the daemon keeps what its settings allow."""
    monkeypatch.setenv("NETPLUMB_ANNOTATION_KEYS", "shop.example/*,cgroupPath")
    daemon = await start_daemon()
    asked: Capabilities = {
        "io.kubernetes.cri.pod-annotations": {"shop.example/tier": "front", "other.example/tier": "back"},
        "cgroupPath": "/pods/web",
    }
    async with AsyncCNI(socket_path=daemon.socket) as cni, daemon.client() as client:
        await cni.setup(ID, web.path, capabilities=asked)
        kept = (await client.get(ID)).annotations
    assert dict(kept) == {"shop.example/tier": "front", "cgroupPath": "/pods/web"}


@pytest.mark.parametrize(
    "annotations",
    [{"a": "x" * (256 << 10)}, {"": "no key"}, {"k" * 317: "a long key"}, {"bell\a": "control\ncharacters"}],
    ids=["large", "no key", "long key", "control characters"],
)
async def test_annotations_fail_nothing(
    start_daemon: StartDaemon, web: Host, monkeypatch: pytest.MonkeyPatch, annotations: dict[str, str]
) -> None:
    """Whatever people wrote into annotations, and even if all are to be kept, the workload gets its interface."""
    monkeypatch.setenv("NETPLUMB_ANNOTATION_KEYS", "*")
    daemon = await start_daemon()
    async with AsyncCNI(socket_path=daemon.socket) as cni:
        result = await cni.setup(ID, web.path, capabilities={"io.kubernetes.cri.pod-annotations": annotations})
        assert len(result.interfaces["eth0"].ip_configs) == 2
        await cni.check(ID)


@pytest.mark.parametrize("way", ["setup", "setup_serially"])
async def test_each_network_is_an_interface(cni: AsyncCNI, web: Host, way: str) -> None:
    """Two networks are two interfaces with addresses of their own; Remove takes both away."""
    cni.load(Network("front", mtu=1400), Network("back"))
    setup = cni.setup if way == "setup" else cni.setup_serially
    result = await setup(ID, web.path)
    front, back = result.interfaces["eth0"], result.interfaces["eth1"]
    assert len({config.ip for config in (*front.ip_configs, *back.ip_configs)}) == 4
    assert (web.link("eth0")["mtu"], web.link("eth1")["mtu"]) == (1400, 1500)
    assert len(result.dns) == 2
    await cni.check(ID)
    await cni.remove(ID)
    assert not {"eth0", "eth1"} & web.links().keys()


async def test_a_refusal_of_one_interface_is_raised(daemon: Daemon, web: Host) -> None:
    """A pool that does not exist fails the setup; the rest of the interfaces can still be removed."""
    async with AsyncCNI(Network(), Network("lost", pool="nowhere"), socket_path=daemon.socket) as cni:
        with pytest.raises(ClientError, match="nowhere"):
            await cni.setup(ID, web.path)
        with pytest.raises(ClientError, match="nowhere"):
            await cni.setup_serially(ID, web.path)
        assert "eth0" in web.links()
        await cni.remove(ID)
        assert "eth0" not in web.links()


async def test_remove_means_its_own_container(cni: AsyncCNI, client: AsyncClient, web: Host, db: Host) -> None:
    """The late Remove of an older sandbox of the pod changes nothing; one after the namespace is gone cleans up."""
    await cni.setup("old", web.path, labels=POD)
    await cni.setup("new", db.path, labels=POD)
    await cni.remove("old", web.path, labels=POD)
    await cni.check("new", labels=POD)
    db.remove()
    await cni.remove("new", labels=POD)
    with pytest.raises(ClientError) as caught:
        await client.get("uid-7")
    assert caught.value.code is grpc.StatusCode.NOT_FOUND
    await cni.remove("new", labels=POD)


async def test_check_reads_the_kernel(cni: AsyncCNI, node: Host, web: Host) -> None:
    """A proxy neighbour that was taken away, which no event tells of, is found and named."""
    await cni.setup(ID, web.path)
    await cni.check(ID, web.path)

    async def found() -> bool:
        # A pass that the setup's own events caused may repair it yet.
        node.run(f"ip neighbour delete proxy fe80::1 dev {node_if_name(AttachmentKey(ID, 'eth0'))}", ok=False)
        try:
            await cni.check(ID, web.path)
        except NotInSync as difference:
            return [words.startswith("+ neighbour proxy fe80::1 ") for words in difference.differences] == [True]
        return False

    await until(found, "the check names what was taken away")


async def test_check_tells_whose_the_interface_is(cni: AsyncCNI, web: Host, db: Host) -> None:
    """What was never set up is not found, nor is what another container of the pod took over."""
    with pytest.raises(NotFound):
        await cni.check(ID, web.path, labels=POD)
    await cni.setup("old", web.path, labels=POD)
    await cni.setup("new", db.path, labels=POD)
    with pytest.raises(NotFound, match="new"):
        await cni.check("old", web.path, labels=POD)


async def test_status_is_the_daemons(start_daemon: StartDaemon, directory: Path) -> None:
    """Not initialized without a daemon and without a pool, and initialized with both."""
    async with AsyncCNI(socket_path=directory / "nobody") as cni:
        with pytest.raises(NotInitialized, match="nobody"):
            await cni.status(0.2)
    poor = await start_daemon(pools=())
    async with AsyncCNI(socket_path=poor.socket) as cni:
        with pytest.raises(NotInitialized, match="pool"):
            await cni.status()
        poor.configure(pools=POOLS)
        await poor.restart()
        await cni.status(10)


async def test_a_restart_is_waited_for(cni: AsyncCNI, daemon: Daemon, web: Host) -> None:
    """A setup that finds no daemon has its result once the daemon is back."""
    daemon.kill9()
    waiting = asyncio.create_task(cni.setup(ID, web.path))
    await daemon.start()
    assert len((await waiting).interfaces["eth0"].ip_configs) == 2


async def test_the_configuration_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the socket is and what was loaded; load replaces the networks, and none means one."""
    monkeypatch.setenv("NETPLUMB_SOCKET", "/run/elsewhere.sock")
    cni = AsyncCNI(Network("front", pool="a"), Network("back"), prefix="net")
    config = cni.get_config()
    assert (config.socket_path, config.prefix) == (Path("/run/elsewhere.sock"), "net")
    assert config.networks == {"net0": Network("front", pool="a"), "net1": Network("back")}
    cni.load()
    assert cni.get_config().networks == {"net0": Network()}
    assert list(config.networks) == ["net0", "net1"]
    monkeypatch.delenv("NETPLUMB_SOCKET")
    assert AsyncCNI().get_config().socket_path == Path("/run/netplumb/workloadnet.sock")


async def test_without_an_event_loop(daemon: Daemon, make_host: MakeHost) -> None:
    """Threads share one CNI, and set up, check and remove workloads at the same time."""
    hosts = [make_host(f"w{number}") for number in range(8)]

    def live(host: Host) -> str:
        (config, *_) = shared.setup(host.name, host.path).interfaces["eth0"].ip_configs
        shared.check(host.name)
        shared.setup_serially(host.name, host.path)
        assert "eth0" in host.links()
        shared.remove(host.name, host.path)
        assert "eth0" not in host.links()
        return str(config.ip)

    def all_of_them() -> list[str]:
        with ThreadPoolExecutor(len(hosts)) as threads:
            return list(threads.map(live, hosts))

    with CNI(socket_path=daemon.socket) as shared:
        shared.status(10)
        addresses = await asyncio.to_thread(all_of_them)
        shared.load(Network("other"))
        assert shared.get_config().networks == {"eth0": Network("other")}
        with pytest.raises(NotFound):
            shared.check("w0")
    assert all(ip_address(address) in ip_network(POOLS[0]) for address in addresses)
