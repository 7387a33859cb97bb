"""What a workload fills its namespace with costs itself, and not those beside it: it is read within a bound, and more
than that is told of, while the node's side stays right."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.models.kernel import RT_PROTOCOL
from tests.e2e.conftest import MakeHost
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.paces import attach_s, repair_s
from tests.e2e.tenants import fill_with_addresses, fill_with_routes, renewing
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, condition, detach, refused, v4

RTPROT_STATIC = 4
MOST_LONGER = 5.0
"""How many times as long innocents may wait; it is some hundred times where the loop reads all there is."""

Fill = Callable[[Host], None]


@pytest.fixture
def mallory(make_host: MakeHost) -> Host:
    return make_host("mallory")


def many_routes(tenant: Host) -> None:
    fill_with_routes(tenant, 5_000)


def many_addresses(tenant: Host) -> None:
    fill_with_addresses(tenant, 3_000)


async def _too_large(client: AsyncClient) -> bool:
    return condition(await client.get("mallory"), "TooLarge") is not None


@pytest.mark.parametrize(
    ("fill", "flush"),
    [(many_routes, "-4 route flush root 20.0.0.0/8"), (many_addresses, "-4 address flush to 30.0.0.0/8")],
)
async def test_what_is_too_large_is_told_and_the_nodes_side_stays_right(
    daemon: Daemon, client: AsyncClient, node: Host, mallory: Host, fill: Fill, flush: str
) -> None:
    """With more inside than is ever read of it the attachment is attached and not in sync, and says so; the node's
    side of it is repaired. When it is less again, the workload's side is too."""
    address = v4(await client.attach(attach(mallory)))
    with daemon.held():  # else what is marked as ours is taken away as it comes, and is never so much
        fill(mallory)
    await until(lambda: _too_large(client), "it is told", within_s=75)
    assert (await client.get("mallory")).phase == "Attached"
    assert not (await client.check("mallory")).in_sync
    with refused(grpc.StatusCode.UNAVAILABLE, "more"):
        await client.attach(attach(mallory, labels={"asked": "again"}), timeout_s=30)
    node.ip(f"-4 route delete {address}")
    await until(lambda: node.route(address) is not None, "the node's side is repaired", within_s=70)
    mallory.run(f"ip {flush}", within_s=60)
    mallory.ip("-4 route delete default")

    async def over() -> bool:
        return (await client.check("mallory")).in_sync and not await _too_large(client)

    await until(over, "all is in sync again", within_s=90)
    assert mallory.default_route(4) is not None


@pytest.mark.parametrize(
    ("if_name", "protocol"), [("eth0", RT_PROTOCOL), ("lo", RTPROT_STATIC)], ids=["marked as ours", "elsewhere"]
)
async def test_others_do_not_wait_for_what_one_holds(
    client: AsyncClient, web: Host, db: Host, mallory: Host, if_name: str, protocol: int
) -> None:
    """A hundred thousand routes, and changes all the time: others are attached and repaired as quickly as before."""
    address = v4(await client.attach(attach(web)))
    await client.attach(attach(mallory))
    quiet = await attach_s(client, db), await repair_s(web, address)
    fill_with_routes(mallory, 100_000, if_name, protocol)
    with renewing(mallory, protocol=RTPROT_STATIC):
        busy = await attach_s(client, db), await repair_s(web, address)
    assert condition(await client.get("web"), "TooLarge") is None
    await client.detach(detach(mallory.name, mallory.path), timeout_s=60)
    again = await attach_s(client, db), await repair_s(web, address)  # the machine may have less left than before
    times = [during / max(alone) for during, *alone in zip(busy, quiet, again, strict=True)]
    print(f"{times[0]:.1f} times an Attach, {times[1]:.1f} times a repair")
    assert max(times) <= MOST_LONGER
