"""Faults of the machine: a clock that is set, a daemon that is stopped and goes on, a store put back from a backup,
little memory."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e.clockeddaemons import ClockedDaemon
from tests.e2e.conftest import MakeHost
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.losses import all_attached, files_of, listed, store_of
from tests.e2e.paces import repairs_s
from tests.e2e.statefiles import declare, document
from tests.e2e.strangers import stalling
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, detach, v4

HOUR_S = 3600
PAUSE_S = [pytest.param(8), pytest.param(180, marks=[pytest.mark.sweep, pytest.mark.timeout(400)])]
MEMORY_FREE_BYTES = 160 << 20


@pytest.fixture
def clocked(node: Host, directory: Path) -> Iterator[ClockedDaemon]:
    daemon = ClockedDaemon(node, directory / "clocked")
    yield daemon
    daemon.end()


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_clock_that_is_set_changes_nothing(clocked: ClockedDaemon, web: Host, db: Host, hours: int) -> None:
    """The daemon is healthy all the time, repairs and serves at once, and what waits for its next try does not wait an
    hour for it."""
    await clocked.start()
    async with clocked.client() as client:
        address = v4(await client.attach(attach(web)))
        db.ip("link add eth0 type veth peer name theirs")
        declare(clocked, "db.yaml", document("db", db))
        await until(lambda: _phase(client, "db", "Failed"), "db waits for a name that is taken")
        await until(lambda: _is_serving(clocked), "it is healthy")
        with _health_watched(clocked) as seen:
            clocked.set_clock(hours * HOUR_S)
            assert max(await repairs_s(web, address)) < 5
            await client.detach(detach("web"))
            await client.attach(attach(web))
            db.ip("link delete eth0")
            await until(lambda: _phase(client, "db", "Attached"), "db is attached", within_s=40)
            await asyncio.sleep(2)
        assert await seen == {True}


async def _phase(client: AsyncClient, workload_id: str, phase: str) -> bool:
    return workload_id in (found := await listed(client)) and found[workload_id].phase == phase


async def _is_serving(daemon: Daemon) -> bool:
    async with grpc.aio.insecure_channel(f"unix:{daemon.socket}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        found = (await stub.Check(health_pb2.HealthCheckRequest())).status
        return bool(found == health_pb2.HealthCheckResponse.SERVING)


@contextmanager
def _health_watched(daemon: Daemon) -> Iterator[asyncio.Future[set[bool]]]:
    """What gRPC's health says meanwhile, all of it, once this ends."""
    ended = asyncio.Event()

    async def watch() -> set[bool]:
        seen = set[bool]()
        while not ended.is_set():
            seen.add(await _is_serving(daemon))
            await asyncio.sleep(0.05)
        return seen

    task = asyncio.ensure_future(watch())
    yield task
    ended.set()


@pytest.mark.parametrize("pause_s", PAUSE_S)
async def test_a_daemon_that_was_stopped_goes_on(
    daemon: Daemon, client: AsyncClient, node: Host, make_host: MakeHost, pause_s: float
) -> None:
    """As by a debugger, or a machine that slept: what was damaged meanwhile is repaired, a workload that went is known
    to be lost, and a client that called meanwhile is answered."""
    web, db, gone, late = (make_host(name) for name in ("web", "db", "gone", "late"))
    addresses = {host.name: v4(await client.attach(attach(host))) for host in (web, db, gone)}
    daemon.pause()
    web.run("ip route flush table main")
    node.ip(f"-4 route delete {addresses['db']}")
    gone.remove()
    for number in range(50):
        node.ip(f"link add passing type veth peer name by{number}")
        node.ip("link delete passing")
    waiting = asyncio.ensure_future(client.attach(attach(late), timeout_s=pause_s + 60))
    await asyncio.sleep(pause_s)
    assert not waiting.done()
    daemon.resume()
    assert (await waiting).attachment.phase == "Attached"
    await until(lambda: _all_in_sync(client, {"web", "db", "late"}), "all is as it should be", within_s=20)
    assert (await client.get("gone")).phase == "Lost"
    assert web.ping(addresses["db"])
    gone.create()


async def _all_in_sync(client: AsyncClient, names: set[str]) -> bool:
    reports = await client.check_all()
    return {report.attachment.workload_id for report in reports if report.in_sync} == names | {""}


async def test_an_older_store_is_what_is_desired(daemon: Daemon, web: Host, db: Host, make_host: MakeHost) -> None:
    """Put back from a backup while the daemon is down: what it tells is made true, as far as there are namespaces, and
    what it does not tell of is taken away. No address is given to two."""
    old, new = make_host("old"), make_host("new")
    async with daemon.client() as client:
        for host in (web, old):
            await client.attach(attach(host))
    daemon.terminate()
    backup = daemon.directory / "backup"
    backup.mkdir()
    for file in files_of(store_of(daemon)):
        shutil.copy(file, backup)
    await daemon.start()
    async with daemon.client() as client:
        await client.detach(detach("old"))
        for host in (new, db):
            await client.attach(attach(host))
    daemon.kill9()
    for file in files_of(store_of(daemon)):
        file.unlink()
    for file in backup.iterdir():
        shutil.copy(file, daemon.data_dir)
    await daemon.start()
    async with daemon.client() as client:
        await until(lambda: all_attached(client, 2), "what the backup tells of is attached")
        await until(lambda: "eth0" not in new.links(), "what it does not tell of is gone")
        answers = [await client.attach(attach(host)) for host in (new, db)]
        given = [it for found in (await listed(client)).values() for it in found.addresses]
        assert len(set(given)) == len(given) == 8
        await until(lambda: _all_in_sync(client, {"web", "old", "new", "db"}), "all is as it should be")
        assert web.ping(v4(answers[0]))


@pytest.mark.sweep
@pytest.mark.timeout(600)
async def test_little_memory_is_enough(daemon: Daemon, client: AsyncClient, web: Host, db: Host) -> None:
    """In a cgroup that leaves it so much, three hundred plugins that stall and a thousand Attaches do not have it
    killed."""
    await client.attach(attach(web))
    with _memory_limited(daemon.process.pid, MEMORY_FREE_BYTES), stalling(daemon):
        for _ in range(1000):
            await client.attach(attach(db))
            await client.detach(detach("db"))
        assert daemon.running
    assert (await client.check("web")).in_sync


@contextmanager
def _memory_limited(pid: int, free_bytes: int) -> Iterator[None]:
    """What it uses now and so much more. Either version of cgroups; it wants root on the machine."""
    first = Path("/sys/fs/cgroup/memory")
    root, name = (first, "memory.limit_in_bytes") if first.is_dir() else (Path("/sys/fs/cgroup"), "memory.max")
    group = root / f"netplumb-test-{pid}"
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(pid))
        used = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
        (group / name).write_text(str(used + free_bytes))
        yield
    finally:
        with suppress(ProcessLookupError):  # it was killed
            (root / "cgroup.procs").write_text(str(pid))
        group.rmdir()
