"""What a runtime passes under the capabilities of the installed configuration comes true, and back in the result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.models.attachment import AttachmentKey
from netplumb.models.naming import ifb_name
from tests.e2e.conftest import NODE_V4, StartDaemon
from tests.e2e.daemons import Daemon
from tests.e2e.echoes import ask, serving, unanswered
from tests.e2e.hosts import Host
from tests.e2e.runtimes import NETWORK, Runtime, addresses, installed, places_of, reaches
from tests.e2e.wishes import attach, detach, refused, texts

TUNED = {"mac": "02:00:5e:10:00:01", "ips": ["10.213.0.77/24", "fd13::77"]}
DNS = {"servers": ["192.0.2.53", "2001:db8::53"], "searches": ["cluster.local"], "options": ["ndots:5"]}


def plugin_of(daemon: Daemon, network: str = NETWORK) -> Any:
    """The plugin's part of the configuration as it was installed."""
    return json.loads(places_of(daemon).conflist(network).read_text())["plugins"][0]


async def test_port_mappings_lead_to_the_container(runtime: Runtime, outside: Host, web: Host) -> None:
    """portMappings: from outside the node, and no more after the DEL."""
    ports = {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""}]}
    container = runtime.container("c1", web)
    container.add("1.0.0", runtimeConfig=ports).result()
    with serving(web, 80):
        assert (ask(outside, NODE_V4, 8080) or "").startswith("web ")
        assert unanswered(outside, NODE_V4, 8080, "udp")
    container.delete("1.0.0", runtimeConfig=ports).succeeded()
    assert unanswered(outside, NODE_V4, 8080)


async def test_a_port_of_another_is_an_error(runtime: Runtime, client: AsyncClient, web: Host, db: Host) -> None:
    """The holder is named, nothing is attached."""
    ports = {"portMappings": [{"hostPort": 8080, "containerPort": 80}]}
    runtime.container("c1", web).add(runtimeConfig=ports).result()
    error = runtime.container("c2", db).add(runtimeConfig=ports).error()
    assert error["code"] == 101
    assert "c1" in error["details"]
    assert [it.workload_id async for it in client.list()] == ["c1"]


async def test_bandwidth_is_limited(runtime: Runtime, node: Host, web: Host) -> None:
    """bandwidth: both directions are shaped; the interface that shapes is in the result and goes with the DEL."""
    limits = {"ingressRate": 8_000_000, "ingressBurst": 2**32 - 1, "egressRate": 16_000_000, "egressBurst": 2**32 - 1}
    container = runtime.container("c1", web)
    result = container.add(runtimeConfig={"bandwidth": limits}).result()
    host, _, ifb = (it["name"] for it in result["interfaces"])
    assert ifb == ifb_name(AttachmentKey("c1", "eth0"))
    assert "rate 8Mbit" in node.run(f"tc qdisc show dev {host}")
    assert "rate 16Mbit" in node.run(f"tc qdisc show dev {ifb}")
    container.check(result).succeeded()
    container.delete().succeeded()
    assert not {host, ifb} & node.links().keys()


async def test_dns_comes_back_in_the_result(runtime: Runtime, web: Host) -> None:
    """dns: in a result's words. Without it, what the network's configuration says."""
    network = {"nameservers": ["203.0.113.53"], "domain": "example.org"}
    container = runtime.container("c1", web)
    assert container.add(dns=network).result()["dns"] == network
    assert container.add(runtimeConfig={"dns": DNS}).result()["dns"] == {
        "nameservers": DNS["servers"],
        "search": DNS["searches"],
        "options": DNS["options"],
    }


async def test_static_addresses_and_mac(runtime: Runtime, node: Host, web: Host) -> None:
    """ips and mac: in the kernel and in the result."""
    result = runtime.container("c1", web).add(runtimeConfig=TUNED).result()
    assert addresses(result) == ["10.213.0.77", "fd13::77"]
    assert web.addresses("eth0") == {"10.213.0.77/32", "fd13::77/128"}
    assert result["interfaces"][1]["mac"] == web.link("eth0")["address"] == TUNED["mac"]
    await reaches(node, result)


async def test_an_address_by_args(runtime: Runtime, web: Host) -> None:
    """IP in CNI_ARGS, as CNI's conventions have it."""
    container = runtime.container("c1", web, args="IP=10.213.0.77/24")
    assert addresses(container.add().result())[0] == "10.213.0.77"


async def test_the_pool_of_the_network(start_daemon: StartDaemon, node: Host, web: Host, db: Host) -> None:
    """A network takes addresses from the pools that its configuration names, as `install --pool` wrote it."""
    daemon = await start_daemon(pools=("10.213.0.0/24", "10.214.0.0/24"))
    runtime = Runtime(node, installed(daemon, "blue", "10.214.0.0/24"), "blue")
    plugin = plugin_of(daemon, "blue")
    assert plugin["pool"] == "10.214.0.0/24"
    assert addresses(runtime.container("c1", web).add(pool=plugin["pool"]).result()) == ["10.214.0.2"]
    assert addresses(runtime.container("c2", db).add().result()) == ["10.213.0.2"]
    error = runtime.container("c3", db, if_name="eth1").add(pool="green").error()
    assert error["code"] == 7
    assert "green" in error["details"]


async def test_the_mtu_of_the_network(runtime: Runtime, web: Host) -> None:
    result = runtime.container("c1", web).add(mtu=1400).result()
    assert web.link("eth0")["mtu"] == 1400
    assert [it["mtu"] for it in result["interfaces"]] == [1400, 1400]


async def test_the_installed_configuration_declares_them(runtime: Runtime, daemon: Daemon) -> None:
    """A runtime passes only what a configuration declares."""
    declared = {name for name, on in plugin_of(daemon)["capabilities"].items() if on}
    assert {"portMappings", "bandwidth", "dns", "ips", "mac"} <= declared


async def test_a_result_before_ours_is_passed_on(runtime: Runtime, web: Host) -> None:
    """Plugins provided a prevResult must output it, with their modifications: ours are added behind, and refer to
    their interface by its new index."""
    web.ip("link add net0 type veth peer name net1")
    before = {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "net0", "mac": web.link("net0")["address"], "sandbox": web.path}],
        "ips": [{"address": "192.0.2.7/24", "gateway": "192.0.2.1", "interface": 0}],
        "routes": [{"dst": "198.51.100.0/24"}],
        "dns": {"nameservers": ["192.0.2.53"]},
    }
    container = runtime.container("c1", web)
    result = container.add("1.0.0", prevResult=before).result()
    for name in ("interfaces", "ips", "routes"):
        assert result[name][:1] == before[name]
    assert [it["name"] for it in result["interfaces"][2:]] == ["eth0"]
    assert [ip["interface"] for ip in result["ips"]] == [0, 2, 2]
    assert result["dns"] == before["dns"]
    container.check(result, "1.0.0").succeeded()
    container.delete("1.0.0", prevResult=result).succeeded()
    assert "net0" in web.links()


async def test_a_wish_that_changed_is_changed_in_place(runtime: Runtime, client: AsyncClient, web: Host) -> None:
    """An ADD again with other port mappings keeps the addresses and takes the new ports."""
    container = runtime.container("c1", web)
    result = container.add().result()
    ports = {"portMappings": [{"hostPort": 8080, "containerPort": 80}]}
    assert container.add(runtimeConfig=ports).result() == result
    assert [mapping.host_port for mapping in (await client.get("c1")).port_mappings] == [8080]


async def test_what_is_attached_outlives_the_daemon(runtime: Runtime, daemon: Daemon, web: Host) -> None:
    """After a kill and a start the same result holds, for CHECK and for an ADD again."""
    container = runtime.container("c1", web)
    result = container.add(runtimeConfig=TUNED).result()
    daemon.kill9()
    assert web.addresses("eth0") == {"10.213.0.77/32", "fd13::77/128"}
    await daemon.start()
    container.check(result).succeeded()
    assert container.add(runtimeConfig=TUNED).result() == result
    assert container.delete().status == 0


async def test_annotations_are_kept_by_their_keys(runtime: Runtime, client: AsyncClient, web: Host) -> None:
    """They are only kept where the daemon's settings allow it, and never fail an ADD, whatever their size."""
    annotations = {"example.org/tier": "front", "example.org/huge": "x" * 262_144}
    runtime.container("c1", web).add(runtimeConfig={"io.kubernetes.cri.pod-annotations": annotations}).result()
    assert dict((await client.get("c1")).annotations) == {}


async def test_grpc_sees_what_a_runtime_attached(runtime: Runtime, client: AsyncClient, web: Host, db: Host) -> None:
    """One daemon, one view: a workload of a client of gRPC reaches one of a runtime; it may not take its address."""
    result = runtime.container("c1", web).add().result()
    await client.attach(attach(db))
    await reaches(db, result)
    assert (await client.check("c1")).in_sync


async def test_an_unknown_capability_is_told_and_fails_nothing(
    runtime: Runtime, client: AsyncClient, web: Host
) -> None:
    """By a condition of Status, until the network's configuration is right."""

    async def told() -> list[str]:
        return [it.message for it in (await client.status()).conditions if it.type == "ConfigurationUnknown"]

    container = runtime.container("c1", web)
    container.add(capabilities={"portMapping": True, "bandwidth": True}, runtimeConfig={"aliases": {}}).result()
    (message,) = await told()
    words = ("capability portMapping is unknown; did you mean portMappings?", "capability aliases is unknown")
    assert message == f"network {NETWORK}: {'; '.join(words)}"
    container.add(capabilities={"portMappings": True}).result()
    assert await told() == []


async def test_a_pool_of_a_network_serves_others_unless_it_is_exclusive(
    start_daemon: StartDaemon, node: Host, directory: Path, web: Host, db: Host
) -> None:
    """Where the other pool is full, one that a network names is drawn on by all; an exclusive one by that network."""
    daemon = Daemon(node, directory)
    try:
        for exclusive in (False, True):
            daemon.configure(
                pools=("10.213.0.0/30", {"cidr": "10.214.0.0/24", "name": "storage", "exclusive": exclusive})
            )
            await (daemon.restart() if exclusive else daemon.start())
            named = Runtime(node, installed(daemon, "blue", "storage"), "blue")
            pool = plugin_of(daemon, "blue")["pool"]
            async with daemon.client() as client:
                assert texts(await client.attach(attach(db, "first"))) == ("10.213.0.2",)
                container = named.container("c1", web)
                assert addresses(container.add(pool=pool).result())[0].startswith("10.214.0.")
                if exclusive:
                    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "10.213.0.0/30"):
                        await client.attach(attach(db, "second", if_name="eth1"))
                else:
                    (given,) = texts(await client.attach(attach(db, "second", if_name="eth1")))
                    assert given.startswith("10.214.0.")
                container.delete(pool=pool).succeeded()
                for workload_id, if_name in (("first", ""), ("second", "eth1")):
                    await client.detach(detach(workload_id, if_name=if_name))
    finally:
        daemon.end()
