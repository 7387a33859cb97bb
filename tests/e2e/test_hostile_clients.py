"""Clients that connect and stall, send half of something, vanish in the middle, or never read: others are served on,
and in the end nothing of them is left."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from random import Random
from statistics import median

import grpc

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.client.errors import ClientError
from netplumb.api.server.servicer import STREAMS_MAX
from tests.e2e.daemons import Daemon
from tests.e2e.frames import (
    DATA,
    END_HEADERS,
    HEADERS,
    OPENING,
    PREFACE,
    call,
    call_headers,
    frame,
    message,
    said,
)
from tests.e2e.hosts import Host, kernel_state
from tests.e2e.processes import descriptors_when_connected, let_go, resident_bytes
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, detach

CLIENTS = 64
ROUNDS = 30
SERVED_WITHIN_S = 20.0  # what no client may wait for, on however busy a machine; the measured times are printed
PORTS_WITHIN_S = 60.0
CHURN = 200
WATCHER_MAX_BYTES = 32 << 20


async def _rounds(client: AsyncClient, web: Host, rounds: int = ROUNDS) -> list[float]:
    """Attach and detach again and again; the seconds that each pair of calls took."""
    took = []
    for _ in range(rounds):
        began = time.monotonic()
        async with asyncio.timeout(SERVED_WITHIN_S):
            answer = await client.attach(attach(web))
            await client.detach(detach("web"))
        took.append(time.monotonic() - began)
        assert answer.attachment.phase == "Attached"
    return took


def _in_ms(what: str, took: list[float]) -> str:
    return f"{what}: median {median(took) * 1000:.1f} ms, worst {max(took) * 1000:.1f} ms"


def _stalling(daemon: Daemon) -> Iterator[socket.socket]:
    """Connections that stop in the middle of something, each kind in turn."""
    half = message(attach("/run/netns/nobody").SerializeToString())[:20]
    begun = OPENING + frame(HEADERS, call_headers("Attach"), flags=END_HEADERS, stream=1)
    starts = (
        b"",
        PREFACE[:5],
        OPENING,
        begun,
        begun + frame(DATA, half, stream=1),
        b"\xff" * 100,
        OPENING + call("Watch", b""),
    )
    while True:
        for start in starts:
            yield said(daemon.socket, start)


async def test_clients_that_stall_hold_up_nobody(daemon: Daemon, client: AsyncClient, node: Host, web: Host) -> None:
    """Beside 64 connections that say nothing, half of something or garbage, and stay, another client is served as
    before; when they go, their descriptors go."""
    before = await descriptors_when_connected(daemon, client)
    alone = await _rounds(client, web)
    with ExitStack() as stack:
        stalling = _stalling(daemon)
        for _ in range(CLIENTS):
            stack.enter_context(await asyncio.to_thread(next, stalling))
        beside = await _rounds(client, web)
    print(_in_ms("alone", alone), _in_ms(f"beside {CLIENTS} stalled clients", beside), sep="; ")
    await let_go(daemon, before)


async def test_clients_that_send_garbage_hold_up_nobody(daemon: Daemon, client: AsyncClient, web: Host) -> None:
    """64 clients that connect, send garbage and go, again and again while another one is served."""
    before = await descriptors_when_connected(daemon, client)
    ending = asyncio.Event()
    sent = 0

    def send(random: Random) -> None:
        start = random.choice((b"", PREFACE, OPENING, OPENING + call("Attach", random.randbytes(50))))
        said(daemon.socket, start + random.randbytes(200).replace(b"\xff", b"")).close()

    async def garbage(number: int) -> None:
        nonlocal sent
        random = Random(number)
        while not ending.is_set():
            await asyncio.to_thread(send, random)
            sent += 1
            await asyncio.sleep(random.random() / 2)  # the machine's few processors are not what is tested

    senders = [asyncio.ensure_future(garbage(number)) for number in range(CLIENTS)]
    beside = await _rounds(client, web)
    ending.set()
    await asyncio.gather(*senders)
    print(_in_ms(f"beside {sent} connections with garbage", beside))
    assert sent >= CLIENTS
    await let_go(daemon, before)


async def test_clients_that_vanish_in_the_middle_leave_nothing(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host
) -> None:
    """64 clients that are gone as soon as they have asked, in Attach, Detach, Plan and Watch: what they asked for may
    be done or not, others are served, and what is taken back leaves the kernel as it was."""
    for host in (web, db):
        host.ip("link set lo up")  # an Attach does so, and a Detach leaves it up
    kernel, before = kernel_state(node, web, db), await descriptors_when_connected(daemon, client)
    asked = (
        ("Attach", attach(db, "vanished")),
        ("Watch", b""),
        ("Detach", detach("vanished")),
        ("Attach", attach(db, "vanished-2", if_name="eth1")),
        ("Plan", b""),
    )
    for number in range(CLIENTS):
        method, request = asked[number % len(asked)]
        gone = await asyncio.to_thread(said, daemon.socket, OPENING + call(method, request))
        if number % 3 == 0:
            await asyncio.sleep(0.002)  # some a moment later, in the middle of a pass
        gone.close()
        if number % 16 == 0:
            await _rounds(client, web, 1)
    await _rounds(client, web)
    await client.gc([])
    assert [it async for it in client.list()] == []
    await until(lambda: kernel_state(node, web, db) == kernel, "the kernel is as it was", within_s=20)
    await let_go(daemon, before)
    assert "Traceback" not in daemon.logged()


async def test_a_watcher_that_never_reads_costs_little(daemon: Daemon, client: AsyncClient, web: Host) -> None:
    """While hundreds of attachments come and go unread, the others are served and memory does not grow with them; the
    stream ends with its connection."""
    before = await descriptors_when_connected(daemon, client)
    await _rounds(client, web, 20)
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(await asyncio.to_thread(said, daemon.socket, OPENING + call("Watch", b"")))
        memory = resident_bytes(daemon)
        for number in range(CHURN):
            async with asyncio.timeout(SERVED_WITHIN_S):
                await client.attach(attach(web, f"passing-{number}", labels={"x": "y" * 1000}))
                await client.detach(detach(f"passing-{number}"))
        grown = resident_bytes(daemon) - memory
    print(f"{CHURN} attachments passed 8 watchers that do not read: {grown >> 10} KiB")
    assert grown < WATCHER_MAX_BYTES
    await let_go(daemon, before)


async def test_watches_are_limited_and_given_back(daemon: Daemon, client: AsyncClient, web: Host) -> None:
    """Past the limit a Watch is refused, while everything else is served; those that vanish make room."""
    before = await descriptors_when_connected(daemon, client)
    with ExitStack() as stack:
        for _ in range(STREAMS_MAX // 32):
            streams = b"".join(call("Watch", b"", stream=stream) for stream in range(1, 64, 2))
            stack.enter_context(await asyncio.to_thread(said, daemon.socket, OPENING + streams))

        async def full() -> bool:
            """One that got in before them had the place of one of them."""
            if refused := await _refused_watch(client):
                return refused
            stack.enter_context(await asyncio.to_thread(said, daemon.socket, OPENING + call("Watch", b"")))
            return False

        await until(full, "one more is refused", within_s=20)
        print(_in_ms(f"beside {STREAMS_MAX} watches", await _rounds(client, web)))

    async def welcome() -> bool:
        return not await _refused_watch(client)

    await until(welcome, "there is room again", within_s=20)
    await let_go(daemon, before)


async def _refused_watch(client: AsyncClient) -> bool:
    watch = client.watch()
    try:
        await anext(watch)
    except ClientError as error:
        return error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    await watch.aclose()  # type: ignore[attr-defined]
    return False


async def test_who_asks_for_very_many_ports_holds_up_nobody(
    daemon: Daemon, client: AsyncClient, web: Host, db: Host
) -> None:
    """Also not the first time, when nobody knows yet how long that takes."""
    took = []
    async with daemon.client(PORTS_WITHIN_S) as other:
        began = time.monotonic()
        large = asyncio.create_task(other.attach(attach(db, ports=("10000-29999:10000-29999",))))
        while not large.done():
            took += await _rounds(client, web, 1)
        await large
        large_s = time.monotonic() - began
    print(_in_ms(f"beside one of {large_s:.1f} s", took))
    assert max(took) < large_s / 4


async def test_clients_that_hang_up_leave_others_their_own_answers(
    daemon: Daemon, client: AsyncClient, web: Host, db: Host
) -> None:
    """Plans that are cancelled while the kernel is read disturb no Check: each tells of its own attachment, and of no
    fault."""
    hosts = {"web": web, "db": db}
    for host in hosts.values():
        await client.attach(attach(host))

    async def hang_up() -> None:
        async with daemon.client() as hasty:
            for pause_s in range(40):
                asking = asyncio.ensure_future(hasty.plan())
                await asyncio.sleep(pause_s / 4000)
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)

    async def checked(name: str) -> None:
        for _ in range(40):
            found = await client.check(name)
            assert (found.in_sync, found.attachment.workload_id) == (True, name), found.differences

    await asyncio.gather(hang_up(), hang_up(), hang_up(), *(checked(name) for name in hosts for _ in range(3)))
    assert "Traceback" not in daemon.logged()
