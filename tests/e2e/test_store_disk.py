"""The disk under the store is full, or read-only: nothing new is promised, and what runs is kept as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from tests.e2e.conftest import MakeHost, StartDaemon
from tests.e2e.daemons import Daemon
from tests.e2e.disks import Disk, small_disk
from tests.e2e.hosts import Host, kernel_state
from tests.e2e.losses import all_attached, listed
from tests.e2e.statefiles import declare, document
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, detach, refused, v4

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def disk(directory: Path) -> Iterator[Disk]:
    """The disk on which the first daemon of the test has its data."""
    with small_disk(directory / "0" / "data") as made:
        yield made


async def is_repaired(node: Host, host: Host, address: str) -> None:
    """Damage to an attachment goes away by itself."""
    node.ip(f"-4 route delete {address}")
    await until(lambda: node.route(address) is not None, "the route is back")
    node.run("nft flush ruleset")
    await until(lambda: "table inet netplumb {" in node.ruleset(), "the rules are back")
    assert node.ping(address)
    assert host.ping("192.0.2.2")


async def test_a_full_disk_refuses_what_is_new_and_keeps_what_runs(
    disk: Disk, start_daemon: StartDaemon, node: Host, web: Host, db: Host, make_host: MakeHost
) -> None:
    """Attach and Detach are refused with the cause and change nothing, what runs is repaired, a state file's wish waits
    and says why; with room again all of it works, and no address was used up meanwhile."""
    daemon = await start_daemon()
    filed = make_host("filed")
    async with daemon.client() as client:
        first = await client.attach(attach(web))
        disk.fill()
        before = kernel_state(node, web, db)
        for _ in range(3):
            with refused(UNAVAILABLE, "cannot be written", "full", "nothing was changed"):
                await client.attach(attach(db))
            with refused(UNAVAILABLE, "nothing was changed"):
                await client.attach(attach(web, labels={"app": "new"}))
            with refused(UNAVAILABLE, "nothing was changed"):
                await client.detach(detach("web"))
            with refused(UNAVAILABLE, "nothing was changed"):
                await client.gc([])
        declare(daemon, "a.yaml", document("filed", filed))

        async def told() -> bool:
            return any("cannot be written" in it.message for it in (await client.status()).conditions)

        await until(told, "the file's condition says why")
        assert kernel_state(node, web, db) == before
        assert list(await listed(client)) == ["web"]
        assert (await client.status()).ready
        await is_repaired(node, web, v4(first))
        disk.clear()
        await until(lambda: all_attached(client, 2), "the file's wish has come true", within_s=10)
        second = await client.attach(attach(db))
        assert v4(second) == "10.213.0.4"
        await client.detach(detach("web"))
        assert set(await listed(client)) == {"db", "filed"}


@pytest.mark.parametrize("end", [Daemon.kill9, Daemon.terminate], ids=["killed", "stopped"])
async def test_a_full_disk_does_not_keep_a_daemon_from_starting(
    disk: Disk, start_daemon: StartDaemon, node: Host, web: Host, db: Host, end: Callable[[Daemon], object]
) -> None:
    """It takes the store for what it is and not for damaged, repairs, refuses, and goes on when there is room."""
    daemon = await start_daemon()
    async with daemon.client() as client:
        first = await client.attach(attach(web, labels={"app": "web"}))
    before = kernel_state(node, web)
    end(daemon)
    disk.fill()
    await daemon.start()
    async with daemon.client() as client:
        await until(lambda: all_attached(client, 1), "attached")
        assert dict((await client.get("web")).labels) == {"app": "web"}
        assert kernel_state(node, web) == before
        await is_repaired(node, web, v4(first))
        with refused(UNAVAILABLE, "cannot be written"):
            await client.attach(attach(db))
        disk.clear()
        await client.attach(attach(db))
    await daemon.restart()
    async with daemon.client() as client:
        await until(lambda: all_attached(client, 2), "both are attached")
    assert not list(disk.path.glob("*damaged*"))


@pytest.mark.parametrize("end", [Daemon.kill9, Daemon.terminate], ids=["killed", "stopped"])
async def test_a_read_only_disk_does_not_keep_a_daemon_from_repairing(
    disk: Disk, start_daemon: StartDaemon, node: Host, web: Host, db: Host, end: Callable[[Daemon], object]
) -> None:
    """As after an error of the file system: what was stored is read and kept true, nothing new is taken."""
    daemon = await start_daemon()
    async with daemon.client() as client:
        first = await client.attach(attach(web, labels={"app": "web"}))
    before = kernel_state(node, web)
    end(daemon)
    disk.remount(read_only=True)
    await daemon.start()
    async with daemon.client() as client:
        await until(lambda: all_attached(client, 1), "attached")
        assert dict((await client.get("web")).labels) == {"app": "web"}
        assert kernel_state(node, web) == before
        await is_repaired(node, web, v4(first))
        with refused(UNAVAILABLE, "cannot be written", "readonly"):
            await client.attach(attach(db))
        with refused(UNAVAILABLE, "cannot be written"):
            await client.detach(detach("web"))
        assert "eth0" not in db.links()
    daemon.terminate()
    disk.remount(read_only=False)
    await daemon.start()
    async with daemon.client() as client:
        await client.attach(attach(db))
        await until(lambda: all_attached(client, 2), "both are attached")


async def test_without_room_for_a_store_there_is_no_start(
    disk: Disk, start_daemon: StartDaemon, node: Host, web: Host
) -> None:
    """A store that would have to be rebuilt and cannot be written ends the start in one line, and changes nothing; with
    room the next one rebuilds it."""
    daemon = await start_daemon()
    async with daemon.client() as client:
        await client.attach(attach(web))
    before = kernel_state(node, web)
    daemon.kill9()
    for file in disk.path.glob("netplumb.db*"):
        file.unlink()
    disk.fill()
    done = daemon.command("daemon", f"--config={daemon.config}", f"--data-dir={disk.path}", "--log-level=error")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert str(disk.path) in line
    assert "full" in line
    assert kernel_state(node, web) == before
    disk.clear()
    await daemon.start()
    async with daemon.client() as client:
        await until(lambda: all_attached(client, 1), "attached")
    assert kernel_state(node, web) == before
