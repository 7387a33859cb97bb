"""What a client that may use the sockets does to make others wait: it gives up, stalls, and takes what there is."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import grpc

from netplumb.api.cni.wire import REQUEST_MAX_BYTES, socket_path
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.api.v1 import netplumb_pb2_grpc as rpc
from tests.e2e.daemons import ROOT, Daemon
from tests.e2e.hosts import Host

HASTY = 16
KNOCKING = 300
GIVES_UP_S = 0.001
_KNOCKS_EVERY_S = 0.05
_KNOCKS_WAIT_S = 0.02  # where it is not gone at once
_WORKLOADS_EACH = 3


@contextmanager
def hasty(socket_: Path, mallory: Host, how: str) -> Iterator[None]:
    """Sixteen clients in a program beside the test give up each Attach after a millisecond, by `deadline` or `cancel`,
    and go on to the next; or `plan`, each for the whole node, again and again."""
    with _beside("the haste", str(socket_), mallory.path, how):
        yield


@contextmanager
def knocking(socket_: Path) -> Iterator[None]:
    """Three hundred in a program beside the test connect, and are gone at once or after a moment, and come again."""
    with _beside("the knocking", str(socket_), "", "knock"):
        yield


@contextmanager
def _beside(what: str, *words: str) -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-m", "tests.e2e.strangers", *words], cwd=ROOT) as process:
        try:
            yield
            assert process.poll() is None, f"{what} ended too soon"
        finally:
            process.kill()


@contextmanager
def stalling(daemon: Daemon, count: int = 300) -> Iterator[None]:
    """So many on the plugin's socket announce the largest request there is, and send what is taken of it."""
    with ExitStack() as stack:
        for _ in range(count):
            made = _connected(socket_path(daemon.socket), stack)
            with suppress(OSError):  # a full backlog, or one that was sent away
                made.sendall(b"netplumb-cni 1 0 %d\n" % REQUEST_MAX_BYTES)
                while made.send(bytes(1 << 16)):
                    pass
        yield


@contextmanager
def hoarding(daemon: Daemon, left: int = 4, count: int = 100) -> Iterator[None]:
    """The daemon may open so few more descriptors, and as many connect to its sockets as can."""
    pid = daemon.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    few = len(os.listdir(f"/proc/{pid}/fd")) + left  # noqa: PTH208
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (few, before[1]))
    try:
        with connecting(daemon, count):
            yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@contextmanager
def connecting(daemon: Daemon, count: int) -> Iterator[None]:
    """So many connect to each of the daemon's sockets and say nothing."""
    with ExitStack() as stack:
        for path in (daemon.socket, socket_path(daemon.socket)):
            for _ in range(count):
                _connected(path, stack)
        yield


def _connected(path: Path, stack: ExitStack) -> socket.socket:
    made = stack.enter_context(socket.socket(socket.AF_UNIX))
    made.setblocking(False)
    with suppress(OSError):
        made.connect(str(path))
    return made


async def _give_up(stub: rpc.WorkloadNetworkingAsyncStub, request: pb.AttachRequest, how: str) -> None:
    if how == "plan":
        await stub.Plan(pb.PlanRequest())
        return
    call = stub.Attach(request, timeout=GIVES_UP_S if how == "deadline" else None)
    if how == "cancel":
        await asyncio.sleep(GIVES_UP_S)
        call.cancel()
    with suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
        await call


async def _haste(target: str, netns_path: str, how: str, client: int) -> None:
    async with grpc.aio.insecure_channel(target) as channel:
        stub = rpc.WorkloadNetworkingStub(channel)
        number = 0
        while True:
            number = (number + 1) % _WORKLOADS_EACH
            netns = pb.NetNSAttachment(netns_path=netns_path, if_name=f"h{client}-{number}")
            await _give_up(stub, pb.AttachRequest(workload_id=f"hasty-{client}-{number}", netns=netns), how)


async def _knock(path: str, number: int) -> None:
    while True:
        await asyncio.sleep(_KNOCKS_EVERY_S)
        with suppress(OSError):
            _, writer = await asyncio.open_unix_connection(path)
            if number % 2:
                await asyncio.sleep(_KNOCKS_WAIT_S)
            writer.close()


async def _all(path: str, netns_path: str, how: str) -> None:
    if how == "knock":
        await asyncio.gather(*(_knock(path, number) for number in range(KNOCKING)))
    await asyncio.gather(*(_haste(f"unix:{path}", netns_path, how, client) for client in range(HASTY)))


if __name__ == "__main__":
    asyncio.run(_all(*sys.argv[1:]))
