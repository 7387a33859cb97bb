"""How long innocents wait, before and while something goes on: figures of one run, to be compared with each other."""

from __future__ import annotations

import asyncio
import time
from ipaddress import ip_address
from statistics import median
from typing import Any

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.models.kernel import FIRST_HOP_V4, RT_SCOPE_LINK, Route, Scope
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.rtnetlink import dumps, encode
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt
from tests.e2e.hosts import Host
from tests.e2e.tenants import IF_NAME, channel_in
from tests.e2e.wishes import attach, detach

CALLS = 25
REPAIRS = 4  # twice that in a row is no fight yet


async def attach_s(client: AsyncClient, workload: Host, **wish: Any) -> float:
    """The median of some Attaches, each of a workload that is not attached."""
    return median(await attaches_s(client, workload, **wish))


async def attaches_s(client: AsyncClient, workload: Host, calls: int = CALLS, **wish: Any) -> list[float]:
    took = []
    for _ in range(calls):
        began = time.perf_counter()
        await client.attach(attach(workload, **wish), timeout_s=60)
        took.append(time.perf_counter() - began)
        await client.detach(detach(workload.name, workload.path), timeout_s=60)
    return took


async def repair_s(workload: Host, address: str) -> float:
    """The median of some repairs of the workload's side, of its route to the first hop."""
    return median(await repairs_s(workload, address))


async def repairs_s(workload: Host, address: str, calls: int = REPAIRS) -> list[float]:
    channel, index = channel_in(workload)
    hop = Route(Scope.WORKLOAD, FIRST_HOP_V4, 32, IF_NAME, prefsrc=ip_address(address).packed, rt_scope=RT_SCOPE_LINK)
    took = []
    with channel:
        for _ in range(calls):
            channel.transact(encode.delete_route(hop, index))
            began = time.perf_counter()
            while not any(route.dst == FIRST_HOP_V4 for route in _routes(channel, index)):
                assert time.perf_counter() - began < 20, "the route was not repaired"
                await asyncio.sleep(0.0005)
            took.append(time.perf_counter() - began)
    return took


def _routes(channel: Channel, index: int) -> list[Route]:
    body = encode.dump_routes(rt.AF_INET, index=index)
    return dumps.routes(channel, body, Scope.WORKLOAD, {index: IF_NAME})
