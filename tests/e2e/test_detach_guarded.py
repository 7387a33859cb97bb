"""What a workload is kept from it is kept from until its link is gone: dozens are detached together while they send,
and are sent, all that they may not."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import ip_address

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e.conftest import MakeHost
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.packets import datagram
from tests.e2e.statefiles import declare
from tests.e2e.test_policies import HEAD, enforced
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, detach, v4

WORKLOADS = 52
PORT = 7100
OF_OTHERS = "203.0.113.9"
NO_EGRESS = HEAD + "metadata: {name: mute}\nspec: {podSelector: {matchLabels: {kind: mute}}, policyTypes: [Egress]}\n"
NO_INGRESS = HEAD + "metadata: {name: deaf}\nspec: {podSelector: {matchLabels: {kind: deaf}}, policyTypes: [Ingress]}\n"
KINDS = ("mute", "deaf", "spoofing", "isolated", "off-node")


class Flood:
    """Sends by all of these sockets in turn, in a process of its own, so that no gap of a tenth of a millisecond is
    missed. What is unreachable is sent again."""

    def __init__(self) -> None:
        self.ways: list[tuple[socket.socket, bytes, tuple[str, int]]] = []

    @contextmanager
    def sent(self) -> Iterator[None]:
        if not (child := os.fork()):
            with suppress(BaseException):
                while True:
                    for made, content, to in self.ways:
                        with suppress(OSError):
                            made.sendto(content, socket.MSG_DONTWAIT, to)
            os._exit(1)
        try:
            yield
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def bound(host: Host, stack: ExitStack, port: int = 0, kind: int = socket.SOCK_DGRAM) -> socket.socket:
    with host.enter():
        made = stack.enter_context(socket.socket(socket.AF_INET, kind, socket.IPPROTO_RAW * (kind == socket.SOCK_RAW)))
    made.setblocking(False)
    if port:
        made.bind(("0.0.0.0", port))
    return made


def received(sockets: Sequence[socket.socket]) -> list[str]:
    """Whose datagrams came, of which there may be none."""
    found = []
    for made in sockets:
        with suppress(BlockingIOError):
            while True:
                found.append(made.recvfrom(64)[0].decode())
    return found


async def test_what_is_detached_is_guarded_until_it_is_gone(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, make_host: MakeHost
) -> None:
    """Policies in both directions, isolation from workloads and from the node, and the guard against spoofed sources:
    of a flood of what they forbid not one frame comes through while the links go, several at once."""
    declare(daemon, "policies.yaml", NO_EGRESS, NO_INGRESS)
    await until(lambda: enforced(node), "the policies")
    hosts = [make_host(f"w{number}") for number in range(WORKLOADS)]
    kinds = [KINDS[number % len(KINDS)] for number in range(WORKLOADS)]
    witness_at = v4(await client.attach(attach(web)))
    node_at = str(ip_address("10.213.0.1"))
    flood = Flood()
    with ExitStack() as stack:
        witnesses = [bound(web, stack, PORT), bound(node, stack, PORT)]
        sender = bound(web, stack)
        for host, kind in zip(hosts, kinds, strict=True):
            own = v4(
                await client.attach(
                    attach(
                        host,
                        labels={"kind": kind},
                        isolate_workloads=True if kind == "isolated" else None,
                        isolate_node=True if kind == "off-node" else None,
                    )
                )
            )
            said = f"{kind} {host.name}".encode()
            match kind:
                case "deaf":
                    witnesses.append(bound(host, stack, PORT))
                    flood.ways.append((sender, said, (own, PORT)))
                case "spoofing":
                    raw = datagram((OF_OTHERS, PORT), (witness_at, PORT), said)
                    flood.ways.append((bound(host, stack, kind=socket.SOCK_RAW), raw, (witness_at, 0)))
                case "off-node":
                    flood.ways.append((bound(host, stack), said, (node_at, PORT)))
                case _:
                    flood.ways.append((bound(host, stack), said, (witness_at, PORT)))
        with flood.sent():
            await asyncio.sleep(0.2)
            assert received(witnesses) == [], "all of it is forbidden"
            await asyncio.gather(*(client.detach(detach(host.name)) for host in hosts))
            await asyncio.sleep(0.1)
        assert received(witnesses) == []
