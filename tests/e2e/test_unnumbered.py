"""A node whose uplink has no address: its own are on the loopback, as routing daemons have them, beside ours."""

from __future__ import annotations

import socket
from functools import partial

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e.conftest import OUTSIDE_V4, OUTSIDE_V6, UPLINK, StartDaemon
from tests.e2e.daemons import Daemon
from tests.e2e.echoes import KINDS, ask, serving
from tests.e2e.hosts import Host
from tests.e2e.streams import open_socket
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, texts

PORT, HOST_PORT = 9500, 8500
POOLS = ("10.213.0.0/24", "2001:db8:2:13::/64")  # near to the outside, as the kernel chooses sources
NODE_LINK_LOCAL, OUTSIDE_LINK_LOCAL = "fe80::a", "fe80::b"
OWN_V4, OWN_V6 = "203.0.113.5", "3fff:5::1"


@pytest.fixture
def node(node: Host, outside: Host) -> Host:
    """Without any address but those of the loopback yet."""
    node.ip(f"-4 address flush dev {UPLINK}")
    node.ip(f"-6 address flush dev {UPLINK} scope global")
    node.ip(f"address add {NODE_LINK_LOCAL}/64 dev {UPLINK} nodad")
    outside.ip(f"address add {OUTSIDE_LINK_LOCAL}/64 dev eth0 nodad")
    node.ip(f"-4 route add default via {OUTSIDE_V4} dev {UPLINK} onlink")
    node.ip(f"-6 route replace default via {OUTSIDE_LINK_LOCAL} dev {UPLINK}")
    outside.ip(f"-4 route add {OWN_V4} dev eth0")
    outside.ip(f"-6 route add {OWN_V6} via {NODE_LINK_LOCAL} dev eth0")
    return node


def add_own(node: Host) -> None:
    node.ip(f"address add {OWN_V4}/32 dev lo")
    node.ip(f"address add {OWN_V6}/128 dev lo")


@pytest.fixture(params=["netplumb first", "addresses first"])
async def daemon(request: pytest.FixtureRequest, node: Host, start_daemon: StartDaemon) -> Daemon:
    """The boot's order is netplumb first; then its addresses are the first on the loopback."""
    if request.param == "addresses first":
        add_own(node)
    daemon = await start_daemon(pools=POOLS)
    if request.param == "netplumb first":
        add_own(node)
        async with daemon.client() as client:
            await until(partial(_has_a_source, client), "the node's addresses are known")
    return daemon


async def test_the_nodes_own_addresses_are_its_source(
    client: AsyncClient, node: Host, outside: Host, web: Host
) -> None:
    """For its own traffic and for that which is masqueraded; from outside its ports are reached, and it reaches its
    workloads as ever."""
    addresses = texts(await client.attach(attach(web, ports=(f"{HOST_PORT}:{PORT}/tcp", f"{HOST_PORT}:{PORT}/udp"))))
    with serving(outside, PORT), serving(web, PORT):
        for protocol in KINDS:
            for address, target, own in zip(addresses, (OUTSIDE_V4, OUTSIDE_V6), (OWN_V4, OWN_V6), strict=True):
                assert ask(node, target, PORT, protocol) == f"outside {own}"
                assert ask(web, target, PORT, protocol) == f"outside {own}"
                assert (ask(outside, own, HOST_PORT, protocol) or "").startswith("web ")
                assert ask(node, address, PORT, protocol) in ("web 10.213.0.1", "web 2001:db8:2:13::1")
    for version, target in ((4, OUTSIDE_V4), (6, OUTSIDE_V6)):
        said = web.run(f"ping -n -c 1 -W 2 -t 1 {target}", ok=False)
        assert "exceeded" in said.lower() or "hop limit" in said.lower(), said
        assert node.ip(f"-{version} route get {target}")[0]["prefsrc"] in (OWN_V4, OWN_V6)


async def test_an_address_that_was_made_a_source_is_set_back(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host
) -> None:
    """Another scope, or another preference, of the node's address in a pool is repaired like any other damage; routes
    that went with it are there again."""
    addresses = texts(await client.attach(attach(web)))
    daemon.pause()
    node.ip("address delete 10.213.0.1/32 dev lo")
    node.ip("address add 10.213.0.1/32 dev lo")
    daemon.resume()
    await until(lambda: _scope(node) == "link", "its scope is set back")
    node.ip("address change 2001:db8:2:13::1/128 dev lo preferred_lft forever")
    await until(lambda: _is_deprecated(node), "it is no source any more")
    for address in addresses:
        await until(partial(node.ping, address), f"{address} is reached")
    assert (await client.check("web")).in_sync


def _scope(node: Host) -> str:
    infos = node.ip("-4 address show dev lo")[0]["addr_info"]
    return next((str(info["scope"]) for info in infos if info["local"] == "10.213.0.1"), "")


def _is_deprecated(node: Host) -> bool:
    infos = node.ip("-6 address show dev lo")[0]["addr_info"]
    return any(info["local"] == "2001:db8:2:13::1" and info.get("deprecated") for info in infos)


async def test_without_any_address_the_pools_is_no_source_either(
    start_daemon: StartDaemon, node: Host, outside: Host, web: Host
) -> None:
    """Where the uplink has but a link-local address and the node no other, that one is used, as it were without
    netplumb, by the node and for its workloads; a condition says that no address fits, until one does. A sender that
    never pauses is answered then too."""
    daemon = await start_daemon(pools=POOLS)
    async with daemon.client() as client:
        await client.attach(attach(web))

        async def told() -> bool:
            return f"{UPLINK} (IPv4), {UPLINK} (IPv6)" in await _ways_without_source(client)

        await until(told, "it is told")
        assert daemon.command("check", f"--socket={daemon.socket}").returncode == 1
        with serving(outside, PORT, at=(OUTSIDE_V4, OUTSIDE_V6)):
            for host in (node, web):
                for protocol in KINDS:
                    said = ask(host, OUTSIDE_V6, PORT, protocol)
                    assert said is not None, f"{host.name} {protocol}"
                    assert said.startswith(f"outside {NODE_LINK_LOCAL}"), said
            with open_socket(web, OUTSIDE_V6, KINDS["udp"]) as sender:
                sender.settimeout(0.1)
                sender.connect((OUTSIDE_V6, PORT))
                assert asked(sender).startswith(f"outside {NODE_LINK_LOCAL}")
                add_own(node)
                await until(lambda: asked(sender) == f"outside {OWN_V6}", "the sender has the node's new address")
            for host in (node, web):
                for protocol in KINDS:
                    assert ask(host, OUTSIDE_V4, PORT, protocol) == f"outside {OWN_V4}"
                    assert ask(host, OUTSIDE_V6, PORT, protocol) == f"outside {OWN_V6}"
        assert await _has_a_source(client)


async def _has_a_source(client: AsyncClient) -> bool:
    return not await _ways_without_source(client)


async def _ways_without_source(client: AsyncClient) -> str:
    return " ".join(it.message for it in (await client.status()).conditions if it.type == "NoSourceAddress")


def asked(sender: socket.socket) -> str:
    sender.send(b"?")
    try:
        return sender.recv(256).decode()
    except TimeoutError:
        return ""
