"""What conntrack cannot translate ends nowhere: it neither leaves with a workload's address, nor is it answered by a
stack that knows nothing of the connection."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.v1 import netplumb_pb2 as pb
from tests.e2e import wishes
from tests.e2e.conftest import NODE_V4, NODE_V6, OUTSIDE_V4, OUTSIDE_V6, UPLINK, StartDaemon
from tests.e2e.hosts import Host
from tests.e2e.packets import ACK, FIN, PSH, RST, SYN, Seen, datagram, icmp, packet, put, segment, tapped
from tests.e2e.streams import open_socket
from tests.e2e.test_traffic import FIRST_HOP_MAC

VERSIONS = (4, 6)
PORT, INNER = 8080, 80
FAR = 1 << 30
"""Further than any window."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A TCP connection, with what its client and its server sent last, as a tap at the server saw it."""

    client: socket.socket
    server: socket.socket
    at_server: Seen

    def lives(self) -> bool:
        """Whether both directions still work."""
        try:
            for sender, receiver in ((self.client, self.server), (self.server, self.client)):
                sender.sendall(b"ping")
                if receiver.recv(16) != b"ping":
                    return False
        except OSError:
            return False
        return True


@contextmanager
def connected(client: Host, server: Host, to: str, port: int, inner: int, link: str) -> Iterator[Connection]:
    """A connection of the client to an address and port that lead to the server's inner port."""
    wildcard = "::" if ":" in to else "0.0.0.0"
    with ExitStack() as stack:
        listener = stack.enter_context(open_socket(server, wildcard, socket.SOCK_STREAM))
        listener.bind((wildcard, inner))
        listener.listen()
        tap = stack.enter_context(tapped(server, link))
        connecting = stack.enter_context(open_socket(client, to, socket.SOCK_STREAM))
        connecting.connect((to, port))
        accepted = stack.enter_context(listener.accept()[0])
        accepted.settimeout(2)
        connecting.settimeout(2)
        (seen, *_) = [it for it in tap.seen(for_s=0.2) if it.ports[1] == inner and it.flags == ACK]
        yield Connection(connecting, accepted, seen)


@pytest.fixture
async def web_answer(client: AsyncClient, web: Host) -> pb.AttachResponse:
    return await client.attach(wishes.attach(web, ports=(f"{PORT}:{INNER}",)))


def own(answer: pb.AttachResponse, version: int) -> str:
    return wishes.v4(answer) if version == 4 else wishes.v6(answer)


def beyond(version: int) -> str:
    return OUTSIDE_V4 if version == 4 else OUTSIDE_V6


def of_node(version: int) -> str:
    return NODE_V4 if version == 4 else NODE_V6


STRAYS = {
    "late FIN": lambda own, to: segment((own, 4001), (to, 81), FIN | ACK),
    "RST": lambda own, to: segment((own, 4001), (to, 81), RST),
    "RST with ACK": lambda own, to: segment((own, 4001), (to, 81), RST | ACK),
    "SYN with ACK": lambda own, to: segment((own, 4001), (to, 81), SYN | ACK),
    "no flags": lambda own, to: segment((own, 4001), (to, 81), 0),
    "wrong checksum": lambda own, to: datagram((own, 4001), (to, 81), b"?", sound=False),
    "echo reply to nobody": lambda own, to: icmp(own, to, 129 if ":" in to else 0),
    "error about no flow": lambda own, to: icmp(
        own, to, *((1, 4) if ":" in to else (3, 3)), bytes(4) + datagram((to, 9), (own, 9), b"?")
    ),
    "what conntrack leaves alone": lambda own, to: icmp(own, to, 136, 0, bytes(20)),
    "a protocol of nobody": lambda own, to: packet(own, to, 253, b"hello"),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("stray", STRAYS)
async def test_nothing_leaves_with_a_workloads_address(
    web_answer: pb.AttachResponse, client: AsyncClient, outside: Host, web: Host, db: Host, version: int, stray: str
) -> None:
    """Neither from a workload that ports lead to, nor from another; a datagram of each is masqueraded meanwhile."""
    other = await client.attach(wishes.attach(db, addresses=("198.51.100.7", "2001:db8:77::7")))
    with tapped(outside, "eth0") as arriving:
        for host, answer in ((web, web_answer), (db, other)):
            put(host, "eth0", FIRST_HOP_MAC, STRAYS[stray](own(answer, version), beyond(version)))
            put(host, "eth0", FIRST_HOP_MAC, datagram((own(answer, version), 4002), (beyond(version), 82), b"?"))
        seen = [it for it in arriving.seen() if it.target == beyond(version)]
    assert {it.source for it in seen} == {of_node(version)}
    assert sum(it.ports[1] == 82 for it in seen) == 2


async def test_what_another_table_keeps_from_conntrack_stays_too(
    web_answer: pb.AttachResponse, node: Host, outside: Host, web: Host
) -> None:
    """What is not tracked is not translated; but one who translates without conntrack is let alone."""
    with tapped(outside, "eth0") as arriving:
        node.run(
            "nft 'table inet foreign { chain a { type filter hook prerouting priority -299; udp dport 83 notrack; };"
            " chain b { type filter hook postrouting priority 150; udp sport 4004 ip saddr set 192.0.2.1; }; }'"
        )
        for version in VERSIONS:
            put(web, "eth0", FIRST_HOP_MAC, datagram((own(web_answer, version), 4003), (beyond(version), 83), b"?"))
        put(web, "eth0", FIRST_HOP_MAC, datagram((wishes.v4(web_answer), 4004), (OUTSIDE_V4, 83), b"?"))
        assert [(it.source, it.ports) for it in arriving.seen() if it.ports[1] == 83] == [(NODE_V4, (4004, 83))]


@pytest.mark.parametrize("version", VERSIONS)
async def test_who_asks_a_workloads_own_address_is_answered_from_it(
    web_answer: pb.AttachResponse, node: Host, outside: Host, web: Host, version: int
) -> None:
    """Where others have a route to the pools, answers are not masqueraded, and they leave."""
    address = own(web_answer, version)
    outside.ip(f"-{version} route add {address} via {of_node(version)}")
    with connected(outside, web, address, 99, 99, "eth0") as connection:
        assert connection.lives()
    assert outside.ping(address)


async def test_without_masquerade_everything_leaves_as_it_is(
    start_daemon: StartDaemon, node: Host, outside: Host, web: Host
) -> None:
    """An asymmetric way, on which conntrack knows only half of a connection, is the node's own choice."""
    daemon = await start_daemon(flags="--no-masquerade")
    async with daemon.client() as client:
        answer = await client.attach(wishes.attach(web))
        with tapped(outside, "eth0") as arriving:
            for version in VERSIONS:
                strange = segment((own(answer, version), 4001), (beyond(version), 81), SYN | ACK)
                put(web, "eth0", FIRST_HOP_MAC, strange)
            # The node asks for its neighbour first, which takes a second where a link has just come up.
            assert {it.source for it in arriving.seen(for_s=2.5) if it.ports[1] == 81} == set(wishes.texts(answer))


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_stray_segment_resets_no_masqueraded_connection(
    web_answer: pb.AttachResponse, node: Host, outside: Host, web: Host, version: int
) -> None:
    """One out of the window, from the server, does not make the node's stack answer; nor does one of the workload's
    reach the server."""
    mac = node.link(UPLINK)["address"]
    with connected(web, outside, beyond(version), 99, 99, "eth0") as connection, tapped(outside, "eth0") as answers:
        seen = connection.at_server
        out = segment((seen.target, 99), (seen.source, seen.ports[0]), ACK | PSH, b"late", seq=seen.ack + FAR)
        put(outside, "eth0", mac, out)
        mine = (own(web_answer, version), connection.client.getsockname()[1])
        put(web, "eth0", FIRST_HOP_MAC, segment(mine, (beyond(version), 99), ACK | PSH, b"late", seq=seen.seq + FAR))
        assert [it for it in answers.seen() if it.flags & RST or it.source == mine[0]] == []
        assert connection.lives()


@pytest.mark.parametrize("listens", ["nobody", "everywhere", "there"])
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_stray_segment_resets_no_connection_by_a_port(
    web_answer: pb.AttachResponse, node: Host, outside: Host, web: Host, version: int, listens: str
) -> None:
    """Of the client or of the workload; also where a process of the node listens on the mapped port."""
    mac, to = node.link(UPLINK)["address"], of_node(version)
    with ExitStack() as stack:
        if listens != "nobody":
            at = to if listens == "there" else "::" if version == 6 else "0.0.0.0"
            listener = stack.enter_context(open_socket(node, at, socket.SOCK_STREAM))
            listener.bind((at, PORT))
            listener.listen()
        connection = stack.enter_context(connected(outside, web, to, PORT, INNER, "eth0"))
        answers = stack.enter_context(tapped(outside, "eth0"))
        seen = connection.at_server
        client, server = (beyond(version), seen.ports[0]), (own(web_answer, version), INNER)
        put(outside, "eth0", mac, segment(client, (to, PORT), ACK | PSH, b"late", seq=seen.seq + FAR, ack=seen.ack))
        put(web, "eth0", FIRST_HOP_MAC, segment(server, client, ACK | PSH, b"late", seq=seen.ack + FAR, ack=seen.seq))
        assert [it for it in answers.seen() if it.flags & RST or it.source == server[0]] == []
        assert connection.lives()


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_stray_segment_resets_no_connection_between_workloads(
    web_answer: pb.AttachResponse, client: AsyncClient, node: Host, web: Host, db: Host, version: int
) -> None:
    """A workload that asks the node's port knows nothing of the one that answers."""
    other = await client.attach(wishes.attach(db))
    to = of_node(version)
    with connected(db, web, to, PORT, INNER, "eth0") as connection, tapped(db, "eth0") as at_client:
        seen = connection.at_server
        asking, server = (own(other, version), seen.ports[0]), (own(web_answer, version), INNER)
        put(web, "eth0", FIRST_HOP_MAC, segment(server, asking, ACK | PSH, b"late", seq=seen.ack + FAR, ack=seen.seq))
        put(db, "eth0", FIRST_HOP_MAC, segment(asking, (to, PORT), ACK | PSH, b"late", seq=seen.seq + FAR))
        assert [it for it in at_client.seen() if it.source == server[0] or it.flags & RST] == []
        assert connection.lives()


@pytest.mark.parametrize("to", ["127.0.0.1", "::1", NODE_V4, NODE_V6])
async def test_a_stray_segment_resets_no_connection_of_the_node(
    web_answer: pb.AttachResponse, node: Host, web: Host, to: str
) -> None:
    """One of the workload's to the node itself, which asked a mapped port."""
    with connected(node, web, to, PORT, INNER, "eth0") as connection, tapped(web, "eth0") as at_workload:
        seen = connection.at_server
        server = (own(web_answer, 6 if ":" in to else 4), INNER)
        asking = (seen.source, seen.ports[0])
        put(web, "eth0", FIRST_HOP_MAC, segment(server, asking, ACK | PSH, b"late", seq=seen.ack + FAR, ack=seen.seq))
        assert [it for it in at_workload.seen() if it.flags & RST] == []
        assert connection.lives()


@pytest.mark.parametrize("version", VERSIONS)
async def test_invalid_segments_of_the_nodes_own_connections_arrive(
    web_answer: pb.AttachResponse, node: Host, outside: Host, version: int
) -> None:
    """The node's stack answers a segment out of the window with what it expects, and a stray SYN at a listener."""
    mac, to = node.link(UPLINK)["address"], of_node(version)
    with connected(outside, node, to, 99, 99, UPLINK) as connection, tapped(outside, "eth0") as answers:
        seen = connection.at_server
        put(
            outside,
            "eth0",
            mac,
            segment((seen.source, seen.ports[0]), (to, 99), ACK | PSH, b"late", seq=seen.seq + FAR, ack=seen.ack),
        )
        told = [it for it in answers.seen() if it.source == to and it.ports[0] == 99]
        assert [(it.flags, it.ack) for it in told] == [(ACK, seen.seq)]
        assert connection.lives()
