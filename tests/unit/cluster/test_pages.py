"""How a range is read where a page of it is more than comes in time, or than is taken at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import grpc.aio
import pytest

from netplumb.models.clustersettings import ClusterSettings
from netplumb.reconciler.cluster.etcd import client, connection
from netplumb.reconciler.cluster.etcd import rpc_pb2 as pb
from netplumb.reconciler.cluster.etcd import rpc_pb2_grpc as rpc
from netplumb.reconciler.cluster.etcd.client import PAGE, Client
from netplumb.reconciler.cluster.etcd.connection import Connection
from netplumb.reconciler.cluster.etcd.entries import Keys
from netplumb.reconciler.cluster.etcd.errors import Late, TooLarge

KEYS = 1500
LATE_S, LONG_S = 0.5, 30.0


@dataclass(slots=True)
class Member(rpc.KVServicer):
    """Has many keys of some size, and takes its time for each but those of some first pages."""

    size: int = 1
    each_s: float = 0.0
    quick: int = 0
    stopped: bool = False
    asked: list[int] = field(default_factory=list)

    async def Range(self, request: pb.RangeRequest, _context: Any) -> pb.RangeResponse:
        self.asked.append(request.limit)
        every = [f"/p/{it:04}".encode() for it in range(KEYS)]
        found = [it for it in every if it >= request.key]
        sent = found[: request.limit]
        is_quick = len(self.asked) <= self.quick
        await asyncio.sleep(3600 if self.stopped else 0 if is_quick else self.each_s * len(sent))
        kvs = [pb.KeyValue(key=it, value=b"x" * self.size, mod_revision=7) for it in sent]
        header = pb.ResponseHeader(cluster_id=1, revision=9)
        return pb.RangeResponse(header=header, kvs=kvs, more=len(found) > len(sent), count=len(found))

    async def Txn(self, _request: pb.TxnRequest, _context: Any) -> pb.TxnResponse:
        raise AssertionError("nothing is written")


@asynccontextmanager
async def asked(member: Member, late_s: float = LATE_S) -> AsyncIterator[Client]:
    server = grpc.aio.server()
    rpc.add_KVServicer_to_server(member, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    to = Connection(ClusterSettings.model_validate({"endpoints": [f"http://127.0.0.1:{port}"]}))
    ask = to.ask
    try:
        with mock.patch.object(to, "ask", lambda choose, request: ask(choose, request, late_s)):
            yield Client(to)
    finally:
        await to.close()
        await server.stop(None)


async def test_pages_that_are_late_become_smaller_until_they_come() -> None:
    """As behind a narrow way, and what had come by then is not asked for again; whoever reads next begins so."""
    member = Member(each_s=LATE_S / 300)
    async with asked(member) as it:
        with pytest.raises(Late):
            await it.read(Keys("/p/"))
        with mock.patch.object(client, "SOON_S", 0.0):
            assert len((await it.read(Keys("/p/"))).entries) == KEYS
            assert member.asked == [PAGE, *[PAGE // 4] * 12]
        member.each_s, member.asked = 0.0, []
        await it.read(Keys("/p/"))
        assert member.asked[0] == PAGE // 4
        assert member.asked[-1] == PAGE, "they grow again"


async def test_one_that_is_late_in_the_middle_is_asked_for_again_and_smaller() -> None:
    member = Member(each_s=LATE_S / 300, quick=1)
    async with asked(member) as it:
        assert len((await it.read(Keys("/p/"))).entries) == KEYS
        assert member.asked[:3] == [PAGE, PAGE, PAGE // 4]


async def test_pages_that_are_too_large_become_smaller_at_once() -> None:
    member = Member(size=10_000)
    with mock.patch.object(connection, "MESSAGE_MAX_BYTES", 100_000):
        async with asked(member, LONG_S) as it:
            assert len((await it.read(Keys("/p/"))).entries) == KEYS
            assert max(member.asked[4:]) < 10


async def test_one_key_that_is_too_large_is_told() -> None:
    with mock.patch.object(connection, "MESSAGE_MAX_BYTES", 5_000):
        async with asked(Member(size=10_000), LONG_S) as it:
            with pytest.raises(TooLarge, match="larger than max"):
                await it.read(Keys("/p/"))


async def test_a_member_that_does_not_answer_is_not_asked_again_by_who_reads() -> None:
    """Who asked it is told, and asks the next one."""
    member = Member(stopped=True)
    async with asked(member) as it:
        with pytest.raises(Late):
            await it.read(Keys("/p/"))
        assert member.asked == [PAGE]
