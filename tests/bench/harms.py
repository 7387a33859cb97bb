"""What `tests.bench.hostile` does to a node: workloads in their namespaces, clients of its sockets, other programs.

What clients do to the daemon can be done as well to a server whose calls do nothing; what others wait for there is the
floor of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from netplumb.api.cni.wire import socket_path
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host, temporary
from tests.e2e.losses import start_without_store
from tests.e2e.statefiles import POLICY_FILES, rewriting_policies
from tests.e2e.strangers import HASTY, KNOCKING, hasty, hoarding, knocking, stalling
from tests.e2e.tenants import (
    claim,
    crowding,
    fill_with_addresses,
    fill_with_flows,
    fill_with_neighbours,
    fill_with_routes,
    flooding,
    linking,
    renewing,
    repeating,
)
from tests.e2e.wishes import attach, detach, v4

FLUSH_EVERY_S = 0.2
EVENTS_A_SECOND = 80_000
LINK_EVENTS_A_SECOND = 20_000
RTPROT_STATIC = 4

Doing = Callable[[Host], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Harm:
    """`do` is given a workload that is attached; `to_idle` does the same to the server whose calls do nothing. So many
    attachments by the plugin are measured beside it."""

    name: str
    do: Doing
    to_idle: Doing | None = None
    adds: int = 3


def harms(running: Daemon, idle: Path, victim: Sequence[str], node_address: str, scale: float) -> list[Harm]:
    """`victim` has these addresses, the node that one of the pool; `scale` is how much of each amount is done."""

    def many(count: int) -> int:
        return int(count * scale)

    routes, marked, addresses, neighbours, flows = map(many, (300_000, 100_000, 5_000, 100_000, 200_000))
    files, pairs = max(10, many(POLICY_FILES)), many(1_000)
    plugins = socket_path(running.socket)
    return [
        Harm("another's addresses, the store lost", lambda host: _stealing(running, host, victim)),
        Harm("ever-new routes with our mark", _beside(renewing)),
        Harm(f"{routes} routes", _filled(lambda host: fill_with_routes(host, routes, "lo", RTPROT_STATIC))),
        Harm(f"{marked} routes with our mark", _filled(lambda host: fill_with_routes(host, marked))),
        Harm(f"{addresses} addresses", _filled(lambda host: fill_with_addresses(host, addresses))),
        Harm(f"{neighbours} neighbours", _filled(lambda host: fill_with_neighbours(host, neighbours))),
        Harm(f"{flows} flows", _filled(lambda host: fill_with_flows(host, node_address, flows))),
        Harm("as many flows as are tracked", lambda host: _crowding(running, host)),
        Harm(f"{EVENTS_A_SECOND} events a second", _beside(lambda host: flooding(host, EVENTS_A_SECOND))),
        Harm(
            f"{LINK_EVENTS_A_SECOND} events a second of a link",
            _beside(lambda host: flooding(host, LINK_EVENTS_A_SECOND, what="link")),
        ),
        Harm(f"{pairs} pairs of links, made and deleted", _beside(lambda host: linking(host, pairs))),
        _hasty(running, idle, "have deadlines of", "deadline"),
        _hasty(running, idle, "cancel after", "cancel"),
        Harm(f"{HASTY} clients that plan for all", _beside(lambda host: hasty(running.socket, host, "plan"))),
        Harm(
            f"{KNOCKING} clients that come and go",
            _beside(lambda _: knocking(running.socket)),
            _beside(lambda _: knocking(idle)),
        ),
        Harm(f"{KNOCKING} plugins that come and go", _beside(lambda _: knocking(plugins))),
        Harm(f"{KNOCKING} plugins that stall", _beside(lambda _: stalling(running, KNOCKING))),
        Harm(
            f"{files} files of policies, rewritten",
            _beside(lambda _: rewriting_policies(running, files)),
        ),
        Harm("no descriptor is free", _beside(lambda _: hoarding(running)), adds=1),
        Harm(
            "nft flush ruleset",
            _beside(lambda _: repeating(lambda: running.node.run("nft flush ruleset"), FLUSH_EVERY_S)),
        ),
    ]


def _hasty(running: Daemon, idle: Path, words: str, how: str) -> Harm:
    def to(socket: Path) -> Doing:
        return _beside(lambda host: hasty(socket, host, how))

    return Harm(f"{HASTY} clients that {words} 1 ms", to(running.socket), to(idle))


def _beside(make: Callable[[Host], AbstractContextManager[None]]) -> Doing:
    @asynccontextmanager
    async def doing(mallory: Host) -> AsyncIterator[None]:
        with make(mallory):
            yield

    return doing


def _filled(fill: Callable[[Host], None]) -> Doing:
    """The namespace is filled, and then something changes in it all the time."""

    @contextmanager
    def harm(mallory: Host) -> Iterator[None]:
        fill(mallory)
        with renewing(mallory, protocol=RTPROT_STATIC):
            yield

    return _beside(harm)


@asynccontextmanager
async def _crowding(running: Daemon, mallory: Host) -> AsyncIterator[None]:
    """Answered by another of its tenant's workloads."""
    with temporary("friend") as friend:
        async with running.client() as client:
            answer = await client.attach(attach(friend))
            with crowding(mallory, friend, v4(answer)):
                yield
            await client.detach(detach(friend.name, friend.path), timeout_s=60)


@asynccontextmanager
async def _stealing(running: Daemon, mallory: Host, victim: Sequence[str]) -> AsyncIterator[None]:
    """It has another's addresses with our marks while the daemon has to learn from the kernel who has which."""
    running.kill9()
    claim(mallory, victim)
    await start_without_store(running)
    yield
