"""Paths that are no workload's namespace, or not for long: refused, never waited on, and never confused with one."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.client.errors import ClientError
from tests import namespaces
from tests.e2e.daemons import INSTALLED, Daemon
from tests.e2e.hosts import Host, kernel_state
from tests.e2e.processes import descriptors_when_connected, let_go
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, condition, detach, refused

FAILED_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
AT_ONCE_S = 10.0  # a machine under load; what blocks would block for ever
RACED_CALLS = 60


async def _nothing_is_recorded(client: AsyncClient) -> bool:
    return [attachment async for attachment in client.list()] == []


@contextmanager
def _own_by_another_name(node: Host, directory: Path) -> Iterator[list[str]]:
    """The node's namespace under names that do not tell: links, and a mount of its own."""
    link, chain, mounted = directory / "link", directory / "chain", directory / "mounted"
    link.symlink_to(node.path)
    chain.symlink_to(link.name)
    mounted.touch()
    namespaces.mount(node.path, mounted, "none", namespaces.MS_BIND)
    try:
        yield [str(path) for path in (link, chain, mounted)]
    finally:
        namespaces.unmount(mounted)


async def test_the_nodes_own_namespace_is_refused_by_any_path(
    daemon: Daemon, client: AsyncClient, node: Host, directory: Path
) -> None:
    """Through /proc from the daemon's view and from outside, links, mounts and detours: it is told by what it is."""
    pid = daemon.process.pid
    thread = os.listdir(f"/proc/{pid}/task")[-1]  # noqa: PTH208
    before = node.links().keys()
    with _own_by_another_name(node, directory) as others:
        paths = [
            node.path,
            f"/run/../run//netns/./{node.name}",
            "/proc/self/ns/net",
            "/proc/thread-self/ns/net",
            f"/proc/{pid}/ns/net",
            f"/proc/{pid}/task/{thread}/ns/net",
            f"/proc/{pid}/root{node.path}",
            "/proc/self/root/proc/self/../thread-self/ns/net",
            *_descriptors_of_own(daemon),
            *others,
        ]
        for path in paths:
            for ask in (client.attach, client.plan):
                with pytest.raises(ClientError) as caught:
                    await ask(attach(path, "own"))
                assert caught.value.code is FAILED_PRECONDITION, path
    assert node.links().keys() == before
    assert await _nothing_is_recorded(client)


def _descriptors_of_own(daemon: Daemon) -> list[str]:
    """The daemon's own descriptors on the node's namespace, as paths that only it can follow."""
    fds = Path(f"/proc/{daemon.process.pid}/fd")
    own = Path(f"/proc/{daemon.process.pid}/ns/net").readlink()
    found = [f"/proc/self/fd/{fd.name}" for fd in fds.iterdir() if fd.readlink() == own]
    assert found
    return found


async def test_the_first_process_is_the_daemon_itself(node: Host, directory: Path) -> None:
    """In a PID namespace of its own the daemon is process 1, and /proc/1/ns/net is the node."""

    class FirstProcess(Daemon):
        def words(self) -> list[str]:
            alone = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--")
            words = super().words()
            start = words.index("setpriv")
            return [*words[:start], *alone, *words[start:]]

    daemon = FirstProcess(node, directory / "first", program=INSTALLED)
    try:
        await daemon.start()
        async with daemon.client() as client:
            for path in ("/proc/1/ns/net", "/proc/1/task/1/ns/net", "/proc/self/ns/net"):
                with refused(FAILED_PRECONDITION, "own"):
                    await client.attach(attach(path, "own"))
            assert await _nothing_is_recorded(client)
    finally:
        daemon.kill9()  # whatever process started the daemon ends, and the daemon with it


def _strange(directory: Path) -> dict[str, str]:
    """Things at a path that are no namespace of networks."""
    fifo, link, loop, nothing, file = (directory / name for name in ("fifo", "link", "loop", "nothing", "file"))
    os.mkfifo(fifo)
    link.symlink_to(fifo)
    loop.symlink_to(loop)
    nothing.symlink_to(directory / "nobody")
    file.write_text("not a namespace")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(directory / "socket"))
    listening.close()
    kinds = {kind: f"/proc/self/ns/{kind}" for kind in os.listdir("/proc/self/ns") if kind != "net"}  # noqa: PTH208
    return kinds | {
        "a FIFO": str(fifo),
        "a link to a FIFO": str(link),
        "a link to itself": str(loop),
        "a link to nothing": str(nothing),
        "a file": str(file),
        "below a file": str(file / "x"),
        "a socket": str(directory / "socket"),
        "a directory": str(directory),
        "the root": "/",
        "a character device": "/dev/zero",
        "the terminal": "/dev/tty",
        "memory": "/proc/self/mem",
        "a descriptor": "/proc/self/fd/0",
        "a process that is not there": "/proc/4194305/ns/net",
        "a name that is too long": "/" + "n" * 300,
        "a path that is too long": "/" + "n/" * 2040,
        "a kernel log": "/proc/kmsg",
    }


async def test_what_is_no_namespace_is_refused_at_once(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host
) -> None:
    """FAILED_PRECONDITION whatever it is, without opening what would block; for a Detach it is a late echo."""
    await client.attach(attach(web))
    kernel, before = kernel_state(node, web), await descriptors_when_connected(daemon, client)
    for what, path in _strange(daemon.directory).items():
        for ask in (client.attach(attach(path, "strange")), client.plan(attach(path, "strange"))):
            async with asyncio.timeout(AT_ONCE_S):
                with pytest.raises(ClientError) as caught:
                    await ask
            assert caught.value.code is FAILED_PRECONDITION, f"{what}: {caught.value.code} {caught.value.message}"
        async with asyncio.timeout(AT_ONCE_S):
            await client.detach(detach("web", path))
    assert [it.workload_id async for it in client.list()] == ["web"]
    assert kernel_state(node, web) == kernel
    await let_go(daemon, before)


async def test_a_state_file_with_a_strange_path_hinders_no_other(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host
) -> None:
    """Each says what is wrong in its condition; the document beside them is attached."""
    strange = _strange(daemon.directory) | {"own": "/proc/self/ns/net", "mine": node.path}
    text = "---\n".join(
        f"kind: Attachment\nworkload_id: {number}\nnetns: {{path: {path}}}\n"
        for number, path in enumerate([*strange.values(), web.path])
    )
    (daemon.state_files / "all.yaml").write_text(text)

    async def settled() -> bool:
        phases = {it.workload_id: it.phase async for it in client.list()}
        return len(phases) == len(strange) + 1 and phases[str(len(strange))] == "Attached"

    await until(settled, "the one with a namespace is attached", within_s=20)
    for number, what in enumerate(strange):
        found = await client.get(str(number))
        assert found.phase in ("Pending", "Failed", "Retrying"), what
        ready = condition(found, "Ready")
        assert ready is not None, what
        assert not ready.status, what
        assert ready.message, what
    assert "eth0" not in node.links()


@contextmanager
def _again_and_again(*steps: Callable[[], object]) -> Iterator[None]:
    """A thread that takes the steps in turn, as fast as it can, until the end."""
    ending = threading.Event()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            while not ending.is_set():
                for step in steps:
                    step()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
    if failed:
        raise failed[0]


async def _answer(call: Awaitable[object]) -> str:
    """The name of the status that a call is answered with."""
    try:
        await call
    except ClientError as error:
        return error.code.name
    return "OK"


async def test_a_link_that_is_swapped_meanwhile_is_one_thing_or_another(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, directory: Path
) -> None:
    """A path that turns from a workload's namespace into the node's, a FIFO or nothing between check and use: each
    Attach gets the workload or is refused, the node gets no interface and nothing is left."""
    os.mkfifo(directory / "fifo")
    path, beside = directory / "swapped", directory / "beside"
    path.symlink_to(web.path)
    web.ip("link set lo up")
    kernel, before = kernel_state(node, web), await descriptors_when_connected(daemon, client)

    def swap(target: str) -> Callable[[], None]:
        def swapped() -> None:
            beside.symlink_to(target)
            beside.rename(path)

        return swapped

    def vanish() -> None:
        path.unlink()

    targets = (web.path, node.path, web.path, str(directory / "fifo"), web.path, "/proc/self/ns/uts", "nowhere")
    outcomes: Counter[str] = Counter()
    with _again_and_again(*(swap(target) for target in targets), vanish, swap(web.path)):
        for _ in range(RACED_CALLS):
            async with asyncio.timeout(2 * AT_ONCE_S):
                answer = await _answer(client.attach(attach(str(path), "raced"), timeout_s=AT_ONCE_S))
                outcomes[answer] += 1
                if answer == "OK":
                    assert "eth0" in web.links()
                    assert "eth0" not in node.links()
                    await client.detach(detach("raced"))
    print(f"outcomes: {outcomes}")
    assert outcomes.keys() == {"OK", "FAILED_PRECONDITION"}
    assert await _nothing_is_recorded(client)
    assert kernel_state(node, web) == kernel
    await let_go(daemon, before)


async def test_a_namespace_that_goes_meanwhile_is_there_or_not(
    daemon: Daemon, client: AsyncClient, node: Host, directory: Path
) -> None:
    """A namespace that is removed and made anew all the time: each Attach is answered in time, with addresses or with
    what went wrong, and in the end nothing is left."""
    flapping = Host("flapping")
    kernel, before = kernel_state(node), await descriptors_when_connected(daemon, client)
    outcomes: Counter[str] = Counter()
    with _again_and_again(flapping.create, lambda: time.sleep(0.003), flapping.remove):
        for _ in range(RACED_CALLS):
            async with asyncio.timeout(2 * AT_ONCE_S):
                outcomes[await _answer(client.attach(attach(flapping.path, "raced"), timeout_s=AT_ONCE_S))] += 1
                await client.detach(detach("raced"))
    print(f"outcomes: {outcomes}")
    assert outcomes.keys() <= {"OK", "FAILED_PRECONDITION", "UNAVAILABLE"}
    assert await _nothing_is_recorded(client)
    await until(lambda: kernel_state(node) == kernel, "nothing is left on the node", within_s=20)
    await let_go(daemon, before)
