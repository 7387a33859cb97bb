"""Clients that wait: their deadline, the cause they are told, who hangs up, and whose wish is replaced meanwhile.

What holds them up is a node whose /proc/sys is read-only, as in many a container: the forwarding switches cannot be
set, nothing is attached before they are, and the daemon keeps trying.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.client.errors import ClientError
from tests import namespaces
from tests.e2e.conftest import StartDaemon
from tests.e2e.hosts import Host
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, condition, detach, refused


@pytest.fixture
def hindrance(node: Host) -> Iterator[ExitStack]:
    """What holds every attachment up, until it is closed; the node's own setting up is done by then."""
    with ExitStack() as stack:
        stack.enter_context(namespaces.read_only(Path("/proc/sys")))
        yield stack


@pytest.fixture
async def client(hindrance: ExitStack, start_daemon: StartDaemon) -> AsyncIterator[AsyncClient]:
    daemon = await start_daemon(ready=False)
    async with daemon.client() as client:
        yield client


async def _phase(client: AsyncClient, workload_id: str) -> str:
    try:
        return (await client.get(workload_id)).phase
    except ClientError:
        return ""


async def _is_tried(client: AsyncClient, workload_id: str) -> bool:
    return await _phase(client, workload_id) == "Retrying"


async def _is_attached(client: AsyncClient, workload_id: str) -> bool:
    return await _phase(client, workload_id) == "Attached"


async def test_a_deadline_is_met_with_the_cause(client: AsyncClient, hindrance: ExitStack, web: Host) -> None:
    """DEADLINE_EXCEEDED names the step that failed and its errno; the wish stays and comes true without a client."""
    with refused(grpc.StatusCode.DEADLINE_EXCEEDED, "net.ipv4.ip_forward", "EROFS"):
        await client.attach(attach(web), timeout_s=0.5)
    found = await client.get("web")
    assert found.phase == "Retrying"
    assert found.observed_generation < found.generation
    ready = condition(found, "Ready")
    assert ready is not None
    assert not ready.status
    assert "EROFS" in ready.message
    hindrance.close()
    await until(lambda: _is_attached(client, "web"), "the wish comes true", within_s=12)
    assert "eth0" in web.links()
    assert (await client.check("web")).in_sync


async def test_a_client_that_hangs_up_leaves_its_wish(client: AsyncClient, hindrance: ExitStack, web: Host) -> None:
    """Desired state stays when the client goes away in the middle."""
    call = asyncio.ensure_future(client.attach(attach(web), timeout_s=10))
    await until(lambda: _is_tried(client, "web"), "the wish is tried")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    hindrance.close()
    await until(lambda: _is_attached(client, "web"), "the wish comes true", within_s=12)
    assert "eth0" in web.links()


async def test_a_waiting_client_is_answered_when_it_comes_true(
    client: AsyncClient, hindrance: ExitStack, web: Host
) -> None:
    """An Attach that is held up is answered as soon as the hindrance is gone, within its deadline."""
    call = asyncio.ensure_future(client.attach(attach(web), timeout_s=15))
    await until(lambda: _is_tried(client, "web"), "the wish is tried")
    hindrance.close()
    assert (await call).attachment.phase == "Attached"


async def test_a_waiter_whose_wish_is_replaced_is_aborted(client: AsyncClient, web: Host, db: Host) -> None:
    """The older of two waiters gets ABORTED as soon as a later wish for the key comes."""
    older = asyncio.ensure_future(client.attach(attach(web, "pod"), timeout_s=10))
    await until(lambda: _is_tried(client, "pod"), "the first wish is tried")
    newer = asyncio.ensure_future(client.attach(attach(db, "pod"), timeout_s=0.5))
    with refused(grpc.StatusCode.ABORTED, "pod"):
        await older
    with refused(grpc.StatusCode.DEADLINE_EXCEEDED):
        await newer
    assert (await client.get("pod")).netns_path == db.path


async def test_a_waiter_whose_wish_is_detached_is_aborted(client: AsyncClient, node: Host, web: Host) -> None:
    """A Detach ends the wait of an Attach with ABORTED, and is itself not held up."""
    waiting = asyncio.ensure_future(client.attach(attach(web), timeout_s=10))
    await until(lambda: _is_tried(client, "web"), "the wish is tried")
    await client.detach(detach("web"), timeout_s=5)
    with refused(grpc.StatusCode.ABORTED, "web"):
        await waiting
    assert await _phase(client, "web") == ""


async def test_two_clients_with_the_same_wish_are_both_answered(
    client: AsyncClient, hindrance: ExitStack, web: Host
) -> None:
    """The same wish from two clients is one wish; neither supersedes the other."""
    calls = [asyncio.ensure_future(client.attach(attach(web), timeout_s=15)) for _ in range(2)]
    await until(lambda: _is_tried(client, "web"), "the wish is tried")
    hindrance.close()
    first, second = await asyncio.gather(*calls)
    assert first.ip == second.ip
    assert first.attachment.generation == second.attachment.generation == 1
