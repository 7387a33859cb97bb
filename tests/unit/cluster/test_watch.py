"""What a watch makes of a member that is silent, or says more than it has sent; on a server that plays one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
import pytest

from netplumb.models.clustersettings import ClusterSettings
from netplumb.reconciler.cluster.etcd import rpc_pb2 as pb
from netplumb.reconciler.cluster.etcd import rpc_pb2_grpc as rpc
from netplumb.reconciler.cluster.etcd.client import Client
from netplumb.reconciler.cluster.etcd.connection import Connection
from netplumb.reconciler.cluster.etcd.entries import Keys
from netplumb.reconciler.cluster.etcd.errors import Away
from netplumb.reconciler.cluster.lineage import Lineage
from netplumb.reconciler.cluster.mirror import Mirror
from netplumb.reconciler.cluster.shelf import InMemory

KEYS = Keys("/p/")
SILENCE_S = 0.3
CREATED = pb.WatchResponse(header=pb.ResponseHeader(cluster_id=1, revision=50), created=True)
PROGRESS = pb.WatchResponse(header=pb.ResponseHeader(cluster_id=1, revision=40))


def told(key: str, revision: int, *more: Any) -> pb.WatchResponse:
    """Of a key, and of more, each with its revision."""
    header = pb.ResponseHeader(cluster_id=1, revision=50)
    each = [(key, revision), *zip(more[::2], more[1::2], strict=True)]
    return pb.WatchResponse(header=header, events=[pb.Event(type=pb.Event.PUT, kv=kv(*it)) for it in each])


def kv(key: str, revision: int) -> pb.KeyValue:
    return pb.KeyValue(key=key.encode(), value=b"x", create_revision=revision, mod_revision=revision)


@dataclass(slots=True)
class Member(rpc.WatchServicer, rpc.KVServicer):
    """Answers each watch with the next of its scripts, after which it is silent, and whoever reads all with the next of
    what it holds, keys and a revision. `asked` are the revisions from which it was watched, `reads` how often all was
    read."""

    scripts: Sequence[Sequence[pb.WatchResponse]]
    holds: Sequence[tuple[Sequence[pb.KeyValue], int]] = (((), 10),)
    asked: list[int] = field(default_factory=list)
    reads: int = 0

    async def Watch(self, requests: Any, _context: Any) -> AsyncIterator[pb.WatchResponse]:
        first = await anext(aiter(requests))
        script = self.scripts[len(self.asked)] if len(self.asked) < len(self.scripts) else ()
        self.asked.append(first.create_request.start_revision)
        for each in script:
            yield each
        await asyncio.Event().wait()

    async def Range(self, request: pb.RangeRequest, _context: Any) -> pb.RangeResponse:
        """Also at an earlier revision, of which nothing has gone since."""
        held, revision = self.holds[min(self.reads, len(self.holds) - 1)]
        self.reads += not request.revision
        found = [it for it in held if not request.revision or it.mod_revision <= request.revision]
        header = pb.ResponseHeader(cluster_id=1, revision=revision)
        return pb.RangeResponse(header=header, kvs=found, count=len(found))

    async def Txn(self, _request: pb.TxnRequest, _context: Any) -> pb.TxnResponse:
        raise AssertionError("nothing is written")


@asynccontextmanager
async def mirror(member: Member, changed: Callable[[], None] = lambda: None) -> AsyncIterator[Mirror]:
    server = grpc.aio.server()
    rpc.add_WatchServicer_to_server(member, server)
    rpc.add_KVServicer_to_server(member, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    settings = ClusterSettings.model_validate({"endpoints": [f"http://127.0.0.1:{port}"], "silence_s": SILENCE_S})
    connection = Connection(settings)
    try:
        kept, lineage = InMemory({}, 0), Lineage()
        yield Mirror(Client(connection), KEYS, lineage, lambda *_: changed(), lambda: None, reread_s=3600, entries=kept)
    finally:
        await connection.close()
        await server.stop(None)


def keys(it: Mirror) -> set[str]:
    """Those that it has, of those that anybody told of."""
    return {key for key in ("/p/a", "/p/b", "/p/c") if it.entries.get(key) is not None}


async def test_neither_a_time_out_nor_progress_moves_a_position() -> None:
    """What a member says of how far it is may be more than it has sent: the watch is resumed behind the last change
    that came, and nothing between is skipped (apache/apisix #13721, etcd before 3.4.25)."""
    scripts = [[CREATED, told("/p/a", 11), PROGRESS], [CREATED, told("/p/b", 12)]]
    member = Member(scripts, [((), 10), ([kv("/p/a", 11), kv("/p/b", 12)], 12)])
    async with mirror(member) as it:
        with pytest.raises(Away, match="silent"):
            await it.follow()
        assert it.position == 11
        with pytest.raises(Away, match="silent"):
            await it.follow()
        assert member.asked == [11, 12]
        assert it.position == 12
        assert keys(it) == {"/p/a", "/p/b"}
        assert member.reads == 1, "it was read whole but once"


async def test_what_comes_in_parts_is_taken_by_whole_revisions() -> None:
    """A part that ends in the middle of a revision counts up to the one before, so that a watch that ends there is
    resumed with that revision, and nothing is known of it that a position does not tell."""
    first = told("/p/a", 11, "/p/b", 12)
    first.fragment = True
    scripts = [[CREATED, first], [CREATED, first, told("/p/c", 12)]]
    all_three = [kv("/p/a", 11), kv("/p/b", 12), kv("/p/c", 12)]
    member = Member(scripts, [((), 10), (all_three, 12)])
    async with mirror(member) as it:
        with pytest.raises(Away, match="silent"):
            await it.follow()
        assert (it.position, keys(it)) == (11, {"/p/a"})
        with pytest.raises(Away, match="silent"):
            await it.follow()
        assert (it.position, keys(it)) == (12, {"/p/a", "/p/b", "/p/c"})
        assert member.asked == [11, 12]


async def test_progress_alone_keeps_a_watch_alive() -> None:
    """Nothing changes for longer than the silence that counts as lost, and the member says so."""

    class Talking(Member):
        async def Watch(self, requests: Any, _context: Any) -> AsyncIterator[pb.WatchResponse]:
            async for request in requests:
                if request.HasField("create_request"):
                    self.asked.append(request.create_request.start_revision)
                yield PROGRESS

    member = Talking([])
    async with mirror(member) as it:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(4 * SILENCE_S):
                await it.follow()
        assert member.asked == [11]
        assert it.position == 10


async def test_a_compacted_watch_is_read_anew_once_and_not_for_ever() -> None:
    """The deletions that lay between are derived, and it goes on behind what was read (projectcalico/calico #4109)."""
    header = pb.ResponseHeader(cluster_id=1, revision=50)
    compacted = pb.WatchResponse(header=header, canceled=True, compact_revision=30)
    scripts = [[CREATED, told("/p/a", 11), told("/p/b", 12), compacted], [CREATED]]
    member = Member(scripts, [((), 10), ([kv("/p/b", 12), kv("/p/c", 31)], 40)])
    async with mirror(member) as it:
        with pytest.raises(Away, match="silent"):
            await it.follow()
        assert (keys(it), it.position) == ({"/p/b", "/p/c"}, 40)
        assert (member.asked, member.reads) == ([11, 41], 2)
