"""Attach: what it answers, what is then in the kernel, and what it refuses."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import grpc
import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.models.attachment import AttachmentKey
from netplumb.models.naming import alias_of, node_if_name, workload_mac
from tests.e2e.conftest import MakeHost, StartDaemon
from tests.e2e.daemons import POOLS
from tests.e2e.hosts import Host, kernel_state
from tests.e2e.wishes import attach, refused, texts, v4, v6

WEB = AttachmentKey("web", "eth0")
FIRST_HOP_MAC = "02:9c:52:fe:6d:0a"


async def test_one_address_of_each_family_is_answered_as_raw_bytes(client: AsyncClient, web: Host) -> None:
    """Attach answers 4 and 16 raw bytes, from the pools of the two families."""
    answer = await client.attach(attach(web))
    assert [len(raw) for raw in answer.ip] == [4, 16]
    for raw, pool in zip(answer.ip, POOLS, strict=True):
        assert ip_address(raw) in ip_network(pool)
    assert answer.attachment.phase == "Attached"
    assert list(answer.attachment.addresses) == list(texts(answer))


async def test_the_node_holds_link_routes_and_neighbours(client: AsyncClient, node: Host, web: Host) -> None:
    """When Attach returns, the node's end, the host routes and the permanent neighbours are in the kernel."""
    answer = await client.attach(attach(web))
    name = node_if_name(WEB)
    link = node.link(name)
    assert "UP" in link["flags"]
    assert link["address"] == FIRST_HOP_MAC
    assert link["group"] in ("28272", 28272)
    assert link["ifalias"] == alias_of(WEB)
    assert node.addresses(name) == set()
    for address, source in zip(texts(answer), ("10.213.0.1", "fd13::1"), strict=True):
        route = node.route(address)
        assert route is not None
        assert (route["dev"], route["protocol"], route["prefsrc"]) == (name, "78", source)
        neighbour = node.neighbours(name)[address]
        assert neighbour["state"] == ["PERMANENT"]
        assert neighbour["lladdr"] == workload_mac(WEB, map(ip_address, texts(answer)))
    assert ("fe80::1", name) in node.proxy_neighbours()


async def test_a_pair_has_one_queue_whatever_the_machine_has_processors(
    client: AsyncClient, node: Host, web: Host
) -> None:
    """The kernel's own choice is as many as there may be processors, which each Attach and Detach takes time for."""
    await client.attach(attach(web))
    for host, name in ((node, node_if_name(WEB)), (web, "eth0")):
        (link,) = host.ip(f"-d link show dev {name}")
        assert (link["num_tx_queues"], link["num_rx_queues"]) == (1, 1)


async def test_the_node_holds_what_it_needs_once(client: AsyncClient, node: Host) -> None:
    """The first hop and the node's own addresses are on lo, forwarding is on, and the table is there."""
    assert {"169.254.77.1/32", "10.213.0.1/32", "fd13::1/128"} <= node.addresses("lo")
    assert node.sysctl("net/ipv4/ip_forward") == "1"
    assert node.sysctl("net/ipv6/conf/all/forwarding") == "1"
    assert "table inet netplumb {" in node.ruleset()


async def test_the_workload_holds_addresses_and_routes(client: AsyncClient, web: Host) -> None:
    """In the workload lo is up, the interface has its addresses, and both default routes prefer them."""
    answer = await client.attach(attach(web))
    assert "UP" in web.link("lo")["flags"]
    link = web.link("eth0")
    assert "UP" in link["flags"]
    assert link["address"] == workload_mac(WEB, map(ip_address, texts(answer))) == answer.attachment.mac
    assert web.addresses("eth0") == {f"{v4(answer)}/32", f"{v6(answer)}/128"}
    for entry in web.ip("address show dev eth0 to fd13::/64"):
        assert not any(info.get("tentative") for info in entry["addr_info"])
    first_hop = web.route("169.254.77.1")
    assert first_hop is not None
    assert first_hop["scope"] == "link"
    for version, gateway, source in ((4, "169.254.77.1", v4(answer)), (6, "fe80::1", v6(answer))):
        default = web.default_route(version)
        assert default is not None
        assert (default["gateway"], default["dev"], default["prefsrc"]) == (gateway, "eth0", source)
        assert web.neighbours("eth0")[gateway]["lladdr"] == FIRST_HOP_MAC
        assert web.neighbours("eth0")[gateway]["state"] == ["PERMANENT"]


async def test_the_same_again_changes_nothing(client: AsyncClient, node: Host, web: Host) -> None:
    """The same Attach again returns the same addresses and generation, and makes nothing anew."""
    first = await client.attach(attach(web, labels={"app": "web"}))
    before = kernel_state(node, web)
    again = await client.attach(attach(web, labels={"app": "web"}))
    assert again.ip == first.ip
    assert again.attachment.generation == first.attachment.generation
    assert kernel_state(node, web) == before


async def test_what_is_omitted_keeps_what_was_assigned(client: AsyncClient, web: Host) -> None:
    """A later wish that omits addresses and MAC keeps the static ones that an earlier one stated."""
    stated = attach(web, addresses=["10.213.0.77", "fd13::77"], mac="02:00:5e:10:00:01")
    first = await client.attach(stated)
    assert texts(first) == ("10.213.0.77", "fd13::77")
    later = await client.attach(attach(web))
    assert later.ip == first.ip
    assert later.attachment.mac == "02:00:5e:10:00:01"
    assert web.link("eth0")["address"] == "02:00:5e:10:00:01"


async def test_labels_change_in_place(client: AsyncClient, node: Host, web: Host) -> None:
    """New labels are a new generation of the same link."""
    first = await client.attach(attach(web, labels={"app": "old"}))
    before = kernel_state(node, web)
    later = await client.attach(attach(web, labels={"app": "new"}))
    assert later.attachment.generation == first.attachment.generation + 1
    assert later.attachment.observed_generation == later.attachment.generation
    assert dict(later.attachment.labels) == {"app": "new"}
    assert later.ip == first.ip
    assert kernel_state(node, web) == before


async def test_addresses_and_mtu_change_in_place(client: AsyncClient, node: Host, web: Host) -> None:
    """Other static addresses and another MTU come true on the same link, and the old addresses go."""
    await client.attach(attach(web, addresses=["10.213.0.50"]))
    index = web.link("eth0")["ifindex"]
    later = await client.attach(attach(web, addresses=["10.213.0.60"], mtu=1400))
    assert texts(later)[0] == "10.213.0.60"
    assert web.link("eth0")["ifindex"] == index
    assert (web.link("eth0")["mtu"], node.link(node_if_name(WEB))["mtu"]) == (1400, 1400)
    assert web.addresses("eth0") == {"10.213.0.60/32", f"{v6(later)}/128"}
    assert node.route("10.213.0.50") is None
    assert node.route("10.213.0.60") is not None


async def test_a_static_address_may_lie_outside_all_pools(client: AsyncClient, node: Host, web: Host) -> None:
    """An address that no pool holds is given as asked for."""
    answer = await client.attach(attach(web, addresses=["198.51.100.9"]))
    assert v4(answer) == "198.51.100.9"
    assert node.ping("198.51.100.9")


async def test_a_static_address_that_is_taken_names_the_holder(client: AsyncClient, web: Host, db: Host) -> None:
    """ALREADY_EXISTS says who holds the address, and nothing is recorded."""
    await client.attach(attach(web, addresses=["10.213.0.77"]))
    with refused(grpc.StatusCode.ALREADY_EXISTS, "10.213.0.77", "web"):
        await client.attach(attach(db, addresses=["10.213.0.77"]))
    with refused(grpc.StatusCode.NOT_FOUND):
        await client.get("db")


async def test_an_exhausted_pool_is_named(start_daemon: StartDaemon, web: Host, db: Host) -> None:
    """A /30 has one address for workloads; the second Attach gets RESOURCE_EXHAUSTED with the pool's name."""
    daemon = await start_daemon(pools=("10.213.9.0/30",))
    async with daemon.client() as client:
        answer = await client.attach(attach(web))
        assert texts(answer) == ("10.213.9.2",)
        with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "10.213.9.0/30"):
            await client.attach(attach(db))
        with refused(grpc.StatusCode.NOT_FOUND):
            await client.get("db")


async def test_a_failing_attach_uses_up_no_address(start_daemon: StartDaemon, make_host: MakeHost) -> None:
    """Three hundred failures in a row leave a pool of five addresses whole."""
    daemon = await start_daemon(pools=("10.213.9.0/29",))
    blocked = make_host("blocked")
    blocked.ip("link add eth0 type veth peer name other")
    async with daemon.client() as client:
        for number in range(300):
            with refused(grpc.StatusCode.ALREADY_EXISTS, "eth0"):
                await client.attach(attach(blocked, f"w{number}"))
        held: set[str] = set()
        for number in range(5):
            held.update(texts(await client.attach(attach(make_host(f"good{number}")))))
        assert len(held) == 5


async def test_without_pools_attach_and_status_are_unavailable(start_daemon: StartDaemon, web: Host) -> None:
    """A daemon without pools says so to Attach and to Status alike."""
    daemon = await start_daemon(pools=())
    async with daemon.client(timeout_s=2) as client:
        with refused(grpc.StatusCode.UNAVAILABLE, "pool"):
            await client.attach(attach(web))
        with refused(grpc.StatusCode.UNAVAILABLE, "pool"):
            await client.status()


@pytest.mark.parametrize("name", ["a", "abcdefghijklmno", "eth0.100", "-x", "net@1", "ünï", "np0", "'\"$`", "\\n"])
async def test_odd_interface_names_are_used_as_they_are(client: AsyncClient, node: Host, web: Host, name: str) -> None:
    """Every name that the kernel takes is the interface's name."""
    answer = await client.attach(attach(web, if_name=name))
    assert name in web.links()
    assert node.ping(v4(answer))
    assert (await client.check("web", name)).in_sync


@pytest.mark.parametrize(
    "workload_id",
    ["x" * 200, "ü" * 100, "pod/ns:name", " blank inside ", "-dash", "日本語", "🦆" * 50, "a:b", "%s{}\\"],
    ids=["200 bytes", "200 bytes of umlauts", "path", "blanks", "dash", "japanese", "ducks", "colon", "signs"],
)
async def test_every_printable_workload_id_is_attached(
    client: AsyncClient, node: Host, web: Host, workload_id: str
) -> None:
    """An id is any printable text of up to 200 bytes, and is read back as it was given."""
    answer = await client.attach(attach(web, workload_id))
    assert answer.attachment.workload_id == workload_id
    assert (await client.get(workload_id)).workload_id == workload_id
    assert node.ping(v4(answer))
    assert (await client.check(workload_id)).in_sync


@pytest.mark.parametrize("workload_id", ["x" * 201, "ü" * 101, "line\nbreak", "bell\a"], ids=repr)
async def test_other_workload_ids_are_refused(client: AsyncClient, web: Host, workload_id: str) -> None:
    """An id that is too long or does not print is INVALID_ARGUMENT, and the message names the field."""
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "workload_id"):
        await client.attach(attach(web, workload_id))


async def test_two_interfaces_of_one_workload(client: AsyncClient, node: Host, web: Host) -> None:
    """A workload may have several attachments, each with its own addresses."""
    first = await client.attach(attach(web))
    second = await client.attach(attach(web, if_name="eth1"))
    assert set(first.ip).isdisjoint(second.ip)
    assert {"eth0", "eth1"} <= web.links().keys()
    for address in (*texts(first), *texts(second)):
        assert node.ping(address)
    for name in ("eth0", "eth1"):
        report = await client.check("web", name)
        assert report.in_sync, report.differences
