"""Clients that give up at once, stall, or take every descriptor: others wait hardly longer, and repairs go on."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from statistics import median

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.cni.wire import socket_path
from netplumb.api.server.server import HANDSHAKE_WITHIN_MS
from netplumb.reconciler.kernel.descriptors import KEPT
from tests.e2e.daemons import INSTALLED, Daemon
from tests.e2e.hosts import Host
from tests.e2e.paces import attach_s, repairs_s
from tests.e2e.processes import resident_bytes
from tests.e2e.runtimes import Container, Runtime, installed
from tests.e2e.strangers import connecting, hasty, hoarding, knocking, stalling
from tests.e2e.wishes import attach, v4
from tests.footprint import cpu_s, footprint

HASTE_S = 4.0
ADDS = 7
ADD_MOST_S = 3.0  # on a busy machine; it was half a second for each that was connected before
FEW_DESCRIPTORS = 256
CONNECTED = 400
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
    """Three hundred that send most of two MiB each."""
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


@pytest.mark.parametrize("left", [1, 8, 20])
async def test_repairs_go_on_where_no_descriptor_is_free(
    daemon: Daemon, client: AsyncClient, web: Host, db: Host, runtime: Runtime, left: int
) -> None:
    """Some are kept back for them, and for those who have something to say to the plugin's socket, however many were
    left when others came. The daemon says what is wrong, a few times, and is idle otherwise."""
    address = v4(await client.attach(attach(web)))
    container = runtime.container("c1", db)
    lines = len(daemon.logged().splitlines())
    with hoarding(daemon, left):
        at_once_s = await _add_s(container, 1)
        await asyncio.sleep(1)
        spent_s = cpu_s(daemon.process.pid)
        took = await repairs_s(web, address)
        await asyncio.sleep(3)
        share = (cpu_s(daemon.process.pid) - spent_s) / 3
        said = daemon.logged().splitlines()[lines:]
        add_s = await _add_s(container)
    print(f"ADD: {at_once_s * 1e3:.0f} ms at once, {add_s * 1e3:.0f} ms later")
    assert max(took) < 5
    assert max(at_once_s, add_s) < ADD_MOST_S
    assert any("Too many open files" in line or "File descriptor limit" in line for line in said)
    assert len(said) < LINES_MOST
    assert share < CPU_MOST
    await asyncio.sleep(1)
    assert (await client.check("web")).in_sync


async def test_those_who_connect_and_say_nothing_leave_descriptors_for_others(
    node: Host, directory: Path, db: Host
) -> None:
    """Of all that a daemon may open, either socket gives connections a share. On that of the plugin who says nothing
    makes room at once, on that of gRPC within its time for a handshake; whatever else opens descriptors notices
    nothing."""
    daemon = Daemon(node, directory / "few", program=("prlimit", f"--nofile={FEW_DESCRIPTORS}", *INSTALLED))
    await daemon.start()
    try:
        container = Runtime(node, installed(daemon)).container("c1", db)
        with connecting(daemon, CONNECTED):
            await asyncio.sleep(1)
            assert footprint(daemon.process.pid).fds < FEW_DESCRIPTORS - KEPT
            add_s = await _add_s(container, 1)
            await asyncio.sleep(HANDSHAKE_WITHIN_MS / 1000)
            async with daemon.client() as client:
                attach_took_s = await attach_s(client, db, calls=3)
        assert "Too many open files" not in daemon.logged()
    finally:
        daemon.end()
    print(f"ADD: {add_s * 1e3:.0f} ms, Attach: {attach_took_s * 1e3:.0f} ms")
    assert add_s < ADD_MOST_S
