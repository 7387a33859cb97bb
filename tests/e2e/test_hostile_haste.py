"""Clients that give up at once, stall, or take every descriptor: others wait hardly longer, and repairs go on."""

from __future__ import annotations

import asyncio
import time
from statistics import median

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.cni.wire import socket_path
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.paces import attach_s, repairs_s
from tests.e2e.processes import resident_bytes
from tests.e2e.runtimes import Container, Runtime
from tests.e2e.strangers import hasty, hoarding, knocking, stalling
from tests.e2e.wishes import attach, v4
from tests.footprint import cpu_s

HASTE_S = 4.0
ADDS = 7
ADD_MOST_S = 30.0  # of one that meets EMFILE in its pass and is tried again; it was for as long as nothing was free
TIMES_MOST = 10.0  # they take processors from everybody, on a machine that may have two; it was hundreds
FREE_S = 0.1
GROWTH_MOST_BYTES = 48 << 20
LINES_MOST = 200
CPU_MOST = 0.3


@pytest.mark.parametrize("how", ["deadline", "cancel"])
async def test_clients_that_give_up_at_once_hold_up_nobody(
    daemon: Daemon, client: AsyncClient, web: Host, db: Host, how: str
) -> None:
    """What nobody waits for any more is not worked for, and not kept."""
    quiet_s = await attach_s(client, db)
    before = resident_bytes(daemon)
    with hasty(daemon.socket, web, how):
        await asyncio.sleep(HASTE_S)
        meanwhile_s = await attach_s(client, db)
        grown = resident_bytes(daemon) - before
    print(f"Attach: {quiet_s * 1e3:.1f} ms, beside haste {meanwhile_s * 1e3:.1f} ms; {grown >> 20} MiB more")
    assert meanwhile_s < quiet_s * TIMES_MOST + FREE_S
    assert grown < GROWTH_MOST_BYTES


async def test_plugins_that_stall_cost_little_and_hold_up_nobody(daemon: Daemon, client: AsyncClient, db: Host) -> None:
    """Three hundred that send most of four MiB each."""
    before = resident_bytes(daemon)
    quiet_s = await attach_s(client, db)
    with stalling(daemon):
        meanwhile_s = await attach_s(client, db)
        grown = resident_bytes(daemon) - before
    print(f"Attach: {quiet_s * 1e3:.1f} ms, beside those that stall {meanwhile_s * 1e3:.1f} ms; {grown >> 20} MiB more")
    assert meanwhile_s < quiet_s * TIMES_MOST + FREE_S
    assert grown < 2 * GROWTH_MOST_BYTES


@pytest.mark.parametrize("which", ["plugin", "grpc"])
async def test_those_who_come_and_go_hold_up_nobody(
    daemon: Daemon, client: AsyncClient, db: Host, runtime: Runtime, which: str
) -> None:
    """Three hundred that connect and are gone again, all the time, to either socket: others' Attach and ADD."""
    container = runtime.container("c1", db)
    quiet_s = await attach_s(client, db), await _add_s(container)
    with knocking(daemon.socket if which == "grpc" else socket_path(daemon.socket)):
        await asyncio.sleep(1)
        meanwhile_s = await attach_s(client, db), await _add_s(container)
    for what, quiet, meanwhile in zip(("Attach", "ADD"), quiet_s, meanwhile_s, strict=True):
        print(f"{what}: {quiet * 1e3:.1f} ms, beside those who knock {meanwhile * 1e3:.1f} ms")
        assert meanwhile < quiet * TIMES_MOST + FREE_S


async def _add_s(container: Container, adds: int = ADDS) -> float:
    took = []
    for _ in range(adds):
        began = time.perf_counter()
        (await asyncio.to_thread(container.add)).result()
        took.append(time.perf_counter() - began)
        (await asyncio.to_thread(container.delete)).succeeded()
    return median(took)


async def test_repairs_go_on_where_no_descriptor_is_free(
    daemon: Daemon, client: AsyncClient, web: Host, db: Host, runtime: Runtime
) -> None:
    """Some are kept back for them, and one for who has something to say to the plugin's socket. The daemon says what is
    wrong, a few times, and is idle otherwise."""
    address = v4(await client.attach(attach(web)))
    with hoarding(daemon):
        await asyncio.sleep(1)
        lines, spent_s = len(daemon.logged().splitlines()), cpu_s(daemon.process.pid)
        took = await repairs_s(web, address)
        await asyncio.sleep(3)
        share = (cpu_s(daemon.process.pid) - spent_s) / 3
        said = daemon.logged().splitlines()[lines:]
        add_s = await _add_s(runtime.container("c1", db), 1)
    assert max(took) < 5
    assert add_s < ADD_MOST_S
    assert any("Too many open files" in line or "File descriptor limit" in line for line in said)
    assert len(said) < LINES_MOST
    assert share < CPU_MOST
    await asyncio.sleep(1)
    assert (await client.check("web")).in_sync
