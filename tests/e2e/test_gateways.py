"""A gateway that does not answer: the node is as it should be, nothing gets out, and the daemon says why."""

from __future__ import annotations

import asyncio

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.reconciler.watch.gateways import LOOK_AGAIN_S
from tests.e2e.conftest import OUTSIDE_V4, OUTSIDE_V6, UPLINK
from tests.e2e.echoes import ask, serving
from tests.e2e.hosts import Host
from tests.e2e.waiting import until
from tests.e2e.wishes import attach
from tests.sweeps import swept

PORT = 9500
WITHIN_S = 30.0  # the kernel's own tries, and two looks
BEYOND = {4: "203.0.113.7", 6: "2001:db8:7::7"}


async def silent(client: AsyncClient) -> str:
    conditions = (await client.status()).conditions
    return next((it.message for it in conditions if it.type == "GatewaySilent" and it.status), "")


async def events(client: AsyncClient) -> list[str]:
    return [it.message async for it in client.events() if it.kind in ("GatewaySilent", "GatewayAnswers")]


SILENT = swept([(4, OUTSIDE_V4, 24), (6, OUTSIDE_V6, 64)], lambda _: "a gateway", lambda it: f"IPv{it[0]}")


@pytest.mark.parametrize(("version", "gateway", "length"), SILENT)
async def test_a_gateway_that_falls_silent_is_told_until_it_answers(
    client: AsyncClient, node: Host, outside: Host, web: Host, version: int, gateway: str, length: int
) -> None:
    """Once somebody needs it; an idle one is left alone. The node's own state stays in sync."""
    await client.attach(attach(web))
    outside.ip(f"address add {BEYOND[version]} dev lo")
    with serving(outside, PORT):
        assert ask(web, BEYOND[version], PORT)
        outside.ip(f"address del {gateway}/{length} dev eth0")
        node.ip(f"neighbour flush dev {UPLINK}")
        await asyncio.sleep(2 * LOOK_AGAIN_S)
        assert not await silent(client)
        assert ask(web, BEYOND[version], PORT) is None
        await until(lambda: silent(client), "it is told", within_s=WITHIN_S)
        assert f"the gateway {gateway} on {UPLINK} does not answer" in await silent(client)
        assert (await client.check("web")).in_sync
        outside.ip(f"address add {gateway}/{length} dev eth0{' nodad' if version == 6 else ''}")

        async def over() -> bool:
            return not await silent(client)

        await until(over, "it is over", within_s=WITHIN_S)
        assert ask(web, BEYOND[version], PORT)
    said = await events(client)
    assert len(said) == 2
    assert "does not answer" in said[0]
    assert said[1] == f"the gateway {gateway} on {UPLINK} answers again"


async def test_a_silent_gateway_that_is_given_up_is_told_of_no_more(
    client: AsyncClient, node: Host, outside: Host, web: Host
) -> None:
    """Another default route takes its place; and one behind the best never counted."""
    await client.attach(attach(web))
    node.ip(f"route add default via 192.0.2.78 dev {UPLINK} metric 200")
    node.ip(f"route del default via {OUTSIDE_V4}")
    node.ip(f"route add default via 192.0.2.77 dev {UPLINK}")
    assert not web.ping(BEYOND[4])
    await until(lambda: silent(client), "it is told", within_s=WITHIN_S)
    assert "192.0.2.77" in await silent(client)
    assert "192.0.2.78" not in await silent(client)
    node.ip("route del default via 192.0.2.77")
    node.ip(f"route add default via {OUTSIDE_V4}")

    async def over() -> bool:
        return not await silent(client)

    await until(over, "it is over", within_s=WITHIN_S)
