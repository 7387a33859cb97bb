"""What cannot be repaired, since the namespace or the way to it is gone: it is told, it leaves nothing behind, and it
hinders nobody. Each test proves one line of the table's fates."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.client.errors import ClientError
from tests import namespaces
from tests.damage.victims import Victim, victim, wish
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.statefiles import declare, document
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, condition, detach

PORT = 8080
WITHIN_S = 10.0


async def _phase(client: AsyncClient) -> str:
    try:
        return (await client.get("web")).phase
    except ClientError:
        return ""


async def _becomes(client: AsyncClient, phase: str) -> None:
    async def is_so() -> bool:
        return await _phase(client) == phase

    await until(is_so, phase or "forgotten", within_s=WITHIN_S)


async def _told(client: AsyncClient, reason: str) -> None:
    async def is_told() -> bool:
        found = condition(await client.get("web"), "NetnsUnreachable")
        return found is not None and found.reason == reason

    await until(is_told, reason, within_s=WITHIN_S)


def _traces(hit: Victim) -> list[str]:
    """Where the node still mentions the attachment: its links, its addresses, its port."""
    shown = {
        "links": hit.node.run("ip link show"),
        "routes": hit.node.run("ip route show table all") + hit.node.run("ip -6 route show table all"),
        "neighbours": hit.node.run("ip neighbour show nud all") + hit.node.run("ip neighbour show proxy"),
        "table": hit.node.run("nft -n list table inet netplumb"),
    }
    marks = (hit.link, hit.link.replace("np", "nq", 1), f"{hit.v4} ", f"{hit.v6} ", f" {hit.port} ")
    return [f"{where}: {mark}" for where, text in shown.items() for mark in marks if mark in text]


@pytest.fixture
async def bystander(client: AsyncClient, db: Host) -> AsyncIterator[Host]:
    """Another attachment, which is not hindered by whatever happens."""
    await client.attach(attach(db))
    yield db
    assert (await client.get("db")).phase == "Attached"
    assert (await client.check("db")).in_sync


@pytest.fixture
async def hit(client: AsyncClient, node: Host, web: Host, bystander: Host) -> Victim:
    """By an RPC, with all that an attachment can have on the node."""
    attached = victim(node, web, await client.attach(wish(web, PORT)))
    assert {trace.partition(":")[0] for trace in _traces(attached)} == {"links", "routes", "neighbours", "table"}
    return attached


async def test_a_deleted_namespace_leaves_nothing_but_its_addresses(client: AsyncClient, hit: Victim) -> None:
    """Lost, told why, without a trace on the node; Detach gives the addresses back."""
    held = [pool.held for pool in (await client.status()).pools]
    hit.workload.remove()
    await _becomes(client, "Lost")
    ready = condition(await client.get("web"), "Ready")
    assert ready is not None
    assert (ready.status, ready.reason) == (False, "NetnsGone")
    await until(lambda: not _traces(hit), f"no trace is left: {_traces(hit)}", within_s=WITHIN_S)
    assert [pool.held for pool in (await client.status()).pools] == held
    await client.detach(detach("web", hit.workload.path))
    assert [pool.held for pool in (await client.status()).pools] == [held_by - 1 for held_by in held]
    assert await _phase(client) == ""


async def test_the_addresses_are_given_back_after_the_grace(daemon: Daemon, client: AsyncClient, hit: Victim) -> None:
    """Without a Detach they are given back when the setting says so."""
    held = [pool.held for pool in (await client.status()).pools]
    daemon.configure(netns_gone_grace_s=1)
    daemon.reload()
    hit.workload.remove()
    await _becomes(client, "")
    assert [pool.held for pool in (await client.status()).pools] == [held_by - 1 for held_by in held]
    assert not _traces(hit)


async def test_a_declared_namespace_that_is_deleted_is_waited_for(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, bystander: Host
) -> None:
    """Pending, told what is missing, without a trace on the node; its addresses are kept."""
    declare(daemon, "web.yaml", document("web", web))
    await _becomes(client, "Attached")
    addresses = list((await client.get("web")).addresses)
    link = (await client.get("web")).node_if_name
    web.remove()
    await _becomes(client, "Pending")
    ready = condition(await client.get("web"), "Ready")
    assert ready is not None
    assert (ready.status, ready.reason) == (False, "PathMissing")
    assert link not in node.links()
    assert list((await client.get("web")).addresses) == addresses


async def test_a_namespace_made_anew_is_a_stranger_to_an_rpc(client: AsyncClient, hit: Victim) -> None:
    """Lost, and the new one is not touched until the next Attach, which has the same addresses."""
    hit.workload.remake()
    await _becomes(client, "Lost")
    assert hit.workload.links().keys() == {"lo"}
    assert "UP" not in hit.workload.link("lo")["flags"]
    again = victim(hit.node, hit.workload, await client.attach(wish(hit.workload, PORT)))
    assert again == hit
    assert hit.node.ping(hit.v4)


async def test_a_namespace_made_anew_is_the_same_to_a_file(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, bystander: Host
) -> None:
    """Attached again, with the same addresses."""
    declare(daemon, "web.yaml", document("web", web))
    await _becomes(client, "Attached")
    addresses = list((await client.get("web")).addresses)
    web.remake()
    await until(lambda: "eth0" in web.links(), "attached again", within_s=WITHIN_S)
    await _becomes(client, "Attached")
    assert list((await client.get("web")).addresses) == addresses
    assert node.ping(addresses[0])


@contextmanager
def _kept_alive(host: Host) -> Iterator[Path]:
    """Another path to a namespace, which keeps it alive."""
    descriptor = os.open(host.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield Path(f"/proc/{os.getpid()}/fd/{descriptor}")
    finally:
        os.close(descriptor)


async def _only_the_node_s_side_is_repaired(client: AsyncClient, hit: Victim, inside: Path) -> None:
    """What is damaged on the node comes back; the workload works on, in a namespace that cannot be entered."""
    hit.node.ip(f"-4 route delete {hit.v4}")
    await until(lambda: hit.node.route(hit.v4) is not None, "the node's side is repaired", within_s=WITHIN_S)
    assert hit.node.ping(hit.v4)
    assert hit.node.ping(hit.v6)
    assert await _phase(client) == "Attached"
    with namespaces.enter(inside):
        assert hit.key.if_name in {name for _, name in socket.if_nameindex()}


async def test_a_path_that_is_gone_is_told(client: AsyncClient, hit: Victim) -> None:
    """Attached, and a condition says that only the node's side is kept in repair; Lost when the namespace goes too."""
    with _kept_alive(hit.workload) as inside:
        hit.workload.remove()
        await _told(client, "PathMissing")
        await _only_the_node_s_side_is_repaired(client, hit, inside)
    await _becomes(client, "Lost")
    await until(lambda: not _traces(hit), "no trace is left", within_s=WITHIN_S)


def _file(path: Path, stack: ExitStack) -> None:
    path.write_text("no namespace")
    stack.callback(path.unlink)


def _fifo(path: Path, stack: ExitStack) -> None:
    os.mkfifo(path)
    stack.callback(path.unlink)


def _directory(path: Path, stack: ExitStack) -> None:
    path.mkdir()
    stack.callback(path.rmdir)


def _other_kind(path: Path, stack: ExitStack) -> None:
    path.symlink_to("/proc/self/ns/mnt")
    stack.callback(path.unlink)


def _nowhere(path: Path, stack: ExitStack) -> None:
    path.symlink_to(path)
    stack.callback(path.unlink)


@pytest.mark.parametrize("replace", [_file, _fifo, _directory, _other_kind, _nowhere])
async def test_a_path_to_something_else_is_told(
    client: AsyncClient, hit: Victim, replace: Callable[[Path, ExitStack], None]
) -> None:
    """Attached, and a condition says what is at the path; Lost when the namespace goes too."""
    with ExitStack() as stack:
        with _kept_alive(hit.workload) as inside:
            hit.workload.remove()
            replace(Path(hit.workload.path), stack)
            await _told(client, "PathIsNoNamespace")
            await _only_the_node_s_side_is_repaired(client, hit, inside)
        await _becomes(client, "Lost")
    # Not before the path is cleared: `ip link` opens what lies in /run/netns, and would wait for the FIFO.
    await until(lambda: not _traces(hit), "no trace is left", within_s=WITHIN_S)


async def test_a_path_to_another_namespace_is_told(client: AsyncClient, hit: Victim) -> None:
    """Attached, and a condition says that another namespace is at the path, which is not touched."""
    with _kept_alive(hit.workload) as inside:
        hit.workload.remake()
        await _told(client, "PathIsAnotherNamespace")
        await _only_the_node_s_side_is_repaired(client, hit, inside)
        assert hit.workload.links().keys() == {"lo"}
    await _becomes(client, "Lost")
