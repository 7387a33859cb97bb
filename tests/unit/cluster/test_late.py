"""When a member of etcd is left for the next; on servers that play members."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc.aio
import pytest

from netplumb.models.clustersettings import ClusterSettings
from netplumb.reconciler.cluster.etcd import rpc_pb2 as pb
from netplumb.reconciler.cluster.etcd import rpc_pb2_grpc as rpc
from netplumb.reconciler.cluster.etcd.connection import Connection, Stubs
from netplumb.reconciler.cluster.etcd.errors import Away

LATE_S = 0.6


@dataclass(slots=True)
class Member(rpc.KVServicer):
    """Answers for the key `slow` never, and for others as long as it is not stopped."""

    stopped: bool = False

    async def Range(self, request: pb.RangeRequest, _context: Any) -> pb.RangeResponse:
        if self.stopped or request.key == b"slow":
            await asyncio.Event().wait()
        return pb.RangeResponse(header=pb.ResponseHeader(cluster_id=1, revision=1))

    async def Txn(self, _request: pb.TxnRequest, _context: Any) -> pb.TxnResponse:
        raise AssertionError("nothing is written")


@asynccontextmanager
async def two(member: Member) -> AsyncIterator[Connection]:
    """Members that are alike."""
    async with AsyncExitStack() as stack:
        endpoints = []
        for _ in range(2):
            server = grpc.aio.server()
            rpc.add_KVServicer_to_server(member, server)
            endpoints.append(f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
            await server.start()
            stack.push_async_callback(server.stop, 0)
        connection = Connection(ClusterSettings.model_validate({"endpoints": endpoints}))
        stack.push_async_callback(connection.close)
        yield connection


async def ask(connection: Connection, key: str) -> None:
    await connection.ask(lambda it: it.kv.Range, pb.RangeRequest(key=key.encode()), LATE_S)


async def late(connection: Connection, *, beside: str) -> Stubs:
    """Asks what is not answered in time, and something else meanwhile; the member that was asked."""
    asked = connection.stubs()
    slow = asyncio.ensure_future(ask(connection, "slow"))
    await asyncio.sleep(LATE_S / 3)
    if beside:
        await ask(connection, beside)
    with pytest.raises(Away):
        await slow
    return asked


async def test_a_member_that_answers_others_is_not_left_for_one_late_answer() -> None:
    """Nor for several at a time, or one now and then; but for one that is late again when it is repeated."""
    async with two(Member()) as connection:
        for _ in range(2):
            asked = await late(connection, beside="quick")
            assert connection.stubs() is asked
            await ask(connection, "quick")
        several = [asyncio.ensure_future(ask(connection, "slow")) for _ in range(5)]
        await asyncio.sleep(LATE_S / 3)
        await ask(connection, "quick")
        for each in several:
            with pytest.raises(Away):
                await each
        assert connection.stubs() is asked
        again = asyncio.ensure_future(ask(connection, "slow"))
        await asyncio.sleep(LATE_S / 3)
        connection.answered(asked)  # as a watch does that goes on
        with pytest.raises(Away):
            await again
        assert connection.stubs() is not asked


async def test_a_member_that_answers_nothing_is_left_at_once() -> None:
    member = Member()
    async with two(member) as connection:
        await ask(connection, "quick")
        member.stopped = True
        asked = await late(connection, beside="")
        assert connection.stubs() is not asked
