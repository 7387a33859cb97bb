"""Another program flushes the whole ruleset, again and again: what becomes of busy connections meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.v1 import netplumb_pb2 as pb
from tests.e2e import wishes
from tests.e2e.conftest import NODE_V4, NODE_V6, OUTSIDE_V4, OUTSIDE_V6
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.streams import PORT, TcpStream
from tests.e2e.waiting import comes_true, until

FLUSHES = 20
HOOKS = "table inet netplumb-hooks"


@pytest.fixture
async def web_answer(client: AsyncClient, web: Host) -> pb.AttachResponse:
    return await client.attach(wishes.attach(web, ports=(f"8080:{PORT}/tcp",)))


@pytest.fixture
async def streams(web_answer: pb.AttachResponse, outside: Host, web: Host) -> AsyncIterator[list[TcpStream]]:
    """From outside by a port of the node, and from the workload to outside, in both families."""
    with ExitStack() as stack:
        opened = [
            *(
                TcpStream(outside, web, own, by=(node, 8080))
                for own, node in ((wishes.v4(web_answer), NODE_V4), (wishes.v6(web_answer), NODE_V6))
            ),
            *(TcpStream(web, outside, address) for address in (OUTSIDE_V4, OUTSIDE_V6)),
        ]
        for stream in opened:
            stack.enter_context(stream)
        yield opened


async def test_busy_connections_outlive_flushes(streams: list[TcpStream], node: Host) -> None:
    """None is reset by a packet that nobody translated while the table was away: not for the moment that a repair
    takes, and not for the seconds that it waits when each was undone at once."""
    for _ in range(FLUSHES):
        node.run("nft flush ruleset")
        await comes_true(lambda: "masquerade" in node.ruleset(), within_s=0.5)
    for moved_on in [stream.moves_on() for stream in streams]:
        await until(moved_on, "the connection lives on")
    assert [stream.error for stream in streams] == [None] * len(streams)


async def test_the_hooks_are_kept_from_others(web_answer: pb.AttachResponse, node: Host) -> None:
    """Nobody else flushes, changes or deletes them."""
    assert HOOKS in node.ruleset()
    for line in (
        "nft flush ruleset",
        "nft delete table inet netplumb-hooks",
        "nft flush table inet netplumb-hooks",
        "nft add rule inet netplumb-hooks prerouting counter drop",
    ):
        node.run(line, ok=False)
    assert HOOKS in node.ruleset()
    assert "drop" not in node.run("nft list table inet netplumb-hooks")


async def test_the_hooks_go_with_the_daemon_and_come_with_it(
    web_answer: pb.AttachResponse, daemon: Daemon, client: AsyncClient, node: Host
) -> None:
    """They are nobody's while no daemon runs, and nothing else goes with them."""
    daemon.kill9()
    await until(lambda: HOOKS not in node.ruleset(), "they are gone")
    assert "masquerade" in node.ruleset()
    await daemon.start()
    assert HOOKS in node.ruleset()
    assert not (await client.plan()).changes


async def test_a_stranger_holds_the_name(daemon: Daemon, client: AsyncClient, node: Host, web: Host) -> None:
    """It is left alone, the log says so once, and workloads have their network without; ours comes when it has gone."""
    daemon.kill9()
    node.run("nft add table inet netplumb-hooks")
    await daemon.start()
    assert (await client.attach(wishes.attach(web))).ip
    assert not (await client.plan()).changes
    assert node.run("nft list table inet netplumb-hooks").split() == ["table", "inet", "netplumb-hooks", "{", "}"]
    assert daemon.logged().count("a flush of the ruleset by others may reset busy connections") == 1
    node.run("nft delete table inet netplumb-hooks")
    daemon.reload()
    await until(lambda: "chain prerouting" in node.run(f"nft list {HOOKS}", ok=False), "ours has its place")
