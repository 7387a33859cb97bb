"""What a workload that goes leaves behind in the kernel's connection tracking is not inherited with its address."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e.conftest import MakeHost
from tests.e2e.daemons import Daemon
from tests.e2e.echoes import UNANSWERED_S
from tests.e2e.hosts import Host
from tests.e2e.statefiles import declare
from tests.e2e.streams import open_socket
from tests.e2e.test_policies import FROM_WEB, enforced
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, detach, v4, v6

AT, FROM = 9000, 5000


def bound(host: Host, address: str, port: int) -> socket.socket:
    made = open_socket(host, address, socket.SOCK_DGRAM)
    made.bind((address, port))
    made.settimeout(UNANSWERED_S)
    return made


def came(source: socket.socket, target: socket.socket) -> bool:
    """Whether a datagram from one reaches the other."""
    source.sendto(b"?", target.getsockname()[:2])
    with suppress(TimeoutError):
        return target.recv(16) == b"?"
    return False


@pytest.mark.parametrize("version", [4, 6])
async def test_answers_to_one_that_went_are_not_the_next_ones(
    daemon: Daemon, client: AsyncClient, node: Host, db: Host, make_host: MakeHost, version: int
) -> None:
    """A server that nobody allows goes on sending to an address whose workload asked it, and which another has now."""
    declare(daemon, "policy.yaml", FROM_WEB.replace("app: db", "app: fresh"))
    await until(lambda: enforced(node), "the policy")
    address = (v4, v6)[version == 6]
    there, own = address(await client.attach(attach(db))), address(await client.attach(attach(make_host("spy"))))
    with bound(db, there, AT) as server:
        with bound(Host("spy"), own, FROM) as asking:
            assert came(asking, server)
            assert came(server, asking)
        await client.detach(detach("spy"))
        fresh = make_host("fresh")
        answer = await client.attach(attach(fresh, labels={"app": "fresh"}, addresses=[own]))
        assert address(answer) == own
        with bound(fresh, own, FROM) as next_one:
            await until(lambda: not came(server, next_one), "nothing is an answer any more")
            assert came(next_one, server)
            assert came(server, next_one)


async def test_what_was_cut_of_one_that_went_is_not_the_next_ones(
    daemon: Daemon, client: AsyncClient, node: Host, db: Host, make_host: MakeHost
) -> None:
    """One that may ask does, from the very port from which one before it might not."""
    there = v4(await client.attach(attach(db, labels={"app": "db"})))
    own = v4(await client.attach(attach(make_host("spy"), labels={"app": "spy"})))
    with bound(db, there, AT) as server:
        with bound(Host("spy"), own, FROM) as asking:
            assert came(asking, server)
            declare(daemon, "policy.yaml", FROM_WEB)
            await until(lambda: enforced(node), "the policy")
            await until(lambda: not came(server, asking), "it is cut")
        await client.detach(detach("spy"))
        fresh = make_host("fresh")
        await client.attach(attach(fresh, labels={"app": "web"}, addresses=[own]))
        with bound(fresh, own, FROM) as next_one:
            await until(lambda: came(next_one, server), "it begins a flow of its own")
            assert came(server, next_one)
