"""The bound on connections that one address begins to the remote port, on the real kernel."""

from __future__ import annotations

import select
import socket
import subprocess
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path

import pytest

from netplumb.models.listenaddress import TcpAddress
from netplumb.models.nft import REMOTE_TABLE
from netplumb.reconciler.kernel.nftables.remoteport import BURST_S, bounded
from tests.netns.conftest import NodeNamespace

PORT, TRIED, SOURCES = 9480, 40, 8
QUIET_S = 0.5
V4, V6, LINK_LOCAL = "192.0.2.1", "2001:db8::1", "fe80::1"


def ip(*lines: str) -> None:
    for line in lines:
        subprocess.run(["ip", *line.split()], check=True)


@pytest.mark.parametrize(
    ("served", "to"),
    [
        (V4, V4),
        ("0.0.0.0", V4),
        (V6, V6),
        ("::", V6),
        ("::", V4),
        (f"{LINK_LOCAL}%uplink", LINK_LOCAL),
    ],
)
def test_an_address_begins_so_many_connections_at_once(node: NodeNamespace, served: str, to: str) -> None:
    """Of one address that is served, and of all; by either IP version, where the addresses of a network of 64 bits are
    one; and nobody is bounded any more once it is over."""
    elsewhere = node.netns("elsewhere")
    ip("link add uplink type veth peer name uplink netns elsewhere", "link set uplink up")
    ip(f"address add {V4}/24 dev uplink", *(f"address add {it}/64 dev uplink nodad" for it in (V6, LINK_LOCAL)))
    with node.in_netns(elsewhere):
        ip("link set uplink up", "address add 192.0.2.2/24 dev uplink")
        ip(*(f"address add 2001:db8::{number + 2:x}/64 dev uplink nodad" for number in range(SOURCES)))
        ip("address add fe80::2/64 dev uplink nodad")
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    with socket.create_server(end(to), family=family, backlog=2 * TRIED) as server:
        with bounded(TcpAddress(ip_address(served), PORT), 1):
            assert BURST_S <= taken(node, elsewhere, server, to) < TRIED // 2
        assert taken(node, elsewhere, server, to) == TRIED
        tables = subprocess.check_output(["nft", "list", "tables"], text=True)
    assert REMOTE_TABLE not in tables


def end(address: str) -> tuple[str | int, ...]:
    """As sockets of this namespace name it."""
    return (address, PORT, 0, socket.if_nametoindex("uplink")) if address == LINK_LOCAL else (address, PORT)


def taken(node: NodeNamespace, elsewhere: Path, server: socket.socket, to: str) -> int:
    """How many come to be of those that begin at once, by IPv6 from several addresses of a network."""
    count = 0
    with ExitStack() as held:
        with node.in_netns(elsewhere):
            for number in range(TRIED):
                made = held.enter_context(socket.socket(server.family))
                made.setblocking(False)
                if to == V6:
                    made.bind((f"2001:db8::{number % SOURCES + 2:x}", 0))
                made.connect_ex(end(to))
        while select.select([server], [], [], QUIET_S)[0]:
            server.accept()[0].close()
            count += 1
    return count
