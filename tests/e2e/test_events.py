"""What happened is told: to who asks later, to who follows, and after the daemon died."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from contextlib import aclosing
from pathlib import Path

import grpc

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.reconciler.history.eventfile import path_in
from netplumb.reconciler.pacing.fights import FREE_REPAIRS
from tests.damage.victims import victim
from tests.e2e.conftest import UPLINK, StartDaemon
from tests.e2e.daemons import POOLS, Daemon
from tests.e2e.hosts import Host
from tests.e2e.statefiles import declare, document
from tests.e2e.test_fighting import NAMED_WITHIN_S, fighting
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, detach, refused


async def told(client: AsyncClient, about: str = "") -> list[pb.Event]:
    return [event async for event in client.events(about)]


async def kinds(client: AsyncClient, about: str) -> list[str]:
    return [event.kind for event in await told(client, about)]


async def the(client: AsyncClient, kind: str, about: str = "", *, within_s: float = 5.0) -> pb.Event:
    """The last event of a kind, which is to come soon."""
    found: list[pb.Event] = []

    async def comes() -> bool:
        found[:] = [event for event in await told(client, about) if event.kind == kind]
        return bool(found)

    await until(comes, f"an event {kind} is told", within_s=within_s)
    return found[-1]


async def test_a_life_is_told_from_attach_to_detach(client: AsyncClient, node: Host, web: Host, db: Host) -> None:
    """Attached, changed, repaired with what was found, what was done and how long it had been so, detached."""
    answer = await client.attach(attach(web))
    await client.attach(attach(db))
    hit = victim(node, web, answer)
    node.ip(f"-4 route delete {hit.v4}")
    repair = await the(client, "Repaired", "web")
    (found,) = repair.found
    assert found.startswith(f"route {hit.v4}/32 dev ")
    assert found.endswith(" was missing")
    assert list(repair.done) == ["added"]
    assert 0 < repair.lasted_s < 2
    assert not repair.lasted_at_most
    await client.attach(attach(web, mtu=1400))
    await client.detach(detach("web"))
    assert await kinds(client, "web") == ["Attached", "Repaired", "Changed", "Detached"]
    assert await kinds(client, "web/eth0") == await kinds(client, "web")
    assert await kinds(client, "web/eth1") == []
    first, *_, last = await told(client, "web")
    assert all(address in first.message and address in last.message for address in answer.attachment.addresses)


async def test_damage_to_the_node_is_told_of_the_node(client: AsyncClient, node: Host) -> None:
    node.run("nft flush chain inet netplumb guard")
    repair = await the(client, "Repaired")
    assert repair.workload_id == ""
    assert repair.found[0].startswith("nft chain inet netplumb guard had ")
    assert repair.HasField("lasted_s")


async def repairs(client: AsyncClient) -> int:
    """As the daemon counts them."""
    return sum((await client.status()).counters.repairs.values())


async def test_what_follows_another_interface_is_no_repair(client: AsyncClient, web: Host) -> None:
    """A port that the next one takes over, and the rules by which each interface answers for itself; nor is what goes
    with an interface, whatever pass comes before its removal."""
    await client.attach(attach(web, if_name="net1", ports=("8080:80",)))
    for _ in range(5):
        await client.attach(attach(web, ports=("8080:80",)))
        await client.detach(detach("web"))

    async def followed() -> bool:
        return (await kinds(client, "web/net1"))[-1] == "Changed"

    await until(followed, "the change is told")
    assert (await the(client, "Changed", "web/net1")).message.endswith("the workload's other interfaces")
    assert "Repaired" not in [event.kind for event in await told(client)]
    assert await repairs(client) == 0


async def test_what_follows_the_node_is_no_repair(client: AsyncClient, node: Host, web: Host) -> None:
    """The uplink's MTU, and damage beside it is one as ever."""
    hit = victim(node, web, await client.attach(attach(web)))
    node.ip(f"link set {UPLINK} mtu 1400")
    changed = await the(client, "Changed", "web")
    assert changed.message.endswith("the node")
    assert web.link("eth0")["mtu"] == 1400
    assert await repairs(client) == 0
    node.ip(f"-4 route delete {hit.v4}")
    await the(client, "Repaired", "web")
    assert await repairs(client) == 1


async def test_what_a_wish_wants_of_the_node_is_no_repair(client: AsyncClient, node: Host, web: Host) -> None:
    """An address outside all pools has a routing rule, which comes and goes with it; a rule that somebody deleted is
    repaired."""
    await client.attach(attach(web, addresses=("198.18.0.9", "3fff:18::9")))
    await client.detach(detach("web"))
    await client.attach(attach(web, addresses=("198.18.0.9", "3fff:18::9")))
    assert "Repaired" not in [event.kind for event in await told(client)]
    assert await repairs(client) == 0
    node.ip("-4 rule delete to 198.18.0.9 lookup main")
    repair = await the(client, "Repaired")
    assert repair.found[0].startswith("rule to 198.18.0.9/32 lookup main ")
    assert await repairs(client) == 1


async def test_a_first_start_is_no_repair(node: Host, directory: Path) -> None:
    """Ports of the node that a file declares are made for the first time, and repaired from then on."""
    daemon = Daemon(node, directory)
    file = declare(daemon, "web.yaml", document("web", "made-1", create=True) + "port_mappings: ['8080:80']\n")
    try:
        await daemon.start()
        async with daemon.client() as client:
            await the(client, "Attached", "web")
            assert "Repaired" not in [event.kind for event in await told(client)]
            assert await repairs(client) == 0
            node.run("nft flush map inet netplumb port4_address")
            await the(client, "Repaired")
            file.unlink()
            await until(lambda: not Host("made-1").exists, "the namespace that was made is gone")
    finally:
        daemon.end()


async def test_a_refusal_is_logged_once(daemon: Daemon, client: AsyncClient, web: Host) -> None:
    """As the event that it is; what is no event, since it was wrong in itself, by who answers."""
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "nothing is there"):
        await client.attach(attach("/run/netns/nowhere"))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "mtu"):
        await client.attach(attach(web, mtu=7))
    await the(client, "Refused")

    def logged(word: str) -> list[str]:
        lines = (json.loads(line) for line in daemon.logged().splitlines() if line.startswith("{"))
        return [line["event"] for line in lines if word in json.dumps(line)]

    await until(lambda: logged("nowhere"), "it is logged")
    assert logged("nowhere") == ["Refused"]
    assert logged("INVALID_ARGUMENT") == ["rpc refused"]


async def test_what_a_resync_finds_had_been_so_for_at_most_so_long(start_daemon: StartDaemon, web: Host) -> None:
    """Nobody hears of a kernel parameter: all that is known is when it was last seen to be right."""
    daemon = await start_daemon()
    daemon.configure(resync_s=0.5)
    await daemon.restart()
    async with daemon.client() as client:
        await client.attach(attach(web, sysctls={"net.ipv4.tcp_keepalive_time": "99"}))
        web.set_sysctl("net/ipv4/tcp_keepalive_time", "7")
        repair = await the(client, "Repaired", "web")
        assert list(repair.found) == ["sysctl net.ipv4.tcp_keepalive_time in the workload had value '7'"]
        assert repair.lasted_at_most
        assert 0 < repair.lasted_s < 5


async def test_events_outlive_the_daemon(daemon: Daemon, node: Host, web: Host) -> None:
    """A killed one loses none that was written, tells of no attachment again, and of what changed meanwhile."""
    async with daemon.client() as client:
        hit = victim(node, web, await client.attach(attach(web)))
        database = sqlite3.connect(path_in(daemon.data_dir))
        await until(
            lambda: database.execute("SELECT COUNT(*) FROM event WHERE kind = 'Attached'").fetchone() == (1,),
            "the event is in the file",
        )
        database.close()
    daemon.kill9()
    await daemon.start()
    async with daemon.client() as client:
        assert await kinds(client, "web") == ["Attached"]
        assert [event.kind for event in await told(client)].count("Started") == 2
    daemon.terminate()
    node.ip(f"-4 route delete {hit.v4}")
    await daemon.start()
    async with daemon.client() as client:
        repair = await the(client, "Repaired", "web")
        assert "while the daemon did not run" in repair.message
        assert len(repair.found) == 1
        await client.attach(attach(web))  # the same wish is no event
        assert await kinds(client, "web") == ["Attached", "Repaired"]


async def test_what_fails_is_told_once_with_how_often(daemon: Daemon, client: AsyncClient, web: Host) -> None:
    """Something foreign has the interface's name: a state file's wish fails, and is attached when that goes."""
    web.ip("link add eth0 type veth peer name other")
    declare(daemon, "web.yaml", document("web", web))
    failed = await the(client, "Failed", "web")
    assert "eth0" in failed.message
    web.ip("link delete eth0")
    await the(client, "Attached", "web")
    assert await kinds(client, "web") == ["Failed", "Attached"]


async def test_a_namespace_that_goes_is_told(client: AsyncClient, web: Host) -> None:
    await client.attach(attach(web))
    web.remove()
    lost = await the(client, "Lost", "web")
    assert web.path in lost.message


async def test_refusals_are_told_with_their_reason(daemon: Daemon, client: AsyncClient, web: Host, db: Host) -> None:
    """Of a client and of a state file, with who asked."""
    await client.attach(attach(web, addresses=["10.213.0.77"]))
    with refused(grpc.StatusCode.ALREADY_EXISTS):
        await client.attach(attach(db, addresses=["10.213.0.77"]))
    event = await the(client, "Refused", "db")
    assert "10.213.0.77 is held by attachment web/eth0 (asked for by rpc)" in event.message
    declare(daemon, "web.yaml", document("web", web))
    event = await the(client, "Refused", "web")
    assert "held by rpc (asked for by file/web.yaml)" in event.message


async def test_a_fight_is_told_and_its_end(client: AsyncClient, node: Host, web: Host) -> None:
    """And the repairs in between are few events, not one each."""
    hit = victim(node, web, await client.attach(attach(web)))
    with fighting(node, "route", hit.link, hit.v4):
        fight = await the(client, "Fighting", "web", within_s=NAMED_WITHIN_S)
        assert hit.v4 in fight.message
    await the(client, "FightOver", "web", within_s=NAMED_WITHIN_S)
    repairs = [event for event in await told(client, "web") if event.kind == "Repaired"]
    assert sum(event.count for event in repairs) >= FREE_REPAIRS
    assert len(repairs) < FREE_REPAIRS


async def test_a_pool_that_fills_up_and_another_uplink_are_told(
    start_daemon: StartDaemon, node: Host, web: Host
) -> None:
    daemon = await start_daemon(pools=("10.213.0.0/30", *POOLS[1:]))
    async with daemon.client() as client:
        await client.attach(attach(web))
        full = await the(client, "PoolNearlyFull")
        assert full.message == "pool 10.213.0.0/30: 1 of 1 addresses are held"
        node.ip(f"link set {UPLINK} down")
        changed = await the(client, "UplinkChanged")
        assert changed.message == f"no uplink; it was uplink {UPLINK}, MTU 1500"


async def test_who_follows_hears_what_happens(daemon: Daemon, client: AsyncClient, web: Host) -> None:
    """At once, until the daemon ends."""
    async with aclosing(client.events("web", follow=True)) as events:  # type: ignore[type-var]
        coming = asyncio.ensure_future(anext(events))
        await client.attach(attach(web))
        assert (await asyncio.wait_for(coming, 5)).kind == "Attached"
        ending = asyncio.ensure_future(anext(events))
        await asyncio.to_thread(daemon.terminate)
        with refused(grpc.StatusCode.UNAVAILABLE, "stopping"):
            await ending


async def test_the_command_shows_them(daemon: Daemon, client: AsyncClient, web: Host, db: Host) -> None:
    """For people, and as JSON lines; of one workload, and of late."""

    def events(*words: str) -> list[str]:
        done = daemon.command("events", *words, f"--socket={daemon.socket}")
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    await client.attach(attach(web))
    between = time.time()
    await client.attach(attach(db))
    shown = events()
    assert [line.split()[2] for line in shown] == ["Started", "Attached", "Attached"]
    assert "web/eth0: 10.213.0.2" in shown[1]
    (line,) = events("web/eth0", "-o", "json")
    assert json.loads(line)["kind"] == "Attached"
    late = await told(client)
    assert [event.workload_id async for event in client.events(since=between)] == ["db"]
    assert len(events("--since", "1h30m")) == len(late)
    assert daemon.command("events", "--since", "soon", f"--socket={daemon.socket}").returncode == 2


async def test_events_go_with_a_purge(daemon: Daemon, client: AsyncClient, web: Host) -> None:
    await client.attach(attach(web))
    daemon.terminate()
    assert path_in(daemon.data_dir).exists()
    daemon.purge(answer="y\n")
    assert not path_in(daemon.data_dir).exists()


async def test_each_event_is_in_the_log(daemon: Daemon, client: AsyncClient, node: Host, web: Host) -> None:
    """As a line with the attachment, and with what was found."""
    hit = victim(node, web, await client.attach(attach(web)))
    node.ip(f"-4 route delete {hit.v4}")
    await the(client, "Repaired", "web")
    await client.detach(detach("web"))

    def lines() -> list[dict[str, str]]:
        logged = [json.loads(line) for line in daemon.logged().splitlines()]
        return [line for line in logged if line.get("attachment") == "web/eth0"]

    await until(lambda: [line["event"] for line in lines()] == ["Attached", "Repaired", "Detached"], "all are logged")
    assert hit.v4 in lines()[1]["found"]
