"""A node, what is outside it, workloads, and the real daemon. Names are free to repeat: each test process has a /run
of its own, and runs one test at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from tests import namespaces
from tests.e2e.daemons import POOLS, Daemon
from tests.e2e.hosts import Host, temporary
from tests.e2e.runtimes import Runtime, installed

NODE_V4, NODE_V6 = "192.0.2.1", "2001:db8::1"
OUTSIDE_V4, OUTSIDE_V6 = "192.0.2.2", "2001:db8::2"
UPLINK = "up0"

MakeHost = Callable[[str], Host]


class StartDaemon(Protocol):
    async def __call__(self, *, pools: tuple[str, ...] = ..., flags: str = ..., ready: bool = ...) -> Daemon: ...


def second_uplink(node: Host, make_host: MakeHost) -> None:
    """Another network, by `up1`."""
    beyond = make_host("beyond")
    node.ip("link add up1 type veth peer name eth0 netns beyond")
    beyond.ip("link set eth0 up")
    node.ip("link set up1 up")
    node.ip("address add 198.51.100.1/24 dev up1")


@pytest.fixture(scope="session", autouse=True)
def own_run() -> None:
    """Puts this test process into a mount namespace of its own, with an empty /run."""
    namespaces.unshare_run()


@pytest.fixture
def outside() -> Iterator[Host]:
    """A host beyond the node's uplink, which knows no route to any workload."""
    with temporary("outside") as host:
        host.ip("link set lo up")
        yield host


@pytest.fixture
def node(outside: Host) -> Iterator[Host]:
    """A namespace that plays the node, with an uplink and default routes to the outside."""
    with temporary("node") as host:
        host.ip("link set lo up")
        host.ip(f"link add {UPLINK} type veth peer name eth0 netns outside")
        # Until its link-local address has passed, a host asks for no neighbour where a packet has an address of lo.
        outside.set_sysctl("net/ipv6/conf/eth0/accept_dad", "0")
        for end, link, addresses in (
            (host, UPLINK, (f"{NODE_V4}/24", f"{NODE_V6}/64")),
            (outside, "eth0", (f"{OUTSIDE_V4}/24", f"{OUTSIDE_V6}/64")),
        ):
            end.ip(f"link set {link} up")
            for address in addresses:
                end.ip(f"address add {address} dev {link}" + (" nodad" if ":" in address else ""))
        host.ip(f"route add default via {OUTSIDE_V4}")
        host.ip(f"-6 route add default via {OUTSIDE_V6}")
        yield host


@pytest.fixture
def make_host() -> Iterator[MakeHost]:
    """Makes namespaces for workloads, and removes them."""
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(temporary(name))


@pytest.fixture
def web(make_host: MakeHost) -> Host:
    return make_host("web")


@pytest.fixture
def db(make_host: MakeHost) -> Host:
    return make_host("db")


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short enough for a socket's path, which pytest's own need not be."""
    with TemporaryDirectory(prefix="np-") as name:
        yield Path(name)


@pytest.fixture
def start_daemon(node: Host, directory: Path) -> Iterator[StartDaemon]:
    """Starts daemons on the node, each with a directory of its own."""
    daemons: list[Daemon] = []

    async def start(*, pools: tuple[str, ...] = POOLS, flags: str = "", ready: bool = True) -> Daemon:
        daemon = Daemon(node, directory / str(len(daemons)), pools=pools, flags=flags)
        daemons.append(daemon)
        return await daemon.start(ready=ready)

    yield start
    for daemon in daemons:
        daemon.end()


@pytest.fixture
async def daemon(start_daemon: StartDaemon) -> Daemon:
    return await start_daemon()


@pytest.fixture
async def client(daemon: Daemon) -> AsyncIterator[AsyncClient]:
    async with daemon.client() as client:
        yield client


@pytest.fixture
def runtime(node: Host, daemon: Daemon) -> Runtime:
    """A runtime with the CNI plugin, installed for the daemon."""
    return Runtime(node, installed(daemon))
