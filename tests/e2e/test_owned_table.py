"""The table where the kernel lets the daemon own it: others leave it alone, whatever they flush, and it outlives us."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.v1 import netplumb_pb2 as pb
from tests.e2e import wishes
from tests.e2e.conftest import NODE_V4, NODE_V6, OUTSIDE_V4, OUTSIDE_V6, StartDaemon
from tests.e2e.daemons import Daemon
from tests.e2e.echoes import serving
from tests.e2e.hosts import Host
from tests.e2e.packets import datagram, put, tapped
from tests.e2e.senders import Sender
from tests.e2e.streams import PORT, TcpStream
from tests.e2e.test_guards import FIRST_HOP_MAC
from tests.e2e.waiting import until

FLUSHES = 20
SPOOFED = {"198.51.100.9": OUTSIDE_V4, "2001:db8:9::9": OUTSIDE_V6}
CHANGES = (
    "nft delete table inet netplumb",
    "nft flush chain inet netplumb postrouting",
    "nft add chain inet netplumb stray",
    "nft add element inet netplumb node_open { npstray }",
)


@pytest.fixture
async def daemon(start_daemon: StartDaemon) -> Daemon:
    daemon = await start_daemon()
    daemon.terminate()
    daemon.node.run("nft delete table inet netplumb")
    daemon.configure(own_table=True)
    return await daemon.start()


@pytest.fixture
async def web_answer(client: AsyncClient, web: Host) -> pb.AttachResponse:
    return await client.attach(wishes.attach(web, ports=(f"8080:{PORT}/tcp",), isolate_workloads=True))


@pytest.fixture
async def streams(web_answer: pb.AttachResponse, outside: Host, web: Host) -> AsyncIterator[list[TcpStream]]:
    """From outside by a port of the node, and from the workload to outside."""
    with ExitStack() as stack:
        opened = [
            TcpStream(outside, web, wishes.v4(web_answer), by=(NODE_V4, 8080)),
            TcpStream(outside, web, wishes.v6(web_answer), by=(NODE_V6, 8080)),
            TcpStream(web, outside, OUTSIDE_V4),
        ]
        for stream in opened:
            stack.enter_context(stream)
        yield opened


async def all_move_on(streams: list[TcpStream]) -> None:
    for moved_on in [stream.moves_on() for stream in streams]:
        await until(moved_on, "the connection lives on")
    assert [stream.error for stream in streams] == [None] * len(streams)


async def test_flushes_cost_no_connection_and_let_no_frame_through(
    streams: list[TcpStream], client: AsyncClient, node: Host, outside: Host, web: Host, db: Host
) -> None:
    """Neither an isolated one nor one with a foreign source."""
    other = await client.attach(wishes.attach(db))
    before = node.ruleset()
    with serving(db, 9000), tapped(outside, "eth0") as tap, ExitStack() as stack:
        senders = [stack.enter_context(Sender(web, to, 9000)) for to in (wishes.v4(other), wishes.v6(other))]
        for _ in range(FLUSHES):
            node.run("nft flush ruleset")
            for source, to in SPOOFED.items():
                put(web, "eth0", FIRST_HOP_MAC, datagram((source, 5000), (to, 9000)))
        assert node.ruleset() == before
        assert [sender.answer for sender in senders] == ["", ""]
        assert not SPOOFED.keys() & {seen.source for seen in tap.seen()}
    await all_move_on(streams)


@pytest.mark.parametrize("change", CHANGES)
async def test_others_change_nothing(
    web_answer: pb.AttachResponse, client: AsyncClient, node: Host, change: str
) -> None:
    before = node.ruleset()
    assert "Operation not permitted" in node.run(change.replace("{", "'{").replace("}", "}'"), ok=False)
    assert node.ruleset() == before
    assert not (await client.plan()).changes


async def test_it_outlives_the_daemon_and_the_next_one_takes_it(
    streams: list[TcpStream], daemon: Daemon, client: AsyncClient, node: Host, web: Host
) -> None:
    """Nothing is made anew, and what is attached is not disturbed."""
    chain = node.run("nft -a list chain inet netplumb postrouting")
    daemon.kill9()
    assert "masquerade" in node.ruleset()
    await all_move_on(streams)
    await daemon.start()
    assert node.run("nft -a list chain inet netplumb postrouting").splitlines()[2:] == chain.splitlines()[2:]
    await all_move_on(streams)
    assert "Operation not permitted" in node.run("nft delete table inet netplumb", ok=False)
    await client.detach(wishes.detach("web"))
    assert "8080" not in node.ruleset()


async def test_what_is_flushed_while_no_daemon_runs_comes_back(
    web_answer: pb.AttachResponse, daemon: Daemon, client: AsyncClient, node: Host
) -> None:
    daemon.kill9()
    node.run("nft flush ruleset")
    assert "masquerade" not in node.ruleset()
    await daemon.start()
    assert "masquerade" in node.ruleset()
    assert "Operation not permitted" in node.run("nft delete table inet netplumb", ok=False)
    assert not (await client.plan()).changes


async def test_one_that_was_not_owned_is_owned_once_it_is_made_anew(
    start_daemon: StartDaemon, node: Host, web: Host
) -> None:
    """Until then it stays as it is: it could only be deleted."""
    daemon = await start_daemon()
    async with daemon.client() as client:
        await client.attach(wishes.attach(web))
    chain = node.run("nft -a list chain inet netplumb postrouting")
    daemon.configure(own_table=True)
    await daemon.restart()
    assert node.run("nft -a list chain inet netplumb postrouting") == chain
    node.run("nft flush ruleset")
    await until(lambda: "masquerade" in node.ruleset(), "it is back")
    assert "Operation not permitted" in node.run("nft delete table inet netplumb", ok=False)


async def test_a_purge_takes_what_a_daemon_owned(daemon: Daemon, web_answer: pb.AttachResponse, node: Host) -> None:
    daemon.terminate()
    assert daemon.purge(answer="y\n").returncode == 0
    assert node.ruleset().strip() == ""
