"""Pools, addresses, routes, kernel parameters and several interfaces: asked for, changed in place, kept in repair."""

from __future__ import annotations

import json
from functools import partial

import grpc
import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.v1 import netplumb_pb2 as pb
from tests.e2e import wishes
from tests.e2e.conftest import OUTSIDE_V4, OUTSIDE_V6, StartDaemon
from tests.e2e.daemons import POOLS, Daemon
from tests.e2e.hosts import Host
from tests.e2e.statefiles import declare
from tests.e2e.waiting import until

MORE_POOLS = (
    *POOLS,
    {"cidr": "10.214.0.0/24", "name": "dmz"},
    {"cidr": "fd14::/64", "name": "dmz"},
    {"cidr": "10.215.0.0/24", "labels": {"zone": "db"}},
)


@pytest.fixture
async def daemon(start_daemon: StartDaemon) -> Daemon:
    """With pools of each kind, and annotations that are kept."""
    daemon = await start_daemon()
    daemon.configure(pools=MORE_POOLS, annotation_keys=["keep.example/*"])
    daemon.reload()
    async with daemon.client() as client:

        async def reloaded() -> bool:
            return len((await client.status()).pools) == len(MORE_POOLS)

        await until(reloaded, "the settings are in force")
    return daemon


async def test_pools_are_chosen_by_name_by_labels_or_by_neither(client: AsyncClient, web: Host) -> None:
    """A name takes both families from the pools that bear it; labels take from pools for them; the rest from those that
    are for everybody."""
    for fields, expected in (
        ({}, ("10.213.0.", "fd13::")),
        ({"pool": "dmz"}, ("10.214.0.", "fd14::")),
        ({"pool": "10.214.0.0/24"}, ("10.214.0.",)),
        ({"labels": {"zone": "db", "app": "x"}}, ("10.215.0.",)),
        ({"labels": {"zone": "web"}}, ("10.213.0.", "fd13::")),
    ):
        answer = await client.attach(wishes.attach(web, **fields))
        given = wishes.texts(answer)
        assert len(given) == len(expected), fields
        assert all(address.startswith(prefix) for address, prefix in zip(given, expected, strict=True)), fields
        assert web.addresses("eth0") == {f"{it}/{128 if ':' in it else 32}" for it in given}
        assert web.ping(OUTSIDE_V4)
        await client.detach(wishes.detach("web"))


async def test_another_pool_is_another_address(client: AsyncClient, web: Host) -> None:
    """A second Attach with another pool moves the workload there, in place."""
    await client.attach(wishes.attach(web))
    index = web.link("eth0")["ifindex"]
    assert wishes.v4(await client.attach(wishes.attach(web, pool="dmz"))).startswith("10.214.0.")
    assert {it.partition(".")[0] for it in web.addresses("eth0") if "." in it} == {"10"}
    assert web.link("eth0")["ifindex"] == index
    assert web.ping(OUTSIDE_V6)
    assert (await client.check("web")).in_sync


async def test_an_unknown_pool_is_refused_by_name(client: AsyncClient, web: Host) -> None:
    """The message tells which there are."""
    with wishes.refused(grpc.StatusCode.INVALID_ARGUMENT, "pool", "'dmx'", "dmz", "10.213.0.0/24"):
        await client.attach(wishes.attach(web, pool="dmx"))


async def test_routes_come_change_and_are_repaired(client: AsyncClient, outside: Host, web: Host) -> None:
    """Extra routes lead to the node, and only those that changed are touched."""

    def routes(*prefixes: str) -> list[pb.Route]:
        return [pb.Route(dst=prefix) for prefix in prefixes]

    await client.attach(wishes.attach(web, default_route=False, routes=routes("192.0.2.0/24", "2001:db8::/32")))
    assert web.default_route(4) is web.default_route(6) is None
    assert web.ping(OUTSIDE_V4)
    assert web.ping(OUTSIDE_V6)
    web.ip("route del 192.0.2.0/24")
    await until(lambda: web.route("192.0.2.0/24"), "the route is repaired")
    await client.attach(wishes.attach(web, default_route=False, routes=routes("198.51.100.0/24")))
    assert web.route("192.0.2.0/24") is web.route("2001:db8::/32") is None
    assert web.route("198.51.100.0/24")
    assert not web.ping(OUTSIDE_V4)
    with wishes.refused(grpc.StatusCode.INVALID_ARGUMENT, "routes", "only gateway is the node"):
        await client.attach(wishes.attach(web, routes=[pb.Route(dst="192.0.2.0/24", gw="10.213.0.9")]))


async def test_only_one_interface_holds_the_default_route(client: AsyncClient, web: Host) -> None:
    """The first by name, unless another asks for it; when the holder goes, the next takes over."""

    def holder(version: int) -> list[str]:
        ways = [way for route in web.ip(f"-{version} route show default") for way in route.get("nexthops", [route])]
        return [way["dev"] for way in ways]

    async def holders(*names: str) -> None:
        async def so() -> bool:
            told = [it.if_name async for it in client.list() if it.default_route]
            return told == list(names) and holder(4) == holder(6) == list(names)

        await until(so, f"{names} hold the default route")

    await client.attach(wishes.attach(web, if_name="eth10"))
    await holders("eth10")
    await client.attach(wishes.attach(web, if_name="eth2"))
    await holders("eth2")
    await client.attach(wishes.attach(web, if_name="eth10", default_route=True))
    await holders("eth10")
    assert web.ping(OUTSIDE_V4)
    await client.detach(wishes.detach("web", if_name="eth10"))
    await holders("eth2")
    assert web.ping(OUTSIDE_V6)
    await client.attach(wishes.attach(web, if_name="eth2", default_route=False))
    await holders()


async def test_every_interface_answers(client: AsyncClient, node: Host, web: Host, db: Host) -> None:
    """All addresses of a workload answer the node and other workloads, though answers leave by the interface with the
    default route; also after another one has it, and when one is gone."""
    await client.attach(wishes.attach(db))
    given = {name: wishes.texts(await client.attach(wishes.attach(web, if_name=name))) for name in ("eth0", "eth1")}

    async def all_answer() -> None:
        for address in (address for addresses in given.values() for address in addresses):
            for host in (node, db):
                # The other interfaces follow after the answer to an Attach.
                await until(partial(host.ping, address), f"{host.name} reaches {address}")

    await all_answer()
    await client.attach(wishes.attach(web, if_name="eth1", default_route=True))
    await all_answer()
    await client.detach(wishes.detach("web", if_name="eth1"))
    del given["eth1"]
    await all_answer()
    for name in ("sibling4", "sibling6"):
        assert "elements" not in node.run(f"nft list set inet netplumb {name}")


async def test_kernel_parameters_of_the_workload(client: AsyncClient, node: Host, web: Host) -> None:
    """They are set in the workload alone, are kept, and one that is not allowed is refused by name."""
    before = node.sysctl("net/ipv4/ip_local_port_range")
    sysctls = {"net.ipv4.ip_local_port_range": "20000 30000", "net/core/somaxconn": "77"}
    answer = await client.attach(wishes.attach(web, sysctls=sysctls))
    assert dict(answer.attachment.sysctls) == {
        "net.ipv4.ip_local_port_range": "20000 30000",
        "net.core.somaxconn": "77",
    }
    assert web.sysctl("net/ipv4/ip_local_port_range").split() == ["20000", "30000"]
    assert web.sysctl("net/core/somaxconn") == "77"
    assert node.sysctl("net/ipv4/ip_local_port_range") == before
    web.set_sysctl("net/core/somaxconn", "5")
    web.ip("link set eth0 down")
    await until(lambda: web.sysctl("net/core/somaxconn") == "77", "it is set again")
    for name in ("net.ipv4.ip_forward", "net.ipv4.conf.eth0.rp_filter"):
        with wishes.refused(grpc.StatusCode.INVALID_ARGUMENT, name, "workload_sysctls"):
            await client.attach(wishes.attach(web, sysctls={name: "1"}))
    with wishes.refused(grpc.StatusCode.INVALID_ARGUMENT, "kernel.hostname"):
        await client.attach(wishes.attach(web, sysctls={"kernel.hostname": "x"}))
    with wishes.refused(grpc.StatusCode.FAILED_PRECONDITION, "net.ipv4.tcp_syncookies", "EINVAL"):
        await client.attach(wishes.attach("/run/netns/web", sysctls={"net.ipv4.tcp_syncookies": "many"}))


@pytest.mark.parametrize(
    ("name", "value", "kernels"),
    [
        ("net.ipv4.tcp_retries2", "0x10", "16"),
        ("net.ipv4.tcp_retries2", "010", "8"),
        ("net.ipv4.tcp_ecn", "01", "1"),
        ("net.ipv4.ip_local_reserved_ports", "8082,8080-8081", "8080-8082"),
        ("net.ipv4.tcp_rmem", "4096 5000", ""),
        ("net.ipv4.ping_group_range", "5 1", "1 0"),
        ("net.ipv4.tcp_fastopen_key", "1-2-3-4", "00000001-00000002-00000003-00000004"),
    ],
)
async def test_a_kernel_parameter_is_said_as_the_kernel_says_it(
    client: AsyncClient, web: Host, name: str, value: str, kernels: str
) -> None:
    """Any other way would never be seen to be as asked for; the refusal tells what the kernel makes of it."""
    with wishes.refused(grpc.StatusCode.FAILED_PRECONDITION, name, repr(value)):
        await client.attach(wishes.attach(web, sysctls={name: value}))
    has = " ".join(web.sysctl(name.replace(".", "/")).split())
    assert has == (kernels or has)
    await client.attach(wishes.attach(web, sysctls={name: has}))
    assert (await client.check("web")).in_sync


async def test_names_and_annotations_are_carried_through(client: AsyncClient, web: Host) -> None:
    """DNS comes back as it was said; of annotations, those that the settings allow, however large the rest is."""
    dns = pb.DNS(servers=["10.213.0.1", "fd13::1"], searches=["a.example"], options=["ndots:2"])
    annotations = {"keep.example/a": "1", "drop.example/b": "x" * (256 << 10)}
    answer = await client.attach(wishes.attach(web, dns=dns, annotations=annotations))
    assert answer.attachment.dns == dns
    assert dict(answer.attachment.annotations) == {"keep.example/a": "1"}
    assert list(answer.attachment.gateways) == ["169.254.77.1", "fe80::1"]


async def test_all_of_it_from_a_state_file(daemon: Daemon, client: AsyncClient, web: Host) -> None:
    """A file says what an RPC can say, and an edit changes what it changes, in place."""
    wish = {
        "kind": "Attachment",
        "workload_id": "web",
        "netns": {"name": "web"},
        "pool": "dmz",
        "default_route": False,
        "routes": [{"dst": "192.0.2.0/24"}],
        "sysctls": {"net.core.somaxconn": "99"},
        "bandwidth": {"ingress_rate": "10M"},
        "dns": {"servers": ["192.0.2.53"]},
        "isolate_node": True,
        "mac": "02:00:00:00:00:99",
        "mtu": 1400,
    }
    declare(daemon, "web.yaml", json.dumps(wish))

    async def attached() -> bool:
        return any([it.phase == "Attached" async for it in client.list()])

    await until(attached, "the file is followed")
    it = await client.get("web")
    assert (it.pool, it.mac, it.mtu, it.isolate_node, it.bandwidth.ingress_rate) == (
        "dmz",
        "02:00:00:00:00:99",
        1400,
        True,
        10_000_000,
    )
    assert web.sysctl("net/core/somaxconn") == "99"
    index = web.link("eth0")["ifindex"]
    declare(daemon, "web.yaml", json.dumps(wish | {"routes": [{"dst": "198.51.100.0/24"}], "mtu": 1420}))
    await until(lambda: web.route("198.51.100.0/24") and web.link("eth0")["mtu"] == 1420, "the edit is followed")
    assert web.route("192.0.2.0/24") is None
    assert web.link("eth0")["ifindex"] == index
