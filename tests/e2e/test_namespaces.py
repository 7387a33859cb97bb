"""Namespaces that go, come back, lose IPv6, or hide: for an RPC, which meant one, and for a state file, which means a
path."""

from __future__ import annotations

import os
import socket

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.client.errors import ClientError
from netplumb.models.attachment import AttachmentKey
from netplumb.models.naming import node_if_name
from tests import namespaces
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.statefiles import declare, document
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, condition, texts, v4

NAME = node_if_name(AttachmentKey("web", "eth0"))
DISABLE_IPV6 = "net/ipv6/conf/{}/disable_ipv6"
TIMES = 20


async def _phase(client: AsyncClient, workload_id: str = "web") -> str:
    try:
        return (await client.get(workload_id)).phase
    except ClientError:
        return ""


async def _is(client: AsyncClient, phase: str) -> bool:
    return await _phase(client) == phase


async def test_an_rpc_means_one_namespace(client: AsyncClient, node: Host, web: Host) -> None:
    """A namespace made anew at the path of one that went, time after time, is a stranger's: the attachment is Lost and
    the stranger has no interface of ours, until the next Attach, which has the same addresses."""
    first = await client.attach(attach(web))
    for _ in range(TIMES):
        web.remake()
        await until(lambda: _is(client, "Lost"), "the attachment is lost")
        assert NAME not in node.links()
        assert web.links().keys() == {"lo"}
        again = await client.attach(attach(web))
        assert again.ip == first.ip
        assert node.ping(v4(again))


async def test_a_file_means_a_path(daemon: Daemon, client: AsyncClient, node: Host, web: Host) -> None:
    """A namespace made anew at a declared path, time after time, is attached again with the same addresses."""
    declare(daemon, "web.yaml", document("web", web))
    await until(lambda: _is(client, "Attached"), "attached")
    addresses = list((await client.get("web")).addresses)
    for _ in range(TIMES):
        web.remake()
        await until(lambda: "eth0" in web.links(), "attached again")
        await until(lambda: node.ping(addresses[0]), "reached again")  # the phase may still be that of the last one
        await until(lambda: _is(client, "Attached"), "attached again")
        assert list((await client.get("web")).addresses) == addresses


async def test_a_missing_namespace_of_a_file_is_waited_for(daemon: Daemon, client: AsyncClient) -> None:
    """A declared namespace that is not there yet is Pending, and attached as soon as it appears."""
    later = Host("later")
    declare(daemon, "later.yaml", document("web", later))
    await until(lambda: _is(client, "Pending"), "pending")
    ready = condition(await client.get("web"), "Ready")
    assert ready is not None
    assert later.path in ready.message
    later.create()
    try:
        await until(lambda: _is(client, "Attached"), "attached", within_s=3)
    finally:
        later.remove()


async def test_a_lost_attachment_is_forgotten_after_its_grace(daemon: Daemon, web: Host) -> None:
    """The addresses of what lost its namespace are kept for the grace that is set, then given back."""
    daemon.configure(netns_gone_grace_s=1)
    await daemon.restart()
    async with daemon.client() as client:
        await client.attach(attach(web))
        web.remove()
        await until(lambda: _is(client, "Lost"), "lost")
        await until(lambda: _is(client, ""), "forgotten")
        assert [pool.held for pool in (await client.status()).pools] == [0, 0]


async def test_a_workload_without_ipv6_has_ipv4(client: AsyncClient, node: Host, web: Host) -> None:
    """Where IPv6 is switched off in the workload, its address is neither assigned nor answered, and a condition says
    why; switched on again, it comes with the next pass."""
    web.set_sysctl(DISABLE_IPV6.format("all"), "1")
    web.set_sysctl(DISABLE_IPV6.format("default"), "1")
    answer = await client.attach(attach(web))
    assert [len(raw) for raw in answer.ip] == [4]
    off = condition(answer.attachment, "IPv6Disabled")
    assert off is not None
    assert off.status
    assert web.addresses("eth0") == {f"{v4(answer)}/32"}
    assert (await client.check("web")).in_sync
    assert node.ping(v4(answer))
    web.set_sysctl(DISABLE_IPV6.format("all"), "0")
    web.set_sysctl(DISABLE_IPV6.format("default"), "0")
    web.set_sysctl(DISABLE_IPV6.format("eth0"), "0")
    again = await client.attach(attach(web))
    assert [len(raw) for raw in again.ip] == [4, 16]
    assert condition(again.attachment, "IPv6Disabled") is None
    assert node.ping(texts(again)[1])


async def test_ipv6_switched_off_under_an_attachment(client: AsyncClient, node: Host, web: Host) -> None:
    """A workload that loses IPv6 later keeps IPv4, and says so."""
    answer = await client.attach(attach(web))
    web.set_sysctl(DISABLE_IPV6.format("all"), "1")

    async def told() -> bool:
        return condition(await client.get("web"), "IPv6Disabled") is not None

    await until(told, "the condition tells of it")
    assert await _is(client, "Attached")
    assert node.ping(v4(answer))
    assert [len(raw) for raw in (await client.attach(attach(web))).ip] == [4]


async def test_a_node_without_ipv6_gives_ipv4_alone(
    node: Host, start_daemon: object, daemon: Daemon, web: Host
) -> None:
    """Where IPv6 is switched off on the node, no IPv6 address is answered, and `check` is not content."""
    daemon.terminate()
    for which in ("all", "default"):
        node.set_sysctl(DISABLE_IPV6.format(which), "1")
    await daemon.start()
    async with daemon.client() as client:
        answer = await client.attach(attach(web))
        assert [len(raw) for raw in answer.ip] == [4]
        assert condition(answer.attachment, "IPv6Disabled") is not None
        assert not (await client.check("web")).in_sync
    assert node.ping(v4(answer))
    assert web.ping("192.0.2.2")


async def test_a_path_that_hides_is_not_a_namespace_that_is_gone(client: AsyncClient, node: Host, web: Host) -> None:
    """Where only the path went, the interface stays, a condition says so, and the node's side is still repaired."""
    answer = await client.attach(attach(web))
    descriptor = os.open(web.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        web.remove()
        node.ip(f"-4 route delete {v4(answer)}")
        await until(lambda: node.route(v4(answer)) is not None, "the node's side is repaired", within_s=2)

        async def told() -> bool:
            return condition(await client.get("web"), "NetnsUnreachable") is not None

        await until(told, "the condition tells of it")
        assert await _is(client, "Attached")
        assert node.ping(v4(answer))
        with namespaces.enter(f"/proc/self/fd/{descriptor}"):
            assert "eth0" in {name for _, name in socket.if_nameindex()}
    finally:
        os.close(descriptor)
    await until(lambda: _is(client, "Lost"), "lost when the last user of the namespace is gone")
    assert NAME not in node.links()


@pytest.mark.parametrize("count", [30])
async def test_namespaces_that_go_together_are_told_apart(client: AsyncClient, node: Host, count: int) -> None:
    """Many namespaces that vanish at once are each lost, and a survivor is not disturbed."""
    hosts = [Host(f"w{number}").create() for number in range(count)]
    survivor = Host("survivor").create()
    try:
        for host in hosts:
            await client.attach(attach(host))
        kept = await client.attach(attach(survivor))
    finally:
        for host in hosts:
            host.remove()

    async def all_lost() -> bool:
        return (await client.status()).phases.get("Lost", 0) == count

    try:
        await until(all_lost, "each is lost")
        assert (await client.check("survivor")).in_sync
        assert node.ping(v4(kept))
    finally:
        survivor.remove()
