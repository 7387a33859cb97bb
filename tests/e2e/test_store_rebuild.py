"""The store is lost, the kernel is not: desired state is made of its marks, and no workload notices."""

from __future__ import annotations

import asyncio
import os
import re
from typing import Any

import grpc
import pytest

from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.models.attachment import REBUILT_SOURCE
from tests.e2e.conftest import MakeHost, StartDaemon
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host, kernel_state
from tests.e2e.losses import LOSSES, Lose, all_attached, delete, listed, start_without_store, store_of, store_rebuilt
from tests.e2e.statefiles import declare, document
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, condition, detach, refused, texts, v4, v6

FILE = "web.yaml"
WHOSE = re.compile(r"\s*(flags |table inet netplumb)")


def link_of(answer: pb.AttachResponse) -> str:
    return answer.attachment.node_if_name


def in_every_part(*hosts: Host) -> set[str]:
    """All of the kernel that netplumb writes to: links to neighbours, token buckets, the nftables table, but for whose
    that is."""
    found = kernel_state(*hosts)
    for host in hosts:
        for line in ("tc qdisc show", "tc filter show dev {} ingress", "nft -s list table inet netplumb"):
            links = sorted(name for name in host.links() if name.startswith("np")) if "{}" in line else [""]
            listed = (host.run(line.format(name), ok=not line.startswith("nft")) for name in links)
            found |= {f"{host.name}: {said}" for text in listed for said in text.splitlines() if not WHOSE.match(said)}
    return found


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
async def test_what_runs_is_rebuilt_and_nothing_is_touched(
    daemon: Daemon, node: Host, web: Host, db: Host, lose: Lose
) -> None:
    """However the store was lost: same addresses, same MAC, same objects in the kernel, and Status names what was
    rebuilt, what is not known of it, and where the damaged file is kept."""
    async with daemon.client() as client:
        first = await client.attach(attach(web, container_id="c1", labels={"app": "web"}, mtu=1400))
        second = await client.attach(attach(db, addresses=["10.213.0.77", "198.51.100.7"], mac="02:00:5e:10:00:07"))
    before = kernel_state(node, web, db)
    await start_without_store(daemon, lose)
    async with daemon.client() as client:
        await until(lambda: all_attached(client, 2), "both are attached")
        assert kernel_state(node, web, db) == before
        found = await listed(client)
        for answer in (first, second):
            now = found[answer.attachment.workload_id]
            for field in ("if_name", "netns_path", "mac", "mtu"):
                assert getattr(now, field) == getattr(answer.attachment, field), field
            assert set(now.addresses) == set(answer.attachment.addresses)
            assert (now.source, now.container_id, dict(now.labels)) == (REBUILT_SOURCE, "", {})
            told = condition(now, "Rebuilt")
            assert told is not None
            assert "container id" in told.message
            assert condition(now, "PoolRemoved") is None
            assert (await client.check(now.workload_id)).in_sync
        told = await store_rebuilt(client)
        assert told is not None
        assert "2 attachments as the kernel had them (db/eth0, web/eth0)" in told.message
        kept = daemon.data_dir / "netplumb.db.damaged"
        assert (str(kept) in told.message) == kept.exists() == (lose is not delete)
    assert node.ping(v4(first))
    assert node.ping(v6(first))


async def test_ports_limits_routes_and_isolation_are_as_they_were(
    daemon: Daemon, node: Host, outside: Host, web: Host, db: Host
) -> None:
    """All that a wish can ask of the kernel is read back from the kernel: published ports lead where they led, limits
    and isolation hold, no rule and no bucket is touched, and Get tells of them."""
    wish: dict[str, Any] = {
        "ports": ("8080:80", "8000-8003:9000-9003/udp", "127.0.0.1:8443:443"),
        "bandwidth": pb.Bandwidth(ingress_rate=80_000_000, egress_rate=40_000_000, egress_burst=800_000),
        "routes": [pb.Route(dst="203.0.113.0/24"), pb.Route(dst="2001:db8:77::/48")],
        "isolate_workloads": True,
        "isolate_node": False,
        "default_route": False,
    }
    async with daemon.client() as client:
        first = await client.attach(attach(web, **wish))
        second = await client.attach(attach(web, if_name="net1", default_route=True))
        await client.attach(attach(db, default_route=False, addresses=["10.213.0.50"]))
        told = [await client.get("web"), await client.get("web", "net1"), await client.get("db")]
    before = in_every_part(node, web, db)
    await start_without_store(daemon)
    async with daemon.client() as client:
        await until(lambda: all_attached(client, 3), "all are attached")
        now = [await client.get("web"), await client.get("web", "net1"), await client.get("db")]
        for then, after in zip(told, now, strict=True):
            for field in ("addresses", "mac", "bandwidth", "default_route", "isolate_node", "isolate_workloads"):
                assert getattr(after, field) == getattr(then, field), (after.if_name, field)
            for field in ("port_mappings", "routes"):
                assert sorted(map(str, getattr(after, field))) == sorted(map(str, getattr(then, field))), field
            assert (await client.check(after.workload_id, after.if_name)).in_sync
        assert in_every_part(node, web, db) == before
        again = await client.attach(attach(web, **wish))
        assert again.ip == first.ip
        assert in_every_part(node, web, db) == before
        assert (await client.status()).counters.repairs == {}
    assert node.ping(v4(second))


async def test_a_client_goes_on_as_before(daemon: Daemon, node: Host, web: Host, db: Host) -> None:
    """Attach says what the marks could not, keeps the address and touches nothing; Detach takes away; both leave
    nothing in Status."""
    async with daemon.client() as client:
        first = await client.attach(attach(web, container_id="c1"))
        await client.attach(attach(db))
    await start_without_store(daemon)
    async with daemon.client() as client:
        await until(lambda: all_attached(client, 2), "both are attached")
        before = kernel_state(node, web)
        again = await client.attach(attach(web, container_id="c1", labels={"app": "web"}))
        assert again.ip == first.ip
        assert (again.attachment.source, again.attachment.container_id) == ("rpc", "c1")
        assert condition(again.attachment, "Rebuilt") is None
        assert kernel_state(node, web) == before
        await client.detach(detach("db", db.path, container_id="c2"))
        assert "eth0" not in db.links()
        assert list(await listed(client)) == ["web"]
        assert await store_rebuilt(client) is None
    await daemon.restart()
    async with daemon.client() as client:
        await until(lambda: all_attached(client, 1), "attached")
        assert (await client.get("web")).source == "rpc"


async def test_no_address_is_given_out_twice(daemon: Daemon, web: Host, make_host: MakeHost) -> None:
    """What was rebuilt holds its addresses, and what was freed shortly before is not given out at once."""
    async with daemon.client() as client:
        freed = await client.attach(attach(make_host("w1")))
        held = await client.attach(attach(web))
        await client.detach(detach("w1"))
    await start_without_store(daemon)
    async with daemon.client() as client:
        new = await client.attach(attach(make_host("w2")))
        assert set(new.ip).isdisjoint([*held.ip, *freed.ip])
        with refused(grpc.StatusCode.ALREADY_EXISTS, "web/eth0"):
            await client.attach(attach(make_host("w3"), addresses=[v4(held)]))


async def test_a_state_file_has_its_attachments_again(daemon: Daemon, node: Host, web: Host) -> None:
    """A file that declares the key has it, with the addresses that were assigned, and nothing in the kernel moves."""
    declare(daemon, FILE, document("web", web, app="web"), document("made", "made", create=True))
    async with daemon.client() as client:
        await until(lambda: all_attached(client, 2), "both are attached")
        addresses = {name: list(found.addresses) for name, found in (await listed(client)).items()}
    before = kernel_state(node, web, Host("made"))
    await start_without_store(daemon)
    async with daemon.client() as client:

        async def declared() -> bool:
            return all(it.source == f"file/{FILE}" and it.phase == "Attached" for it in (await listed(client)).values())

        await until(declared, "the file holds both")
        assert {name: list(found.addresses) for name, found in (await listed(client)).items()} == addresses
        assert kernel_state(node, web, Host("made")) == before
        assert await store_rebuilt(client) is None
        (daemon.state_files / FILE).unlink()
        await until(lambda: not Host("made").exists, "the namespace that netplumb made goes with its attachment")
        await until(lambda: "eth0" not in web.links(), "the interface goes")


async def test_a_state_file_that_comes_later_has_them_then(daemon: Daemon, node: Host, web: Host) -> None:
    """While the directory cannot be read, what it declared is kept as it is rebuilt; nothing is an orphan."""
    declare(daemon, FILE, document("web", web))
    async with daemon.client() as client:
        await until(lambda: all_attached(client, 1), "attached")
    before = kernel_state(node, web)
    away = daemon.state_files.with_name("away")
    daemon.kill9()
    delete(store_of(daemon))
    daemon.state_files.rename(away)
    await daemon.start()
    async with daemon.client() as client:
        await until(lambda: all_attached(client, 1), "attached")
        assert (await client.get("web")).source == REBUILT_SOURCE
        away.rename(daemon.state_files)

        async def declared() -> bool:
            return (await client.get("web")).source == f"file/{FILE}"

        await until(declared, "the file has it", within_s=10)
    assert kernel_state(node, web) == before


async def test_damage_beside_the_loss_is_repaired(daemon: Daemon, node: Host, web: Host, db: Host) -> None:
    """Routes gone on one, neighbours and the workload's addresses on the other: what one mark lost another tells."""
    async with daemon.client() as client:
        first = await client.attach(attach(web))
        second = await client.attach(attach(db))
    before = kernel_state(node, web, db)
    daemon.kill9()
    delete(store_of(daemon))
    node.ip(f"-4 route delete {v4(first)}")
    node.ip(f"-6 route delete {v6(first)}")
    for address in texts(second):
        node.ip(f"neighbour delete {address} dev {link_of(second)}")
    db.ip(f"address delete {v4(second)}/32 dev eth0")
    await daemon.start()
    async with daemon.client() as client:
        await until(lambda: all_attached(client, 2), "both are attached")
        found = await listed(client)
        assert tuple(found["web"].addresses) == texts(first)
        assert tuple(found["db"].addresses) == texts(second)
    await until(lambda: kernel_state(node, web, db) == before, "all is as it was")


async def test_a_link_of_nobody_is_left_alone(daemon: Daemon, node: Host, make_host: MakeHost) -> None:
    """With its alias damaged nobody knows whose it is: it is named in Status, it goes on working through restarts, its
    address is held; an Attach under its key has it back, and when it is deleted its address is free."""
    one, two = make_host("sandbox-1"), make_host("sandbox-2")
    async with daemon.client() as client:
        limits = pb.Bandwidth(ingress_rate=80_000_000, egress_rate=40_000_000)
        first = await client.attach(attach(one, "w1", ports=("8080:80",), bandwidth=limits, isolate_node=True))
        second = await client.attach(attach(two, "w2"))
    daemon.kill9()
    for answer in (first, second):
        node.ip(f"link set {link_of(answer)} alias scribble")
    before = in_every_part(node, one, two)
    await start_without_store(daemon)
    await daemon.restart()
    async with daemon.client() as client:
        told = await store_rebuilt(client)
        assert told is not None
        assert link_of(first) in told.message
        with refused(grpc.StatusCode.ALREADY_EXISTS, link_of(second)):
            await client.attach(attach(make_host("other"), addresses=[v4(second)]))
        assert in_every_part(node, one, two) == before
        again = await client.attach(attach(one, "w1"))
        assert again.ip == first.ip
        assert node.link(link_of(first))["ifalias"] == "netplumb:eth0:w1"
        assert node.link(link_of(first))["ifindex"]
        node.ip(f"link delete {link_of(second)}")
        daemon.reload()

        async def free() -> bool:
            return await store_rebuilt(client) is None

        await until(free, "nothing is left to tell")
        new = await client.attach(attach(make_host("new"), addresses=[v4(second)]))
        assert v4(new) == v4(second)


async def test_a_damaged_alias_is_read_from_the_name(daemon: Daemon, node: Host, web: Host) -> None:
    """The link's name is a digest of the key, so a guess from the namespace's name can be proved."""
    async with daemon.client() as client:
        first = await client.attach(attach(web))
    daemon.kill9()
    node.ip(f"link set {link_of(first)} alias scribble")
    await start_without_store(daemon)
    async with daemon.client() as client:
        await until(lambda: all_attached(client, 1), "attached")
        assert tuple((await client.get("web")).addresses) == texts(first)
        assert (await client.get("web")).source == REBUILT_SOURCE
    await until(lambda: node.link(link_of(first))["ifalias"] == "netplumb:eth0:web", "the alias is mended")


@pytest.mark.parametrize("lost", [False, True], ids=["store kept", "store lost"])
async def test_a_link_renamed_meanwhile_gets_its_name_back(daemon: Daemon, node: Host, web: Host, lost: bool) -> None:
    """With or without its store, the daemon knows the link by its alias, and does not make another."""
    async with daemon.client() as client:
        name = link_of(await client.attach(attach(web)))
    before = kernel_state(node, web)
    daemon.kill9()
    for line in (f"set {name} down", f"set {name} name elsewhere", "set elsewhere up"):
        node.ip(f"link {line}")
    await (start_without_store(daemon) if lost else daemon.start())
    async with daemon.client() as client:
        await until(lambda: all_attached(client, 1), "attached")
    assert kernel_state(node, web) == before


async def test_one_that_was_half_built_waits_for_its_client(daemon: Daemon, node: Host, web: Host) -> None:
    """A pair without addresses, as a kill in the middle of an attach leaves it, is kept; the retry fills it."""
    async with daemon.client() as client:
        first = await client.attach(attach(web))
    index = node.link(link_of(first))["ifindex"]
    daemon.kill9()
    delete(store_of(daemon))
    node.ip(f"link set {link_of(first)} down")
    for address in texts(first):
        node.run(f"ip neighbour delete {address} dev {link_of(first)}", ok=False)
    web.ip("address flush dev eth0")
    await daemon.start()
    async with daemon.client() as client:
        assert list((await client.get("web")).addresses) == []
        again = await client.attach(attach(web))
        assert len(again.ip) == 2
        assert node.link(link_of(first))["ifindex"] == index
        assert node.ping(v4(again))


async def test_a_namespace_is_found_by_a_process_in_it(daemon: Daemon, web: Host) -> None:
    """Without a name left, the path is that of a process, and the attachment is in full repair."""
    sleeper = await asyncio.create_subprocess_exec(*web.command("sleep", "60"))
    try:
        async with daemon.client() as client:
            await client.attach(attach(web))
        web.remove()
        await start_without_store(daemon)
        async with daemon.client() as client:
            await until(lambda: all_attached(client, 1), "attached")
            found = await client.get("web")
            assert found.netns_path == f"/proc/{sleeper.pid}/ns/net"
            assert condition(found, "NetnsUnreachable") is None
            assert (await client.check("web")).in_sync
    finally:
        sleeper.kill()
        await sleeper.wait()


async def test_a_namespace_that_no_path_leads_to(daemon: Daemon, node: Host, web: Host, db: Host) -> None:
    """One that only a descriptor holds keeps its address and its node's side, and says so; Attach by a new path brings
    it back in full, and Detach by any path takes it away."""
    descriptors = [os.open(host.path, os.O_RDONLY) for host in (web, db)]
    paths = [f"/proc/{os.getpid()}/fd/{descriptor}" for descriptor in descriptors]
    try:
        async with daemon.client() as client:
            first = await client.attach(attach(web))
            second = await client.attach(attach(db))
        web.remove()
        db.remove()
        await start_without_store(daemon)
        async with daemon.client() as client:
            await until(lambda: all_attached(client, 2), "both are attached")
            told = condition(await client.get("web"), "NetnsUnreachable")
            assert told is not None
            assert told.status
            assert tuple((await client.get("web")).addresses) == texts(first)
            assert node.ping(v4(first))
            index = node.link(link_of(first))["ifindex"]
            again = await client.attach(attach(paths[0], "web"))
            assert again.ip == first.ip
            assert node.link(link_of(first))["ifindex"] == index
            assert condition(again.attachment, "NetnsUnreachable") is None
            await client.detach(detach("db", paths[1]))
            assert link_of(second) not in node.links()
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


async def test_a_removal_that_was_lost_is_asked_for_again(daemon: Daemon, node: Host, web: Host) -> None:
    """Of a Detach that was not answered the kernel knows nothing, so the attachment is back until it is repeated."""
    async with daemon.client() as client:
        first = await client.attach(attach(web))
    await start_without_store(daemon)
    async with daemon.client() as client:
        await client.detach(detach("web", web.path))
        assert link_of(first) not in node.links()
        assert await listed(client) == {}


async def test_a_pool_that_was_in_use_is_not_refused(daemon: Daemon, node: Host, web: Host) -> None:
    """A foreign route that came later keeps no daemon from its repairs, with or without its store."""
    async with daemon.client() as client:
        await client.attach(attach(web))
    node.ip("route add 10.213.0.128/25 via 192.0.2.2")
    await start_without_store(daemon)
    async with daemon.client() as client:
        await until(lambda: all_attached(client, 1), "attached")


async def test_a_purge_that_is_not_carried_out_loses_nothing(daemon: Daemon, node: Host, web: Host) -> None:
    """Asked beside a lost store and answered with no, the purge leaves one from which the daemon goes on."""
    async with daemon.client() as client:
        await client.attach(attach(web))
    before = kernel_state(node, web)
    daemon.kill9()
    delete(store_of(daemon))
    done = daemon.purge(answer="n\n")
    assert "link np" in done.stdout
    assert done.returncode == 1
    await daemon.start()
    async with daemon.client() as client:
        await until(lambda: all_attached(client, 1), "attached")
    assert kernel_state(node, web) == before


async def test_a_purge_without_a_store_takes_all_that_is_ours(daemon: Daemon, node: Host, web: Host) -> None:
    """Links, table, addresses, and the namespace that netplumb made, by the mark that it left there."""
    declare(daemon, FILE, document("made", "made", create=True))
    async with daemon.client() as client:
        await client.attach(attach(web, ports=("8080:80",)))
        await until(lambda: all_attached(client, 2), "both are attached")
    daemon.kill9()
    delete(store_of(daemon))
    done = daemon.purge(answer="y\n")
    assert done.returncode == 0, done.stderr
    assert "netns made" in done.stdout
    assert not [name for name in node.links() if name.startswith("np")]
    assert "netplumb" not in node.ruleset()
    assert not Host("made").exists
    assert web.exists


async def test_a_fresh_node_has_nothing_to_tell(start_daemon: StartDaemon) -> None:
    """The first start of all says nothing of a lost store."""
    daemon = await start_daemon()
    async with daemon.client() as client:
        assert await store_rebuilt(client) is None
