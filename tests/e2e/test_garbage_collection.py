"""Garbage collection on the real kernel: of one source, and of links that nobody wants."""

from __future__ import annotations

import asyncio
import json

import grpc
import pytest
from grpc.aio import AioRpcError, insecure_channel

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.unixsocket import grpc_address
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.api.v1 import netplumb_pb2_grpc as rpc
from tests.e2e.conftest import MakeHost
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host, kernel_state
from tests.e2e.losses import all_attached, listed, start_without_store
from tests.e2e.statefiles import declare, document
from tests.e2e.waiting import comes_true, until
from tests.e2e.wishes import attach, v4

ORPHAN = "npaaaaaaaaaaaa"
FOREIGN = "npbbbbbbbbbbbb"
SEEN_WITHIN_S = 1.5


def add_orphan(node: Host, netns: str) -> None:
    """A link with all our marks that no desired state knows. The name comes last: a resync may be under way."""
    node.ip(f"link add unnamed type veth peer name orphan netns {netns}")
    node.ip("link set unnamed alias netplumb:eth0:orphan")
    node.ip(f"link set unnamed group 28272 name {ORPHAN}")


async def test_what_does_not_live_is_detached_and_nothing_else(
    daemon: Daemon, client: AsyncClient, node: Host, make_host: MakeHost
) -> None:
    """Of one source's attachments those that are not named go, from the kernel too when the call returns; those named
    by container id or workload id stay, and so do a state file's."""
    hosts = {name: make_host(name) for name in ("named", "anonymous", "dead", "filed")}
    named = await client.attach(attach(hosts["named"], container_id="c1"))
    await client.attach(attach(hosts["anonymous"]))
    dead = [await client.attach(attach(hosts["dead"], container_id="c2", if_name=name)) for name in ("eth0", "net1")]
    declare(daemon, "a.yaml", document("filed", hosts["filed"]))
    await until(lambda: all_attached(client, 5), "all are attached")
    before = kernel_state(hosts["named"], hosts["anonymous"], hosts["filed"])
    removed = await client.gc([("c1", "eth0"), ("anonymous", "eth0")])
    assert sorted((it.workload_id, it.if_name, it.container_id) for it in removed) == [
        ("dead", "eth0", "c2"),
        ("dead", "net1", "c2"),
    ]
    assert {it.attachment.node_if_name for it in dead}.isdisjoint(node.links())
    assert kernel_state(hosts["named"], hosts["anonymous"], hosts["filed"]) == before
    assert set(await listed(client)) == {"named", "anonymous", "filed"}
    assert node.ping(v4(named))
    new = await client.attach(attach(make_host("new"), addresses=[v4(dead[0])]))
    assert v4(new) == v4(dead[0])


async def test_an_empty_list_detaches_all_of_that_source(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host
) -> None:
    """And only of that: not a state file's, and of another source there is nothing."""
    await client.attach(attach(web))
    declare(daemon, "a.yaml", document("db", db))
    await until(lambda: all_attached(client, 2), "both are attached")
    assert await client.gc([], "cni/pods") == []
    assert [it.workload_id for it in await client.gc([])] == ["web"]
    assert list(await listed(client)) == ["db"]
    assert "eth0" not in web.links()
    assert await client.gc([]) == []


@pytest.mark.parametrize(
    "request_",
    [
        pb.GCRequest(source="rpc"),
        pb.GCRequest(source="file/a.yaml", alive=pb.GCRequest.Alive()),
        pb.GCRequest(alive=pb.GCRequest.Alive(interfaces=[pb.GCRequest.Interface()])),
    ],
    ids=["no list", "a file's", "an id left out"],
)
async def test_what_is_not_said_changes_nothing(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, request_: pb.GCRequest
) -> None:
    """INVALID_ARGUMENT over the socket, and every attachment stays."""
    await client.attach(attach(web))
    before = kernel_state(node, web)
    async with insecure_channel(grpc_address(daemon.socket)) as channel:
        stub: rpc.WorkloadNetworkingAsyncStub = rpc.WorkloadNetworkingStub(channel)
        with pytest.raises(AioRpcError) as caught:
            await stub.GC(request_)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert kernel_state(node, web) == before


async def test_the_command_collects_what_its_list_leaves_out(
    daemon: Daemon, client: AsyncClient, web: Host, db: Host
) -> None:
    """`netplumb gc` says what it detached, and without a list it refuses."""
    await client.attach(attach(web, container_id="c1"))
    answer = await client.attach(attach(db, container_id="c2"))
    flags = ("--source", "rpc", "--socket", str(daemon.socket))
    refused = daemon.command("gc", *flags)
    assert refused.returncode == 2
    assert "--none" in refused.stderr
    assert len(await listed(client)) == 2
    done = daemon.command("gc", *flags, "--alive", "c1")
    assert (done.returncode, done.stdout.split()[:4]) == (0, ["detached", "db/eth0", "of", "container"]), done.stderr
    assert v4(answer) in done.stdout
    done = daemon.command("gc", *flags, "--none", "-o", "json")
    assert [it["workload_id"] for it in json.loads(done.stdout)] == ["web"]
    assert await listed(client) == {}


async def test_what_another_source_takes_over_meanwhile_is_collected(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host
) -> None:
    """A file that waits for the key of one and the port of another has both while the first is being removed: it is no
    garbage of the RPCs' any more, and the caller is told so, as of the rest."""
    await client.attach(attach(web))
    await client.attach(attach(db, ports=("8080:80",)))
    port = "port_mappings: [{host_port: 8080, container_port: 80}]\n"
    declare(daemon, "a.yaml", document("web", web) + port)

    async def waits() -> bool:
        return "Conflict" in {it.phase async for it in client.list()}

    await until(waits, "the file waits")
    assert sorted(it.workload_id for it in await client.gc([])) == ["db", "web"]
    await until(lambda: all_attached(client, 1), "the file's is attached")
    assert [(it.workload_id, it.source) async for it in client.list()] == [("web", "file/a.yaml")]
    assert node.ping((await client.get("web")).addresses[0])


async def test_two_collections_at_once_wait_for_the_same(client: AsyncClient, node: Host, make_host: MakeHost) -> None:
    """Whoever asks while the links are going is answered when they are gone."""
    for number in range(8):
        await client.attach(attach(make_host(f"w{number}")))
    answers = await asyncio.gather(*(client.gc([]) for _ in range(4)))
    assert not [name for name in node.links() if name.startswith("np")]
    assert {it.workload_id for answer in answers for it in answer} == {f"w{number}" for number in range(8)}


async def test_what_was_rebuilt_is_nobodys_garbage(daemon: Daemon, node: Host, web: Host) -> None:
    """Whose it was is not known after its store was lost, so no source's list detaches it."""
    async with daemon.client() as client:
        await client.attach(attach(web))
    await start_without_store(daemon)
    async with daemon.client() as client:
        await until(lambda: all_attached(client, 1), "attached")
        before = kernel_state(node, web)
        assert await client.gc([]) == []
        assert kernel_state(node, web) == before
        await client.attach(attach(web))
        assert [it.workload_id for it in await client.gc([])] == ["web"]


async def test_orphans_go_once_every_source_has_loaded_and_only_they(
    daemon: Daemon, node: Host, web: Host, db: Host, make_host: MakeHost
) -> None:
    """While the state files cannot be read nobody knows what they want, so nothing is removed, through any number of
    resyncs; once they are read the orphan goes, and what is wanted or foreign does not."""
    make_host("stray")
    async with daemon.client() as client:
        await client.attach(attach(web))
        declare(daemon, "a.yaml", document("db", db))
        await until(lambda: all_attached(client, 2), "both are attached")
    daemon.terminate()
    node.ip(f"link add {FOREIGN} type veth peer name other")
    before = kernel_state(node, web, db)
    add_orphan(node, "stray")
    away = daemon.state_files.with_name("away")
    daemon.state_files.rename(away)
    await daemon.start()
    async with daemon.client() as client:
        resyncs = (await client.status()).counters.resyncs
        for _ in range(3):
            daemon.reload()
            await asyncio.sleep(SEEN_WITHIN_S / 3)
        assert (await client.status()).counters.resyncs > resyncs
        assert not await comes_true(lambda: ORPHAN not in node.links(), within_s=SEEN_WITHIN_S)
        away.rename(daemon.state_files)
        await until(lambda: ORPHAN not in node.links(), "the orphan goes", within_s=10)
        await until(lambda: all_attached(client, 2), "both are attached")
    assert kernel_state(node, web, db) == before


async def test_a_link_that_is_not_ours_by_two_marks_is_no_orphan(
    daemon: Daemon, client: AsyncClient, node: Host, make_host: MakeHost
) -> None:
    """One mark alone, a kind that is not ours, or a foreign link that took our group: all stay, through resyncs."""
    make_host("stray")
    node.ip(f"link add {FOREIGN} type veth peer name other1 netns stray")
    node.ip("link add grouped group 28272 type veth peer name other2 netns stray")
    node.ip("link add aliased type veth peer name other3 netns stray")
    node.ip("link set aliased alias netplumb:eth0:nobody")
    node.ip("link add npbridge group 28272 type bridge")
    node.ip("link set npbridge alias netplumb:eth0:bridge")
    add_orphan(node, "stray")
    daemon.reload()
    await until(lambda: ORPHAN not in node.links(), "the orphan goes")
    assert {FOREIGN, "grouped", "aliased", "npbridge"} <= node.links().keys()
    assert (await client.status()).ready
