"""A directory of state files full of what it should not hold: each thing is told of, none is followed, opened or waited
on, and the one good file counts."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import grpc

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.client.errors import ClientError
from netplumb.reconciler.settings.documents import MAX_BYTES
from netplumb.reconciler.sources.declared import TOLD_MAX
from tests import namespaces
from tests.e2e.conftest import MakeHost
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.paces import attach_s
from tests.e2e.processes import descriptors_when_connected, let_go, resident_bytes
from tests.e2e.statefiles import declare, document
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, detach

TOLD_WITHIN_S = 60.0  # the whole directory is parsed before it counts, and the machine may be busy
SECRET = "hunter2: [not, yours]"
MEMORY_MAX_BYTES = 128 << 20
KEYS = 10_000
REWRITTEN_EVERY_S = 0.2
OTHERS_WITHIN_S = 20.0  # of which one reading of the large file; it was twenty

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{this}: &{this} [{','.join([f'*{last}'] * 9)}]\n" for last, this in zip("abcdefghi", "bcdefghij", strict=True)
)
CONTENTS: dict[str, bytes] = {
    "laughs.yaml": LAUGHS.encode(),
    "deep.yaml": b"[" * 500_000,
    "deeper.json": b'{"a":' * 100_000,
    "wide.yaml": b"port_mappings: [" + b"x," * 500_000,
    "million.yaml": b"---\n" * 250_000,
    "many.yaml": b"--- x\n" * 170_000,
    "keys.yaml": b"".join(b"k%d: \n" % n for n in range(90_000)),
    "huge.yaml": b"#" * (MAX_BYTES + 1),
    "endless.yaml": b'"' + b"x" * (MAX_BYTES - 1),
    "binary.yaml": bytes(range(256)) * 100,
    "utf16.yaml": "kind: Attachment".encode("utf-16"),
    "tags.yaml": b"!!python/object/apply:os.mkdir [owned]\n",
    "control.yaml": b"kind: Attachment\nworkload_id: \"a\\x1b[31m\\nb\"\nnetns: {name: x}\n",
    "names.yaml": b"kind: Attachment\nworkload_id: x\nif_name: \"a\\tb\"\nnetns: {name: x}\n",
}  # fmt: skip


@contextmanager
def _strange(directory: Path, outside: Path) -> Iterator[dict[str, str]]:
    """Things that are named as state files are, and a word of what is to be told of each."""
    outside.mkdir()
    (outside / "secret").write_text(SECRET)
    (directory / "folder.yaml").mkdir()
    (directory / "folder.yaml" / "inner.yaml").write_text(SECRET)
    os.mkfifo(directory / "fifo.yaml")
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(directory / "socket.yaml"))
    bound.close()
    links = {
        "secret": outside / "secret", "device": Path("/dev/zero"), "terminal": Path("/dev/tty"),
        "loop": directory / "loop.yaml", "nowhere": outside / "nobody", "memory": Path("/proc/self/mem"),
        "environment": Path("/proc/self/environ"), "descriptor": Path("/proc/self/fd/0"), "up": Path("../daemon.log"),
        "fifo-behind": directory / "fifo.yaml",
    }  # fmt: skip
    for name, target in links.items():
        (directory / f"{name}.yaml").symlink_to(target)
    (directory / "unreadable.yaml").write_text(SECRET)
    (directory / "unreadable.yaml").chmod(0)
    (directory / os.fsdecode(b"b\xffd.yaml")).write_text(SECRET)
    (directory / "esc\x1b[31m.yaml").write_text(SECRET)
    for name, content in CONTENTS.items():
        (directory / name).write_bytes(content)
    yield {
        "folder.yaml": "is a directory", "fifo.yaml": "is not a regular file", "socket.yaml": "is not a regular file",
        "secret.yaml": "leads out", "device.yaml": "is not a regular file", "up.yaml": "leads out",
        "environment.yaml": "leads out", "fifo-behind.yaml": "is not a regular file",
        "unreadable.yaml": "Permission denied", "laughs.yaml": "aliases are not supported",
        "deep.yaml": "nested more than", "million.yaml": "documents", "huge.yaml": "is larger than",
        "tags.yaml": "tags are not supported", "control.yaml": "workload_id: must hold printable characters only",
        "names.yaml": "if_name: 'a\\tb' must not contain '\\t'",
    }  # fmt: skip


def _untold(words: dict[str, str], told: list[str]) -> list[str]:
    """The names whose word is not among what is told."""
    return [
        name
        for name, word in words.items()
        if not any(line.startswith(f"file/{name}: {name}") and word in line for line in told)
    ]


async def _told(client: AsyncClient) -> list[str]:
    return [it.message for it in (await client.status()).conditions if it.type == "StateFileBroken"]


async def test_what_does_not_belong_there_is_told_of_and_left_alone(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host
) -> None:
    """Directories, pipes, sockets, devices, links that lead out, bombs and binaries: the good file beside them is
    taken, RPCs are served meanwhile, and no secret is told of in conditions or log."""
    before, memory = await descriptors_when_connected(daemon, client), resident_bytes(daemon)
    with _strange(daemon.state_files, daemon.directory / "outside") as words:
        declare(daemon, "web.yaml", document("web", web))
        served = 0

        async def attached() -> bool:
            nonlocal served
            await client.attach(attach(db))
            await client.detach(detach("db"))
            served += 1
            try:
                return (await client.get("web")).phase == "Attached" and not _untold(words, await _told(client))
            except ClientError as error:
                return error.code is not grpc.StatusCode.NOT_FOUND

        await until(attached, "the good file is taken, the others are told of", within_s=TOLD_WITHIN_S)
        told = await _told(client)
        assert all(line.isprintable() for line in told)
        assert "hunter2" not in "".join(told) + daemon.logged()
        assert [it.workload_id async for it in client.list()] == ["web"]
    assert daemon.running
    grown = resident_bytes(daemon) - memory
    print(f"{served} attaches were served meanwhile; resident memory grew by {grown >> 20} MiB")
    assert grown < MEMORY_MAX_BYTES
    assert "Traceback" not in daemon.logged()
    await let_go(daemon, before)


async def test_a_restart_in_such_a_directory_keeps_what_is_attached(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host
) -> None:
    """A daemon that finds it at its start comes up, and what it knew stays."""
    declare(daemon, "web.yaml", document("web", web))

    async def attached() -> bool:
        return [it.phase async for it in client.list()] == ["Attached"]

    await until(attached, "attached", within_s=20)
    index = web.link("eth0")["ifindex"]
    with _strange(daemon.state_files, daemon.directory / "outside"):
        declare(daemon, "web.yaml", LAUGHS)
        daemon.kill9()
        await daemon.start()

        async def told() -> bool:
            return any("web.yaml" in line for line in await _told(client))

        await until(told, "the broken file is told of", within_s=TOLD_WITHIN_S)
        await until(attached, "it is attached as before", within_s=20)
    assert web.link("eth0")["ifindex"] == index


async def test_a_file_that_is_rewritten_all_the_time_holds_up_no_other(
    daemon: Daemon, client: AsyncClient, web: Host, db: Host
) -> None:
    """One that takes seconds to read each time: another author's file is taken, and clients are served, meanwhile."""
    ending = threading.Event()

    def rewrite() -> None:
        for number in count():
            declare(daemon, "heavy.yaml", "".join(f"k{number}-{key}:\n" for key in range(KEYS)))
            if ending.wait(REWRITTEN_EVERY_S):
                return

    async def attached() -> bool:
        return [it.phase async for it in client.list()] == ["Attached"]

    quiet_s = await attach_s(client, db)
    thread = threading.Thread(target=rewrite)
    thread.start()
    try:
        await asyncio.sleep(1)
        began = time.monotonic()
        declare(daemon, "web.yaml", document("web", web))
        await until(attached, "the other file is taken", within_s=OTHERS_WITHIN_S)
        took_s = time.monotonic() - began
        meanwhile_s = await attach_s(client, db)
    finally:
        ending.set()
        thread.join()
    print(f"taken after {took_s:.1f} s; Attach: {quiet_s * 1e3:.1f} ms, meanwhile {meanwhile_s * 1e3:.1f} ms")
    assert meanwhile_s < quiet_s * 10 + 0.1


async def test_a_link_that_is_swapped_while_it_is_read_leads_nowhere(
    daemon: Daemon, client: AsyncClient, web: Host
) -> None:
    """A name that is a good file now and a link out of the directory then: what is outside is never told of."""
    outside = daemon.directory / "outside"
    outside.write_text(SECRET)
    declare(daemon, "web.yaml", document("web", web))
    ending = threading.Event()
    name, beside = daemon.state_files / "swapped.yaml", daemon.state_files / ".swapped"

    def swap() -> None:
        while not ending.is_set():
            beside.write_text("# nothing\n")
            beside.rename(name)
            beside.symlink_to(outside)
            beside.rename(name)
            ending.wait(0.001)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        for _ in range(30):
            assert "hunter2" not in "".join(await _told(client))
            await asyncio.sleep(0.1)
    finally:
        ending.set()
        swapping.join()
    assert "hunter2" not in daemon.logged()
    assert daemon.running

    async def attached() -> bool:
        return [it.phase async for it in client.list()] == ["Attached"]

    await until(attached, "the file beside it is taken", within_s=20)


async def test_thousands_of_broken_files_fit_into_one_answer(daemon: Daemon, client: AsyncClient, web: Host) -> None:
    """Status tells of the first ones and how many more there are, in less than gRPC clients take."""
    for number in range(2000):
        (daemon.state_files / f"{number:04}.yaml").write_text(f"kind: Attachment\nodd{number}: 1\n" * 30)
    declare(daemon, "web.yaml", document("web", web))

    async def told() -> bool:
        return (await _told(client))[-1:] == ["and 1900 more"]

    await until(told, "the broken files are told of", within_s=TOLD_WITHIN_S)
    assert len(await _told(client)) == TOLD_MAX + 1
    assert (await client.status()).ByteSize() < 1 << 20
    assert (await client.get("web")).phase in ("Pending", "Attached")


async def test_a_name_that_is_not_utf8_among_the_namespaces_ends_nothing(
    daemon: Daemon, client: AsyncClient, make_host: MakeHost
) -> None:
    """The watch of the directory goes on without a gap, and a namespace that a state file waits for is found."""
    odd = namespaces.NETNS_DIR / os.fsdecode(b"b\xffd")
    declare(daemon, "late.yaml", "kind: Attachment\nworkload_id: late\nnetns: {name: late}\n")

    async def phase(wanted: str) -> bool:
        return [it.phase async for it in client.list()] == [wanted]

    await until(lambda: phase("Pending"), "the attachment waits for its namespace", within_s=20)
    odd.touch()
    try:
        make_host("late")
        await until(lambda: phase("Attached"), "it is attached when its namespace is there", within_s=20)
    finally:
        odd.unlink()
    assert "not watched for a moment" not in daemon.logged()
    assert daemon.running
