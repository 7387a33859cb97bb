"""Real packets: ping, UDP and TCP, both families, between workloads, the node and the outside."""

from __future__ import annotations

import socket
from dataclasses import dataclass

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e import asks
from tests.e2e.conftest import NODE_V4, NODE_V6, OUTSIDE_V4, OUTSIDE_V6, UPLINK
from tests.e2e.daemons import POOLS, Daemon
from tests.e2e.hosts import Host
from tests.e2e.streams import PORT, TIMEOUT_S, Served, open_socket
from tests.e2e.wishes import attach, v4, v6

FAMILIES = (4, 6)
FIRST_HOP_V4, FIRST_HOP_V6, FIRST_HOP_MAC = "169.254.77.1", "fe80::1", "02:9c:52:fe:6d:0a"


@dataclass(frozen=True, slots=True)
class Place:
    """A host and its address of each family; `seen` is the address that its packets have for the outside."""

    host: Host
    v4: str
    v6: str

    def address(self, version: int) -> str:
        return self.v4 if version == 4 else self.v6


@pytest.fixture
async def places(client: AsyncClient, node: Host, outside: Host, web: Host, db: Host) -> dict[str, Place]:
    """Two workloads on one node, the node by its own address in the pools, and a host beyond its uplink."""
    answers = {host.name: await client.attach(attach(host)) for host in (web, db)}
    return {
        "web": Place(web, v4(answers["web"]), v6(answers["web"])),
        "db": Place(db, v4(answers["db"]), v6(answers["db"])),
        "node": Place(node, "10.213.0.1", "fd13::1"),
        "outside": Place(outside, OUTSIDE_V4, OUTSIDE_V6),
    }


WAYS = {
    "workload to workload": ("web", "db"),
    "workload to itself": ("web", "web"),
    "workload to node": ("web", "node"),
    "node to workload": ("node", "web"),
    "workload to outside": ("web", "outside"),
}


def _seen_source(places: dict[str, Place], way: tuple[str, str], version: int) -> str:
    """The source address that the target must see: translated towards the outside, and only there."""
    if way[1] == "outside":
        return NODE_V4 if version == 4 else NODE_V6
    return places[way[0]].address(version)


def _echo_datagrams(bound: socket.socket) -> None:
    while True:
        data, sender = bound.recvfrom(2048)
        if sender is None:  # the socket was shut down
            return
        bound.sendto(data + b" from " + sender[0].encode(), sender)


def _echo_connections(listener: socket.socket) -> None:
    while True:
        connection, sender = listener.accept()
        with connection:
            connection.settimeout(TIMEOUT_S)
            connection.sendall(connection.recv(2048) + b" from " + sender[0].encode())


@pytest.mark.parametrize("version", FAMILIES)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_ping_is_answered(places: dict[str, Place], way: tuple[str, str], version: int) -> None:
    """An echo request comes back."""
    source, target = (places[name] for name in way)
    assert source.host.ping(target.address(version), count=3)


@pytest.mark.parametrize("version", FAMILIES)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_a_datagram_is_answered(places: dict[str, Place], way: tuple[str, str], version: int) -> None:
    """UDP arrives with the source address that it must have, and the answer comes from the address that was asked."""
    source, target = (places[name] for name in way)
    address = target.address(version)
    server = open_socket(target.host, address, socket.SOCK_DGRAM)
    server.bind((address, PORT))
    server.settimeout(None)
    with Served(server, _echo_datagrams), open_socket(source.host, address, socket.SOCK_DGRAM) as asking:
        asking.connect((address, PORT))  # an answer from another address is not received then
        asking.send(b"hello")
        assert asking.recv(2048).decode() == f"hello from {_seen_source(places, way, version)}"


@pytest.mark.parametrize("version", FAMILIES)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_a_connection_is_answered(places: dict[str, Place], way: tuple[str, str], version: int) -> None:
    """TCP connects, and the listener sees the source address that it must see."""
    source, target = (places[name] for name in way)
    address = target.address(version)
    server = open_socket(target.host, address, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, PORT))
    server.listen()
    server.settimeout(None)
    with Served(server, _echo_connections), open_socket(source.host, address, socket.SOCK_STREAM) as asking:
        asking.connect((address, PORT))
        asking.sendall(b"hello")
        answer = b"".join(iter(lambda: asking.recv(2048), b""))
    assert answer.decode() == f"hello from {_seen_source(places, way, version)}"


async def test_the_workload_reaches_the_nodes_other_addresses(places: dict[str, Place]) -> None:
    """A workload reaches the node by the address of its uplink too."""
    assert places["web"].host.ping(NODE_V4)
    assert places["web"].host.ping(NODE_V6)


async def test_large_packets_pass_whole(places: dict[str, Place]) -> None:
    """A full-size packet that must not be fragmented arrives."""
    for version, header in ((4, 28), (6, 48)):
        address = places["db"].address(version)
        said = places["web"].host.run(f"ping -n -c 1 -W 2 -M do -s {1500 - header} {address}", ok=False)
        assert " 0% packet loss" in said, said


async def test_the_first_hop_answers_arp_and_neighbour_discovery(places: dict[str, Place]) -> None:
    """A workload without permanent neighbours, as one with a stack of its own, finds the first hop by asking."""
    host = places["web"].host
    assert asks.arp(host, "eth0", places["web"].v4, FIRST_HOP_V4) == FIRST_HOP_MAC
    assert asks.neighbour_discovery(host, "eth0", places["web"].v6, FIRST_HOP_V6) == FIRST_HOP_MAC


async def test_a_workload_without_neighbours_has_traffic(
    daemon: Daemon, node: Host, outside: Host, places: dict[str, Place]
) -> None:
    """Where the permanent neighbours are deleted, and no daemon repairs them, the kernels ask and find each other."""
    daemon.terminate()
    web = places["web"]
    for address in (FIRST_HOP_V4, FIRST_HOP_V6):
        web.host.ip(f"neighbour delete {address} dev eth0")
    assert web.host.ping(OUTSIDE_V4)
    assert web.host.ping(OUTSIDE_V6)
    for address in (FIRST_HOP_V4, FIRST_HOP_V6):
        assert web.host.neighbours("eth0")[address]["lladdr"] == FIRST_HOP_MAC


@pytest.mark.parametrize("version", FAMILIES)
async def test_an_exceeded_hop_limit_is_told_to_the_workload(places: dict[str, Place], version: int) -> None:
    """A packet that may make one hop only is answered by the node with time exceeded, so that traceroute works."""
    target = places["outside"].address(version)
    said = places["web"].host.run(f"ping -n -c 1 -W 2 -t 1 {target}", ok=False)
    assert f"From {places['node'].address(version)}" in said, said
    assert "Time to live exceeded" in said or "Hop limit" in said, said


@pytest.mark.parametrize(("version", "target"), [(4, "203.0.113.9"), (6, "2001:db8:9::9")])
async def test_a_missing_route_is_told_to_the_workload(places: dict[str, Place], version: int, target: str) -> None:
    """Where the node knows no way, the workload is told at once."""
    places["node"].host.ip(f"-{version} route delete default dev {UPLINK}")
    said = places["web"].host.run(f"ping -n -c 1 -W 2 {target}", ok=False)
    assert "unreachable" in said.lower() or "no route" in said.lower(), said
    assert f"From {places['node'].address(version)}" in said, said


async def test_outside_knows_no_workload(places: dict[str, Place]) -> None:
    """The masquerading is needed: the outside has no route to any pool."""
    for pool in POOLS:
        assert places["outside"].host.route(pool) is None
