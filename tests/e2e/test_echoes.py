"""What the loop's work costs, counted in passes: the echoes of its own changes must not cause more of them."""

from __future__ import annotations

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e.conftest import MakeHost
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, detach

ATTACHMENTS = 20


async def test_an_attachment_costs_one_pass(client: AsyncClient, make_host: MakeHost) -> None:
    """What the kernel tells of an attach, of its late consequences too, marks nothing."""
    hosts = [make_host(f"w{number}") for number in range(ATTACHMENTS)]
    await _quiet(client)
    before = (await client.status()).counters.passes
    for host in hosts:
        await client.attach(attach(host))
    await _quiet(client)
    assert (await client.status()).counters.passes == before + ATTACHMENTS


async def test_an_attachment_that_comes_again_costs_one_pass(client: AsyncClient, make_host: MakeHost) -> None:
    """What the kernel told of its namespace while nobody was attached there is no reason to look at it."""
    hosts = [make_host(f"w{number}") for number in range(3)]
    for host in hosts:
        await client.attach(attach(host))
        await client.detach(detach(host.name))
    await _quiet(client)
    before = (await client.status()).counters.passes
    for host in hosts:
        await client.attach(attach(host))
    await _quiet(client)
    assert (await client.status()).counters.passes == before + len(hosts)


async def test_a_detach_wakes_no_other_attachment(client: AsyncClient, make_host: MakeHost) -> None:
    """Removing one interface costs the others no pass."""
    for number in range(3):
        await client.attach(attach(make_host(f"w{number}")))
    await _quiet(client)
    before = (await client.status()).counters.passes
    await client.detach(detach("w0"))
    await _quiet(client)
    assert (await client.status()).counters.passes == before


async def _quiet(client: AsyncClient) -> None:
    """Until the daemon has heard nothing and done nothing between two looks."""
    seen: list[tuple[int, int]] = []

    async def unchanged() -> bool:
        counters = (await client.status()).counters
        seen.append((counters.passes, counters.events))
        return len(seen) > 5 and len(set(seen[-5:])) == 1

    await until(unchanged, "the daemon is quiet")
