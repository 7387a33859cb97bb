"""The kernel keeps a thousand neighbours, in one table for all of its namespaces: no workload fills it by asking in
many names, and so takes the node's gateway from the others."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from ipaddress import IPv6Address
from random import Random

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.models.attachment import AttachmentKey
from netplumb.models.kernel import FIRST_HOP_V4, FIRST_HOP_V6
from netplumb.models.naming import node_if_name
from tests.e2e import asks
from tests.e2e.conftest import OUTSIDE_V4, OUTSIDE_V6, MakeHost
from tests.e2e.echoes import ask, serving
from tests.e2e.hosts import Host
from tests.e2e.wishes import attach, texts, v6

ASKED_S = 3.0
ROUND, ROUNDS_A_SECOND = 50, 50
PORT = 9300
FIRST_HOP_MAC = "02:9c:52:fe:6d:0a"


def arp_request(mac: bytes, random: Random) -> bytes:
    sender = struct.pack("!I", 0x20000000 | random.getrandbits(28))
    return (
        b"\xff" * 6 + mac + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, 1) + mac + sender + bytes(6) + FIRST_HOP_V4
    )


def solicitation(mac: bytes, random: Random) -> bytes:
    return _discovery(mac, random, 135, bytes(4) + FIRST_HOP_V6 + b"\x01\x01" + mac)


def router_solicitation(mac: bytes, random: Random) -> bytes:
    return _discovery(mac, random, 133, bytes(4) + b"\x01\x01" + mac)


def _discovery(mac: bytes, random: Random, kind: int, body: bytes) -> bytes:
    """To all nodes and routers alike, by the address of all nodes, which a router hears too."""
    sender = b"\xfe\x80" + bytes(6) + random.randbytes(8)
    to = socket.inet_pton(socket.AF_INET6, "ff02::1:ff00:1" if kind == 135 else "ff02::2")
    length = 4 + len(body)
    summed = sender + to + struct.pack("!II", length, 58) + bytes((kind, 0, 0, 0)) + body
    checksum = sum(struct.unpack(f"!{len(summed) // 2}H", summed))
    while checksum >> 16:
        checksum = (checksum & 0xFFFF) + (checksum >> 16)
    message = struct.pack("!BBH", kind, 0, ~checksum & 0xFFFF) + body
    return b"\x33\x33" + to[-4:] + mac + struct.pack("!HIHBB", 0x86DD, 6 << 28, length, 58, 255) + sender + to + message


@pytest.mark.parametrize("question", [arp_request, solicitation, router_solicitation])
async def test_who_asks_in_many_names_takes_no_place_among_the_neighbours(
    client: AsyncClient,
    node: Host,
    web: Host,
    outside: Host,
    make_host: MakeHost,
    question: Callable[[bytes, Random], bytes],
) -> None:
    mallory = make_host("mallory")
    answer = await client.attach(attach(mallory))
    others = await client.attach(attach(web))
    with mallory.enter():
        frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        frames.bind(("eth0", 0))
    mac = bytes.fromhex(answer.attachment.mac.replace(":", ""))
    random = Random(7)
    with frames, serving(outside, PORT):
        until = time.monotonic() + ASKED_S
        while time.monotonic() < until:
            for _ in range(ROUND):
                frames.send(question(mac, random))
            await asyncio.sleep(1 / ROUNDS_A_SECOND)
        link = node_if_name(AttachmentKey("mallory", "eth0"))
        kept = node.ip(f"neighbour show dev {link}")
        for address in (OUTSIDE_V4, OUTSIDE_V6):
            assert ask(web, address, PORT, "tcp") is not None
        own = await asyncio.to_thread(asks.neighbour_discovery, web, "eth0", v6(others), str(IPv6Address(FIRST_HOP_V6)))
        assert own == FIRST_HOP_MAC, "who asks from its own address is answered meanwhile"
    assert {it["dst"] for it in kept} <= {*texts(answer)}
    assert (await client.check("mallory")).in_sync
    mallory.ip("neighbour flush dev eth0")
    for address in (OUTSIDE_V4, OUTSIDE_V6):
        with serving(outside, PORT):
            assert ask(mallory, address, PORT, "tcp") is not None, "who asks in its own name is answered"
