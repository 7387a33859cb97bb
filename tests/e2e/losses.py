"""Ways to lose a store while the daemon is down, and what is looked at after that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.v1 import netplumb_pb2 as pb
from tests.e2e.daemons import Daemon

Lose = Callable[[Path], None]


def delete(store: Path) -> None:
    for file in files_of(store):
        file.unlink()


def truncate(store: Path) -> None:
    """As a copy ends on a full disk."""
    for file in files_of(store):
        file.write_bytes(file.read_bytes()[:1000])


def empty(store: Path) -> None:
    for file in files_of(store):
        file.write_bytes(b"")


def overwrite(store: Path) -> None:
    """Garbage over the file and over SQLite's log of it, in which nearly all of it is after a kill."""
    for file in files_of(store):
        file.write_bytes(b"garbage " * (1 + file.stat().st_size // 8))


def cut_the_log(store: Path) -> None:
    """Takes the end off SQLite's log, where the last commits are; what is left is a sound store of an earlier time."""
    log = store.with_name(f"{store.name}-wal")
    log.write_bytes(log.read_bytes()[:-10_000])


LOSSES = (delete, truncate, empty, overwrite, cut_the_log)


def files_of(store: Path) -> list[Path]:
    return [file for file in store.parent.glob(f"{store.name}*") if file.suffix in (".db", ".db-wal", ".db-shm")]


def store_of(daemon: Daemon) -> Path:
    return daemon.data_dir / "netplumb.db"


async def start_without_store(daemon: Daemon, lose: Lose = delete) -> Daemon:
    """Kills the daemon if it runs, loses its store, and starts it."""
    daemon.kill9()
    lose(store_of(daemon))
    return await daemon.start()


async def store_rebuilt(client: AsyncClient) -> pb.Condition | None:
    """What Status says of the store."""
    status = await client.status()
    return next((found for found in status.conditions if found.type == "StoreRebuilt"), None)


async def listed(client: AsyncClient) -> dict[str, pb.Attachment]:
    return {found.workload_id: found async for found in client.list()}


async def all_attached(client: AsyncClient, count: int) -> bool:
    phases = [found.phase async for found in client.list()]
    return phases == ["Attached"] * count
