"""Detach: what it removes and what it must not touch; the same key in another namespace; two writers on one key."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.client.errors import ClientError
from netplumb.models.attachment import AttachmentKey
from netplumb.models.naming import node_if_name
from tests.e2e.conftest import StartDaemon
from tests.e2e.hosts import Host, kernel_state
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, detach, texts, v4

NAME = node_if_name(AttachmentKey("web", "eth0"))


async def _is_gone(client: AsyncClient, workload_id: str = "web") -> bool:
    try:
        await client.get(workload_id)
    except ClientError as error:
        return error.code is grpc.StatusCode.NOT_FOUND
    return False


async def test_detach_removes_link_and_routes(client: AsyncClient, node: Host, web: Host) -> None:
    """When Detach returns, both ends and the host routes are gone, and the attachment is not known any more."""
    answer = await client.attach(attach(web))
    await client.detach(detach("web", web.path))
    assert NAME not in node.links()
    assert "eth0" not in web.links()
    for address in texts(answer):
        assert node.route(address) is None
    assert await _is_gone(client)
    assert NAME not in {name for _, name in node.proxy_neighbours()}


async def test_an_address_may_be_given_out_again_after_detach(start_daemon: StartDaemon, web: Host, db: Host) -> None:
    """The only address of a pool goes from hand to hand, at once after each Detach."""
    daemon = await start_daemon(pools=("10.213.9.0/30",))
    async with daemon.client() as client:
        for _ in range(10):
            for host in (web, db):
                assert texts(await client.attach(attach(host))) == ("10.213.9.2",)
                await client.detach(detach(host.name))


async def test_a_freed_address_is_not_given_out_while_others_are_free(client: AsyncClient, web: Host) -> None:
    """The one that was just detached does not come back at once."""
    seen = set()
    for _ in range(5):
        seen.add(v4(await client.attach(attach(web))))
        await client.detach(detach("web"))
    assert len(seen) == 5


async def test_detach_of_what_is_not_there_succeeds(client: AsyncClient, web: Host) -> None:
    """A Detach may be repeated, and may name what never was."""
    await client.detach(detach("nobody", "/run/netns/nobody"))
    await client.attach(attach(web))
    for _ in range(2):
        await client.detach(detach("web", web.path))


async def test_an_empty_path_means_the_recorded_namespace(client: AsyncClient, web: Host) -> None:
    """containerd sends no path when the namespace is closed; that means the attachment as it is recorded."""
    await client.attach(attach(web))
    await client.detach(detach("web"))
    assert "eth0" not in web.links()


async def test_another_path_of_the_same_namespace_means_it(client: AsyncClient, web: Host) -> None:
    """A Detach may name the namespace by another path than the Attach did."""
    await client.attach(attach(web))
    sleeper = await asyncio.create_subprocess_exec(*web.command("sleep", "60"), stdout=asyncio.subprocess.PIPE)
    try:
        path = f"/proc/{sleeper.pid}/ns/net"
        await until(lambda: Path(path).samefile(web.path), "the process is in the workload's namespace")
        await client.detach(detach("web", path))
    finally:
        sleeper.kill()
        await sleeper.communicate()
    assert "eth0" not in web.links()


async def test_a_late_echo_by_container_id_changes_nothing(client: AsyncClient, node: Host, web: Host) -> None:
    """Where both have a container id, it alone decides: the right path with an older id is a late echo."""
    await client.attach(attach(web, container_id="new"))
    before = kernel_state(node, web)
    await client.detach(detach("web", web.path, container_id="old"))
    assert (await client.get("web")).phase == "Attached"
    assert kernel_state(node, web) == before
    await client.detach(detach("web", "/run/netns/elsewhere", container_id="new"))
    assert "eth0" not in web.links()


@pytest.mark.parametrize("path", ["/run/netns/db", "/run/netns/missing", "/dev/null"])
async def test_a_late_echo_by_path_changes_nothing(
    client: AsyncClient, node: Host, web: Host, db: Host, path: str
) -> None:
    """A Detach for another namespace, or for one that is gone, is an echo of an older sandbox."""
    await client.attach(attach(web))
    before = kernel_state(node, web)
    await client.detach(detach("web", path))
    assert (await client.get("web")).phase == "Attached"
    assert kernel_state(node, web) == before


async def test_a_namespace_that_is_gone_is_still_cleaned_up_after(client: AsyncClient, node: Host, web: Host) -> None:
    """Detach of what lost its namespace first succeeds and frees everything."""
    answer = await client.attach(attach(web, addresses=["10.213.0.77"]))
    path = web.path
    web.remove()
    await client.detach(detach("web", path))
    assert NAME not in node.links()
    assert await _is_gone(client)
    web.create()
    again = await client.attach(attach(web, "other", addresses=["10.213.0.77"]))
    assert v4(again) == v4(answer)


async def test_another_namespace_for_the_same_key_moves_the_attachment(
    client: AsyncClient, node: Host, web: Host, db: Host
) -> None:
    """A sandbox re-created under the same id keeps its addresses; the old namespace loses the interface."""
    first = await client.attach(attach(web, "pod"))
    second = await client.attach(attach(db, "pod"))
    assert second.ip == first.ip
    assert second.attachment.generation == first.attachment.generation + 1
    assert "eth0" not in web.links()
    assert node.ping(v4(second))
    assert (await client.check("pod")).in_sync
    await client.detach(detach("pod", web.path))
    assert (await client.get("pod")).phase == "Attached"


async def test_moving_on_after_the_old_namespace_is_gone(client: AsyncClient, node: Host, web: Host, db: Host) -> None:
    """Re-homing needs nothing of the old namespace."""
    first = await client.attach(attach(web, "pod"))
    web.remove()
    second = await client.attach(attach(db, "pod"))
    assert second.ip == first.ip
    assert node.ping(v4(second))


async def test_of_two_writers_on_one_key_the_last_wins(client: AsyncClient, node: Host, web: Host, db: Host) -> None:
    """Wishes for one key are ordered; what is in the end is one of them whole, and a waiter that lost is ABORTED."""
    for number in range(10):
        hosts = (web, db) if number % 2 else (db, web)
        answers = await asyncio.gather(*(client.attach(attach(host, "pod")) for host in hosts), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                assert isinstance(answer, ClientError)
                assert answer.code is grpc.StatusCode.ABORTED
        found = await client.get("pod")
        winner, loser = (web, db) if found.netns_path == web.path else (db, web)
        assert found.phase == "Attached"
        assert "eth0" in winner.links()
        assert "eth0" not in loser.links()
        assert (await client.check("pod")).in_sync
