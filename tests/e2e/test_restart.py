"""The daemon dies, is killed, is started again: the workloads' network does not notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from netplumb.api.client.asynchronous import AsyncClient
from tests import namespaces
from tests.e2e.conftest import MakeHost
from tests.e2e.daemons import INSTALLED, Daemon
from tests.e2e.hosts import Host, kernel_state
from tests.e2e.pings import pinging
from tests.e2e.statefiles import declare, document
from tests.e2e.streams import TcpStream
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, condition, detach, refused, v4, v6


@pytest.fixture
async def daemon(node: Host, directory: Path) -> AsyncIterator[Daemon]:
    """Started as a user starts it: each time all is loaded anew, with other hashes."""
    daemon = Daemon(node, directory, program=INSTALLED)
    await daemon.start()
    yield daemon
    daemon.end()


async def test_killed_and_started_again_loses_no_packet(daemon: Daemon, node: Host, web: Host, db: Host) -> None:
    """SIGKILL and a restart beside a TCP stream and a 1 ms ping of each family: no packet is lost, no address changes,
    and no object of the kernel is made anew."""
    async with daemon.client() as client:
        first = await client.attach(attach(web))
        second = await client.attach(attach(db))
    before = kernel_state(node, web, db)
    with TcpStream(web, db, v4(second)) as stream, TcpStream(web, db, v6(second)) as stream6:
        async with pinging(web, v4(second)) as ping, pinging(web, v6(second)) as ping6:
            for _ in range(3):
                daemon.kill9()
                for flowing in (stream, stream6):
                    await until(flowing.moves_on(), "the stream moves without a daemon")
                await daemon.start()
            async with daemon.client() as client:
                await until(lambda: _all_attached(client, 2), "the daemon has looked at all")
                answers = [await client.attach(attach(host)) for host in (web, db)]
            for flowing in (stream, stream6):
                await until(flowing.moves_on(), "the stream moves with the new one")
        assert stream.error is None
        assert stream6.error is None
    for seen in (ping, ping6):
        assert seen.sent > 100
        assert seen.sent - seen.received <= 1, seen.said  # the last one may be under way when ping ends
    assert [answer.ip for answer in answers] == [first.ip, second.ip]
    assert kernel_state(node, web, db) == before


async def _all_attached(client: AsyncClient, count: int) -> bool:
    found = [attachment async for attachment in client.list()]
    return len(found) == count and all(attachment.phase == "Attached" for attachment in found)


async def test_sigterm_leaves_the_network_running(daemon: Daemon, node: Host, web: Host) -> None:
    """A daemon that is stopped exits with 0 and takes away its socket, and nothing in the kernel."""
    async with daemon.client() as client:
        answer = await client.attach(attach(web))
    before = kernel_state(node, web)
    assert daemon.terminate() == 0
    assert not daemon.socket.exists()
    assert kernel_state(node, web) == before
    assert "table inet netplumb {" in node.ruleset()
    assert node.ping(v4(answer))
    assert web.ping("192.0.2.2")


async def test_desired_state_survives_sigkill(daemon: Daemon, web: Host) -> None:
    """What was answered is known after a kill: addresses, labels, generation, container id."""
    async with daemon.client() as client:
        await client.attach(attach(web, labels={"app": "old"}))
        answer = await client.attach(attach(web, labels={"app": "new"}, container_id="c1", mtu=1400))
    daemon.kill9()
    await daemon.start()
    async with daemon.client() as client:
        await until(lambda: _all_attached(client, 1), "attached again")
        found = await client.get("web")
        for name in ("addresses", "labels", "generation", "container_id", "mtu", "mac", "netns_path", "source"):
            assert getattr(found, name) == getattr(answer.attachment, name), name


async def test_freed_addresses_are_not_given_out_again_soon_after_a_restart(
    daemon: Daemon, make_host: MakeHost
) -> None:
    """Allocation goes on where it stood, also after a kill."""
    async with daemon.client() as client:
        first = await client.attach(attach(make_host("w1")))
        await client.detach(detach("w1"))
    daemon.kill9()
    await daemon.start()
    async with daemon.client() as client:
        second = await client.attach(attach(make_host("w2")))
    assert set(first.ip).isdisjoint(second.ip)


async def test_damage_done_while_it_is_down_is_repaired_at_start(daemon: Daemon, node: Host, web: Host) -> None:
    """A daemon that starts makes the kernel agree with what it was asked for before."""
    async with daemon.client() as client:
        answer = await client.attach(attach(web))
    daemon.kill9()
    node.run("nft flush ruleset")
    node.ip("address delete 169.254.77.1/32 dev lo")
    node.ip(f"-4 route delete {v4(answer)}")
    web.ip("link delete eth0")
    await daemon.start()
    async with daemon.client() as client:
        await until(lambda: _all_attached(client, 1), "attached again")
        assert (await client.check("web")).in_sync
    assert node.ping(v4(answer))
    assert web.ping("192.0.2.2")


async def test_an_orphan_is_removed_at_start(daemon: Daemon, node: Host, web: Host, db: Host) -> None:
    """A link of ours that no one wants any more goes; what is wanted and what is foreign stays."""
    async with daemon.client() as client:
        await client.attach(attach(web))
    daemon.terminate()
    node.ip("link add npaaaaaaaaaaaa group 28272 type veth peer name eth0 netns db")
    node.ip("link set npaaaaaaaaaaaa alias netplumb:eth0:orphan")
    node.ip("link add npbbbbbbbbbbbb type veth peer name foreign")
    await daemon.start()
    await until(lambda: "npaaaaaaaaaaaa" not in node.links(), "the orphan goes")
    assert {"npbbbbbbbbbbbb", "foreign"} <= node.links().keys()
    assert "eth0" in web.links()


async def test_a_namespace_deleted_while_it_is_down_is_lost(daemon: Daemon, node: Host, web: Host, db: Host) -> None:
    """What lost its namespace meanwhile says so and can be attached anew; its neighbour is not disturbed."""
    async with daemon.client() as client:
        first = await client.attach(attach(web))
        other = await client.attach(attach(db))
    daemon.kill9()
    web.remake()
    await daemon.start()
    async with daemon.client() as client:

        async def lost() -> bool:
            return (await client.get("web")).phase == "Lost"

        await until(lost, "the attachment is lost")
        ready = condition(await client.get("web"), "Ready")
        assert ready is not None
        assert ready.reason == "NetnsGone"
        assert "eth0" not in web.links()
        assert node.ping(v4(other))
        again = await client.attach(attach(web))
        assert again.ip == first.ip
        assert node.ping(v4(again))


async def test_a_client_waits_for_a_daemon_that_restarts(daemon: Daemon, web: Host) -> None:
    """A call made while the daemon is down is answered by the next one, within its deadline."""
    daemon.kill9()
    async with daemon.client(timeout_s=15) as client:
        call = asyncio.ensure_future(client.attach(attach(web)))
        await daemon.start()
        assert (await call).attachment.phase == "Attached"


async def test_no_daemon_is_told_as_such(daemon: Daemon) -> None:
    """A call that no daemon answers within its deadline is UNAVAILABLE, and names the socket."""
    daemon.kill9()
    async with daemon.client(timeout_s=0.5) as client:
        with refused(grpc.StatusCode.UNAVAILABLE, str(daemon.socket)):
            await client.status()


async def test_a_link_renamed_while_nobody_looked_is_named_back(daemon: Daemon, node: Host, web: Host) -> None:
    """A start finds a link of ours under whatever name, and neither makes another nor gives up."""
    async with daemon.client() as client:
        answer = await client.attach(attach(web))
    name = answer.attachment.node_if_name
    index = node.link(name)["ifindex"]
    daemon.kill9()
    node.ip(f"link set {name} name stray0")
    await daemon.start()
    await until(lambda: name in node.links(), "the link has its name back")
    async with daemon.client() as client:
        await until(lambda: _all_attached(client, 1), "attached again")
        assert (await client.check("web")).in_sync
    assert node.link(name)["ifindex"] == index
    assert node.ping(v4(answer))


async def test_an_attach_that_fails_after_a_restart_takes_nothing_back(daemon: Daemon, web: Host) -> None:
    """What was attached before the daemon died stays desired, whatever stands in its way when it is asked for again."""
    async with daemon.client() as client:
        answer = await client.attach(attach(web))
    daemon.kill9()
    web.ip("link delete eth0")
    web.ip("link add eth0 type veth peer name theirs")
    await daemon.start()
    async with daemon.client() as client:
        with refused(grpc.StatusCode.ALREADY_EXISTS, "eth0"):
            await client.attach(attach(web))
        assert (await client.get("web")).phase == "Failed"
        web.ip("link delete eth0")
        await until(lambda: _all_attached(client, 1), "attached again")
        assert list((await client.get("web")).addresses) == list(answer.attachment.addresses)


@pytest.mark.parametrize("wanted", [True, False], ids=["wanted", "removed"])
async def test_a_namespace_that_a_killed_daemon_left_half_made_is_made_whole_or_goes(
    daemon: Daemon, wanted: bool
) -> None:
    """A name without a namespace, as a kill between the two leaves it, is no obstacle and not left over."""
    file = declare(daemon, "made.yaml", document("made", "made", create=True))
    async with daemon.client() as client:
        await until(lambda: _all_attached(client, 1), "attached")
    daemon.kill9()
    path = namespaces.NETNS_DIR / "made"
    namespaces.unmount(path)
    if not wanted:
        file.unlink()
    await daemon.start()
    if wanted:
        async with daemon.client() as client:
            await until(lambda: _all_attached(client, 1), "attached again")
            assert (await client.check("made")).in_sync
    else:
        await until(lambda: not path.exists(), "nothing is left over")
