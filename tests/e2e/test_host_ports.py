"""Ports of the node that one of its own processes listens on, and that a workload is to have."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import grpc
import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.v1 import netplumb_pb2 as pb
from tests.e2e import wishes
from tests.e2e.conftest import NODE_V4, StartDaemon
from tests.e2e.daemons import Daemon
from tests.e2e.echoes import ask, serving
from tests.e2e.hosts import Host
from tests.e2e.waiting import until

PORT = 8080
_LISTENS = """
import socket, sys, time
family = socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET
bound = socket.socket(family, socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM)
if family == socket.AF_INET6:
    bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, len(sys.argv) > 4 and sys.argv[4] == "only")
bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
bound.bind((sys.argv[2], int(sys.argv[3])))
if sys.argv[1] == "tcp":
    bound.listen()
print("bound", flush=True)
time.sleep(600)
"""


_MANY = """
import socket, time
kept = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(5000)]
for number, each in enumerate(kept):
    each.bind(("127.0.0.1", 10000 + number))
print("bound", flush=True)
time.sleep(600)
"""


def process(node: Host, protocol: str, at: str, *arguments: str, port: int = PORT) -> AbstractContextManager[int]:
    """A process of the node that listens; its id."""
    return running(node.command(sys.executable, "-c", _LISTENS, protocol, at, str(port), *arguments))


@contextmanager
def running(words: Sequence[str]) -> Iterator[int]:
    """A program that says when its sockets are bound."""
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as started:
        try:
            assert started.stdout is not None
            assert started.stdout.readline() == "bound\n"
            yield started.pid
        finally:
            started.kill()


async def told(client: AsyncClient, workload_id: str = "web") -> str:
    """What the attachment's condition says; empty where nothing is in the way."""
    attachment: pb.Attachment = await client.get(workload_id)
    found = wishes.condition(attachment, "HostPortInUse")
    return found.message if found is not None and found.status else ""


@pytest.mark.parametrize(
    ("protocol", "at", "families"),
    [
        ("tcp", "0.0.0.0", ["IPv4"]),
        ("udp", "0.0.0.0", ["IPv4"]),
        ("tcp", "127.0.0.1", ["IPv4"]),
        ("udp", "::1", ["IPv6"]),
        ("tcp", "::", ["IPv4", "IPv6"]),
        ("udp", "::", ["IPv4", "IPv6"]),
    ],
)
async def test_it_is_told_with_the_answer_and_until_the_process_ends(
    client: AsyncClient, node: Host, web: Host, protocol: str, at: str, families: list[str]
) -> None:
    """What, where and by whom; nobody has to wait for a resync to hear that it is over."""
    with process(node, protocol, at) as pid:
        answer = await client.attach(wishes.attach(web, ports=(f"{PORT}:80/{protocol}",)))
        (warning,) = answer.warnings
        assert f"process {pid}" in warning
        assert [family for family in ("IPv4", "IPv6") if family in warning] == families
        assert f"{protocol} port {PORT}" in warning
        assert await told(client) == warning
        (listed,) = [it async for it in client.list()]
        for view in (await client.get("web"), await client.check("web"), listed):
            assert [(it.reason, it.message) for it in view.unmet] == [("HostPortInUse", warning)]
        again = await client.attach(wishes.attach(web, ports=(f"{PORT}:80/{protocol}",)))
        assert list(again.warnings) == [warning]

    async def over() -> bool:
        return not await told(client)

    await until(over, "it is told that it is over", within_s=15)
    assert not (await client.attach(wishes.attach(web, ports=(f"{PORT}:80/{protocol}",)))).warnings


@pytest.mark.parametrize(
    ("protocol", "at", "mapping"),
    [
        ("udp", "0.0.0.0", f"{PORT}:80"),
        ("tcp", "0.0.0.0", f"{PORT + 1}:80"),
        ("tcp", "127.0.0.1", f"{NODE_V4}:{PORT}:80"),
        ("tcp", "0.0.0.0", f"[::]:{PORT}:80"),
    ],
)
async def test_who_is_not_in_the_way_is_not_told_of(
    client: AsyncClient, node: Host, web: Host, protocol: str, at: str, mapping: str
) -> None:
    with process(node, protocol, at):
        assert not (await client.attach(wishes.attach(web, ports=(mapping,)))).warnings


async def test_what_a_runtime_holds_the_port_with_is_not_told_of(client: AsyncClient, node: Host, web: Host) -> None:
    """Podman's monitor keeps the ports of its container open, and names it on its command line."""
    with process(node, "tcp", "0.0.0.0", "-c", "4f1c22"):
        wish = wishes.attach(web, ports=(f"{PORT}:80",), container_id="4f1c22")
        assert not (await client.attach(wish)).warnings
        assert (await client.attach(wishes.attach(web, ports=(f"{PORT}:80",), container_id="9be017"))).warnings


async def test_a_process_that_comes_later_is_found_by_a_resync(
    start_daemon: StartDaemon, node: Host, web: Host
) -> None:
    daemon = await start_daemon(flags="--resync-s 0.5")
    async with daemon.client() as client:
        await client.attach(wishes.attach(web, ports=("8000-8100:8000",)))
        with process(node, "tcp", "0.0.0.0"):

            async def found() -> bool:
                return "tcp port 8080" in await told(client)

            await until(found, "a resync finds the process", within_s=15)


async def test_the_setting_refuses_what_is_mapped_anew(
    start_daemon: StartDaemon, node: Host, outside: Host, web: Host
) -> None:
    """The process goes on to be answered to. What is attached stays, and so does what was mapped before."""
    daemon = await start_daemon()
    daemon.configure(host_ports_in_use="refuse")
    await daemon.restart()
    async with daemon.client() as client:
        with serving(node, PORT):
            with wishes.refused(grpc.StatusCode.ALREADY_EXISTS, f"tcp port {PORT}", "host_ports_in_use"):
                await client.attach(wishes.attach(web, ports=(f"{PORT}:80",)))
            assert (ask(outside, NODE_V4, PORT) or "").startswith("node")
            assert [it async for it in client.list()] == []
        await client.attach(wishes.attach(web, ports=(f"{PORT}:80",)))
        with process(node, "tcp", "0.0.0.0"):
            answer = await client.attach(wishes.attach(web, ports=(f"{PORT}:80",), labels={"a": "b"}))
            assert answer.warnings


async def test_a_state_file_waits_for_the_port(start_daemon: StartDaemon, node: Host, web: Host) -> None:
    """Its reason is told; it has its turn when the process ends."""
    daemon = await start_daemon()
    daemon.configure(host_ports_in_use="refuse")
    await daemon.restart()
    path = daemon.state_files / "web.yaml"
    async with daemon.client() as client:
        with process(node, "udp", "0.0.0.0"):
            path.write_text(
                f"kind: Attachment\nworkload_id: web\nnetns: {{name: web}}\nport_mappings: ['{PORT}:80/udp']\n"
            )

            async def refused() -> bool:
                found = [it async for it in client.list()]
                return any(f"udp port {PORT}" in it.conditions[0].message for it in found)

            await until(refused, "the file's wish waits", within_s=10)

        async def attached() -> bool:
            return any([it.phase == "Attached" async for it in client.list()])

        await until(attached, "it has the port", within_s=15)


async def test_the_setting_allows_in_silence(start_daemon: StartDaemon, node: Host, web: Host) -> None:
    daemon: Daemon = await start_daemon()
    daemon.configure(host_ports_in_use="allow")
    await daemon.restart()
    async with daemon.client() as client:
        with process(node, "tcp", "0.0.0.0"):
            assert not (await client.attach(wishes.attach(web, ports=(f"{PORT}:80",)))).warnings


async def test_thousands_of_sockets_hold_nobody_up(client: AsyncClient, node: Host, web: Host) -> None:
    """The kernel passes over what is not asked about."""
    with running(node.command("prlimit", "--nofile=8192", sys.executable, "-c", _MANY)):
        began = time.monotonic()
        assert not (await client.attach(wishes.attach(web, ports=("53:53/udp", "8000-8999:80/udp")))).warnings
        assert time.monotonic() - began < 1.0
