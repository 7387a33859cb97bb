"""Attach where it must not: what is not a workload's network namespace, and what stands in the way."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import grpc

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e.hosts import Host
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, refused

FAILED_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


async def _nothing_is_recorded(client: AsyncClient) -> bool:
    return [attachment async for attachment in client.list()] == []


async def test_the_nodes_own_namespace_is_refused(client: AsyncClient, node: Host) -> None:
    """An Attach to the node itself is FAILED_PRECONDITION, and changes no link of it."""
    before = node.links()
    with refused(FAILED_PRECONDITION, "own"):
        await client.attach(attach(node))
    assert node.links().keys() == before.keys()
    assert await _nothing_is_recorded(client)


async def test_a_regular_file_is_refused(client: AsyncClient, directory: Path) -> None:
    """A file that is no namespace is FAILED_PRECONDITION."""
    path = directory / "file"
    path.touch()
    with refused(FAILED_PRECONDITION, str(path)):
        await client.attach(attach(str(path)))
    assert await _nothing_is_recorded(client)


async def test_a_fifo_is_refused_at_once(client: AsyncClient, directory: Path) -> None:
    """A FIFO, whose open would block the daemon, is FAILED_PRECONDITION."""
    path = directory / "fifo"
    os.mkfifo(path)
    with refused(FAILED_PRECONDITION, str(path)):
        await client.attach(attach(str(path)), timeout_s=3)
    assert await _nothing_is_recorded(client)


async def test_a_missing_path_is_refused(client: AsyncClient) -> None:
    """An RPC means a namespace that is there; a path without one is FAILED_PRECONDITION."""
    with refused(FAILED_PRECONDITION, "/run/netns/nobody"):
        await client.attach(attach("/run/netns/nobody"))
    assert await _nothing_is_recorded(client)


async def test_another_kind_of_namespace_is_refused(client: AsyncClient) -> None:
    """A namespace that is not one of networks is FAILED_PRECONDITION."""
    with refused(FAILED_PRECONDITION, "not a network namespace"):
        await client.attach(attach(f"/proc/{os.getpid()}/ns/uts"))
    assert await _nothing_is_recorded(client)


async def test_a_namespace_is_found_by_the_path_of_a_process(client: AsyncClient, web: Host) -> None:
    """The path /proc/PID/ns/net of a process in the workload, which needs CAP_SYS_PTRACE, is as good as a name."""
    sleeper = await asyncio.create_subprocess_exec(*web.command("sleep", "60"))
    try:
        path = f"/proc/{sleeper.pid}/ns/net"
        await until(lambda: Path(path).samefile(web.path), "the process is in the workload's namespace")
        answer = await client.attach(attach(path, "web"))
        assert answer.attachment.phase == "Attached"
        assert "eth0" in web.links()
    finally:
        sleeper.kill()
        await sleeper.wait()


async def test_another_interface_of_that_name_is_left_alone(client: AsyncClient, node: Host, web: Host) -> None:
    """An interface of the wanted name is ALREADY_EXISTS, is not touched, and the attempt leaves nothing on the node."""
    web.ip("link add eth0 type veth peer name other")
    web.ip("link set eth0 address 02:00:5e:10:00:99")
    web.ip("address add 198.51.100.1/24 dev eth0")
    before, on_node = web.ip("address"), node.links().keys()
    with refused(grpc.StatusCode.ALREADY_EXISTS, "eth0"):
        await client.attach(attach(web))
    assert web.ip("address") == before
    assert node.links().keys() == on_node
    assert await _nothing_is_recorded(client)
