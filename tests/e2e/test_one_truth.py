"""What is not as wished is told with the same reason by every view of the same moment, and none says in sync."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.models.attachment import AttachmentKey
from netplumb.models.naming import node_if_name
from netplumb.reconciler.status.retries import BACKOFF_MOST_S
from tests.damage.altered import PROGRAMS
from tests.e2e.conftest import MakeHost, StartDaemon
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.statefiles import declare, document
from tests.e2e.test_fighting import NAMED_WITHIN_S, fighting
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, refused, v4

COMMANDS = ("status", "list", "get", "describe WORKLOAD", "check", "check WORKLOAD", "plan")
UNMET = 1
RESYNCED_S = 0.3  # what a pass of the start's resync over one attachment surely ends in


class Views:
    """Every view of one attachment at about the same moment: what each command prints, and how it exits."""

    def __init__(self, daemon: Daemon, client: AsyncClient) -> None:
        self._daemon = daemon
        self._client = client

    def shown(self, command: str, workload_id: str, *options: str) -> tuple[int, str]:
        words = [workload_id if word == "WORKLOAD" else word for word in command.split()]
        if command == "get":
            words.append(workload_id)
        done = self._daemon.command(*words, f"--socket={self._daemon.socket}", *options)
        assert not done.stderr, done.stderr
        return done.returncode, done.stdout

    async def watched(self) -> list[pb.Attachment]:
        """The snapshot with which a watch begins."""
        found = []
        async for event in self._client.watch():
            if event.change == pb.WatchResponse.SNAPSHOT_COMPLETE:
                break
            found.append(event.attachment)
        return found

    async def agree(self, workload_id: str, phase: str, reason: str, words: str, *, in_sync: int = 0) -> None:
        """Each of them tells this reason in these words, `check` exits 1, and nobody says that all is well. So many
        rows of the same key are in sync."""
        for command in COMMANDS:
            exit_code, text = self.shown(command, workload_id)
            assert exit_code == (UNMET if "check" in command else 0), (command, exit_code, text)
            assert reason in text, f"{command}: {text}"
            assert words in text, f"{command}: {text}"
            assert text.count(f"{workload_id}/eth0: in sync") == in_sync * (command == "check"), f"{command}: {text}"
            assert "nothing to change" not in text, f"{command}: {text}"
        told = [it for it in await self.watched() if it.workload_id == workload_id and it.unmet]
        assert {it.phase for it in told} == {phase}
        assert any(why.reason == reason and words in why.message for it in told for why in it.unmet)

    async def all_is_well(self, workload_id: str) -> None:
        for command in COMMANDS:
            exit_code, text = self.shown(command, workload_id)
            assert exit_code == 0, (command, text)
            assert "REASON" not in text, (command, text)
            assert "not as wished" not in text, (command, text)
        assert "nothing to change" in self.shown("plan", workload_id)[1]
        assert "node: in sync" in self.shown("check", workload_id)[1]
        assert not [it for it in await self.watched() if it.unmet]

    def as_data(self, command: str, workload_id: str) -> Any:
        return json.loads(self.shown(command, workload_id, "-o", "json")[1])


@pytest.fixture
def views(daemon: Daemon, client: AsyncClient) -> Views:
    return Views(daemon, client)


def phase_is(client: AsyncClient, workload_id: str, phase: str) -> Callable[[], Awaitable[bool]]:
    async def asked() -> bool:
        return (workload_id, phase) in [(it.workload_id, it.phase) async for it in client.list()]

    return asked


async def test_an_interface_of_another_in_the_way(
    views: Views, client: AsyncClient, daemon: Daemon, web: Host, db: Host
) -> None:
    """Failed, and nothing to be changed, since what is not ours is left alone. What is attached beside it is in
    sync."""
    await client.attach(attach(db))
    web.ip("link add eth0 type veth peer name other")
    declare(daemon, "web.yaml", document("web", web))
    await until(phase_is(client, "web", "Failed"), "it failed")
    await views.agree("web", "Failed", "Conflict", "another interface named eth0")
    assert "db/eth0: in sync" in views.shown("check", "web")[1]
    assert views.shown("check WORKLOAD", "db")[0] == 0
    made = views.as_data("plan", "web")
    assert made["changes"] == []
    assert [(it["workload_id"], it["reason"]) for it in made["unmet"]] == [("web", "Conflict")]
    web.ip("link delete eth0")
    await until(phase_is(client, "web", "Attached"), "the next try attaches it", within_s=BACKOFF_MOST_S * 2)
    await views.all_is_well("web")


async def test_an_interface_of_another_is_foreseen(client: AsyncClient, web: Host) -> None:
    """Who asks what an Attach would change is told that it would fail, and by what."""
    web.ip("link add eth0 type veth peer name other")
    made = await client.plan(attach(web))
    assert not made.changes
    assert [(it.workload_id, it.reason) for it in made.unmet] == [("web", "Conflict")]


async def test_a_namespace_that_is_missing(views: Views, client: AsyncClient, daemon: Daemon) -> None:
    """Pending until it is made."""
    declare(daemon, "web.yaml", document("web", "web"))
    await until(phase_is(client, "web", "Pending"), "it waits")

    async def looked_at() -> bool:
        return any(why.reason == "PathMissing" for why in (await client.get("web")).unmet)

    await until(looked_at, "a pass has found nothing there")
    await views.agree("web", "Pending", "PathMissing", "/run/netns/web")
    web = Host("web").create()
    try:
        await until(phase_is(client, "web", "Attached"), "it is attached")
        await views.all_is_well("web")
    finally:
        web.remove()


async def test_a_key_of_another(views: Views, client: AsyncClient, daemon: Daemon, web: Host) -> None:
    """The holder is attached and in sync; what waits for its key has a row of its own, in Conflict."""
    await client.attach(attach(web))
    declare(daemon, "web.yaml", document("web", web))
    await until(phase_is(client, "web", "Conflict"), "the file waits")
    await views.agree("web", "Conflict", "AlreadyHeld", "held by rpc; what file/web.yaml declares", in_sync=1)
    rows = [line.split()[2:4] for line in views.shown("list", "web")[1].splitlines()[1:]]
    assert [phase for phase, _ in rows] == ["Attached", "Conflict"]
    reports = views.as_data("check", "web")
    assert [(it["attachment"] or {}).get("phase") for it in reports] == [None, "Attached", "Conflict"]
    assert [it["in_sync"] for it in reports] == [True, True, False]


@pytest.mark.parametrize("held", ["address", "port"])
async def test_an_address_or_a_port_of_another(
    views: Views, client: AsyncClient, daemon: Daemon, web: Host, db: Host, held: str
) -> None:
    """What a file wishes and cannot have is shown by every view, `get` and `check` by its name among them."""
    answer = await client.attach(attach(db, ports=("8080:80",)))
    wish = f"addresses: [{v4(answer)}]" if held == "address" else "port_mappings: ['8080:80']"
    declare(daemon, "web.yaml", document("web", web) + wish + "\n")
    await until(phase_is(client, "web", "Failed"), "the file waits")
    await views.agree("web", "Failed", "AlreadyHeld", "db/eth0")
    await client.detach(pb.DetachRequest(workload_id="db"))
    await until(phase_is(client, "web", "Attached"), "it has what it waited for")
    await views.all_is_well("web")


async def test_a_watcher_is_told_of_what_waits(client: AsyncClient, daemon: Daemon, web: Host) -> None:
    """As it begins to wait, and as it waits no more."""
    await client.attach(attach(web))
    events = client.watch()
    async for event in events:
        if event.change == pb.WatchResponse.SNAPSHOT_COMPLETE:
            break
    path = declare(daemon, "web.yaml", document("web", web))
    async for event in events:
        if event.attachment.phase == "Conflict":
            break
    assert [why.reason for why in event.attachment.unmet] == ["AlreadyHeld"]
    path.unlink()
    async for event in events:
        if event.change == pb.WatchResponse.REMOVED:
            break
    assert (event.attachment.source, event.attachment.phase) == ("file/web.yaml", "Conflict")


async def test_a_program_that_undoes_repairs(views: Views, client: AsyncClient, node: Host, web: Host) -> None:
    """Attached, and a reason all the same; what differs while the next repair waits is shown as well."""
    address = v4(await client.attach(attach(web)))
    name = node_if_name(AttachmentKey("web", "eth0"))

    async def named() -> bool:
        return any(why.reason == "Fighting" for why in (await client.get("web")).unmet)

    with fighting(node, "route", name, address):
        await until(named, "the fight is named", within_s=NAMED_WITHIN_S)
        await views.agree("web", "Attached", "Fighting", f"route {address}/32")
        await until(lambda: node.route(address) is None, "the route is gone")
        for command in ("check", "plan"):
            assert f"+ route {address}/32" in views.shown(command, "web")[1]


async def test_drift_that_nothing_told_of(node: Host, directory: Path, web: Host) -> None:
    """`check` reads the kernel and agrees with `plan`, before any pass has met the difference."""
    daemon = Daemon(node, directory, program=PROGRAMS["deaf"])
    try:
        await daemon.start()
        async with daemon.client() as client:
            views = Views(daemon, client)
            address = v4(await client.attach(attach(web)))

            async def is_unheard_of() -> bool:
                """The resync of the start may be under way yet, and repairs what comes before its end."""
                if node.route(address) is not None:
                    node.ip(f"-4 route delete {address}")
                await asyncio.sleep(RESYNCED_S)
                return "+ route" in views.shown("plan", "web")[1] and node.route(address) is None

            await until(is_unheard_of, "the route stays away", within_s=30)
            for command in ("check", "check WORKLOAD", "plan"):
                exit_code, text = views.shown(command, "web")
                assert f"+ route {address}/32" in text, (command, text)
                assert "web/eth0: in sync" not in text, (command, text)
                assert exit_code == (UNMET if "check" in command else 0)
    finally:
        daemon.end()


async def test_a_path_that_hides_the_namespace(views: Views, client: AsyncClient, node: Host, web: Host) -> None:
    """What cannot be compared is not in sync, though the node's side is."""
    await client.attach(attach(web))
    descriptor = os.open(web.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        web.remove()

        async def told() -> bool:
            return any(why.reason == "NetnsUnreachable" for why in (await client.get("web")).unmet)

        await until(told, "it is told")
        await views.agree("web", "Attached", "NetnsUnreachable", web.path)
    finally:
        os.close(descriptor)


async def test_a_firewall_that_drops_all(views: Views, client: AsyncClient, node: Host, web: Host) -> None:
    """The node's own reason, told with the node; an attachment that is asked for by its name is not in sync either."""
    await client.attach(attach(web))
    await views.all_is_well("web")
    node.run("nft add table inet site")
    node.run("nft 'add chain inet site through { type filter hook forward priority 0; policy drop; }'")

    async def told() -> bool:
        return any(why.reason == "ForwardBlocked" for why in (await client.status()).unmet)

    await until(told, "it is told")
    for command in ("status", "check", "check WORKLOAD", "plan"):
        exit_code, text = views.shown(command, "web")
        assert "ForwardBlocked" in text, (command, text)
        assert exit_code == (UNMET if "check" in command else 0)
    assert "web/eth0: in sync" in views.shown("check", "web")[1], "the kernel holds all of its own"
    node.run("nft delete table inet site")

    async def over() -> bool:
        return (await client.check("web")).in_sync

    await until(over, "it is open again")


async def test_a_switch_of_the_node_that_somebody_holds(
    views: Views, client: AsyncClient, node: Host, web: Host
) -> None:
    """While repairs of the node wait, neither the node nor who needs it is in sync."""
    await client.attach(attach(web))

    async def named() -> bool:
        return any(why.reason == "Fighting" for why in (await client.status()).unmet)

    with fighting(node, "sysctl", "net/ipv4/ip_forward", "0"):
        await until(named, "the fight is named", within_s=NAMED_WITHIN_S)
        for command in ("status", "check", "check WORKLOAD", "plan"):
            exit_code, text = views.shown(command, "web")
            assert "node:" in text, (command, text)
            assert "net.ipv4.ip_forward" in text, (command, text)
            assert exit_code == (UNMET if "check" in command else 0)


async def test_a_state_file_that_does_not_parse(views: Views, client: AsyncClient, daemon: Daemon, web: Host) -> None:
    """What it wishes is not known, so not all is as wished; what was attached goes on and is in sync."""
    await client.attach(attach(web))
    declare(daemon, "broken.yaml", "kind: [")

    async def told() -> bool:
        return any(why.reason == "StateFileBroken" for why in (await client.status()).unmet)

    await until(told, "it is told")
    for command in ("status", "check", "plan"):
        exit_code, text = views.shown(command, "web")
        assert "StateFileBroken: file/broken.yaml" in text, (command, text)
        assert exit_code == (UNMET if command == "check" else 0)
    assert views.shown("check WORKLOAD", "web")[0] == 0


async def test_a_node_without_pools(start_daemon: StartDaemon, make_host: MakeHost) -> None:
    """Static attachments work, and every view shows them; to a bare Status the daemon is unavailable, since runtimes
    read from it that nothing can be attached."""
    daemon = await start_daemon(pools=())
    web = make_host("web")
    declare(daemon, "web.yaml", document("web", web, addresses=("10.20.0.5", "fd20::5")))
    async with daemon.client() as client:
        await until(phase_is(client, "web", "Attached"), "it is attached")
        await Views(daemon, client).all_is_well("web")
        with refused(grpc.StatusCode.UNAVAILABLE, "no pool"):
            await client.status()
    shown = daemon.command("status", f"--socket={daemon.socket}")
    assert shown.returncode == 0
    assert "1 Attached" in shown.stdout
    assert "none, so that each attachment has to state its addresses" in shown.stdout
