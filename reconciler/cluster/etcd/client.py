"""Questions to etcd that have one answer: ranges of keys, transactions, leases, members.

A range is read in pages that are all of one revision, however long that takes. What is read with a page may be large,
and the way to etcd narrow: a page that does not come in time, or is more than is taken at once, is asked for in smaller
ones; with the next range they grow again, where they come soon. A transaction is never repeated here:
whether one whose answer got lost came true is for who wrote it to find out, by reading.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from netplumb.reconciler.cluster.etcd import rpc_pb2 as pb
from netplumb.reconciler.cluster.etcd.connection import CALL_S, Connection
from netplumb.reconciler.cluster.etcd.entries import Entry, Header, Keys, Snapshot, key_bytes, key_text
from netplumb.reconciler.cluster.etcd.errors import Away, EtcdError, Late, TooLarge

PAGE, PAGE_SHRINKS = 500, 4
SOON_S = CALL_S / 4


@dataclass(frozen=True, slots=True)
class Past:
    """Keys at an earlier revision: their number, and of the last that were written by then the revision of that."""

    header: Header
    number: int
    written: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Put:
    key: str
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    keys: Keys


@dataclass(frozen=True, slots=True)
class Member:
    name: str
    endpoints: tuple[str, ...]
    leader: bool
    version: str
    size_bytes: int
    revision: int
    trouble: str = ""


def absent(key: str) -> pb.Compare:
    return pb.Compare(key=key_bytes(key), target=pb.Compare.CREATE, result=pb.Compare.EQUAL, create_revision=0)


def unchanged(key: str, entry: Entry) -> pb.Compare:
    return written_at(key, entry.modified)


def written_at(key: str, revision: int) -> pb.Compare:
    """The key is there, and was last written at the revision."""
    return pb.Compare(key=key_bytes(key), target=pb.Compare.MOD, result=pb.Compare.EQUAL, mod_revision=revision)


def says(key: str, value: bytes) -> pb.Compare:
    return pb.Compare(key=key_bytes(key), target=pb.Compare.VALUE, result=pb.Compare.EQUAL, value=value)


def none_since(keys: Keys, revision: int) -> pb.Compare:
    """No key of these was made or written after the revision."""
    return pb.Compare(
        key=keys.begin,
        range_end=keys.end,
        target=pb.Compare.MOD,
        result=pb.Compare.LESS,
        mod_revision=revision + 1,
    )


def entry_of(kv: pb.KeyValue) -> Entry:
    return Entry(kv.value, kv.create_revision, kv.mod_revision, kv.lease)


def header_of(header: pb.ResponseHeader) -> Header:
    return Header(header.cluster_id, header.revision)


class Client:
    """Raises Away, Refused or Compacted from every call."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._page = PAGE

    async def read(self, keys: Keys) -> Snapshot:
        """All of these keys as of now: whatever was written before this was asked is in it."""
        begin, revision, may_grow = keys.begin, 0, True
        entries: dict[str, Entry] = {}
        while True:
            page, asked_at = self._page, time.monotonic()
            request = pb.RangeRequest(key=begin, range_end=keys.end, limit=page, revision=revision)
            try:
                answer = await self.connection.ask(lambda it: it.kv.Range, request)
            except (Late, TooLarge) as error:
                self._page, may_grow = max(1, min(self._page, page // PAGE_SHRINKS)), False
                # Where not even the first one comes in time, nobody may be there, which is for who asked to know.
                if page == 1 or (isinstance(error, Late) and not entries):
                    raise
                continue
            if may_grow and time.monotonic() - asked_at < SOON_S:
                self._page = max(self._page, min(PAGE, page * 2))
            revision = revision or answer.header.revision
            entries |= {key_text(kv.key): entry_of(kv) for kv in answer.kvs}
            if not answer.more:
                return Snapshot(Header(answer.header.cluster_id, revision), entries)
            begin = answer.kvs[-1].key + b"\0"

    async def at(self, keys: Keys, revision: int, most: int) -> Past:
        """How many of these keys there were at a revision, and which were the last to be written until then. Raises
        NotYet where etcd has not come to that revision, Compacted where it knows no more."""
        request = pb.RangeRequest(
            key=keys.begin,
            range_end=keys.end,
            revision=revision,
            limit=most,
            sort_target=pb.RangeRequest.MOD,
            sort_order=pb.RangeRequest.DESCEND,
            keys_only=True,
        )
        answer = await self.connection.ask(lambda it: it.kv.Range, request)
        written = {key_text(kv.key): kv.mod_revision for kv in answer.kvs}
        return Past(header_of(answer.header), answer.count, written)

    async def commit(self, compares: Sequence[pb.Compare], changes: Sequence[Put | Delete]) -> int | None:
        """The changes, all or nothing, if all that is compared holds; the revision that they have, None if not."""
        request = pb.TxnRequest(compare=compares, success=[_operation(change) for change in changes])
        answer = await self.connection.ask(lambda it: it.kv.Txn, request)
        return answer.header.revision if answer.succeeded else None

    async def grant(self, ttl_s: int) -> int:
        answer = await self.connection.ask(lambda it: it.lease.LeaseGrant, pb.LeaseGrantRequest(TTL=ttl_s))
        if answer.error:
            raise Away(answer.error)
        return answer.ID

    async def keep_alive(self, lease: int) -> bool:
        """Whether the lease was still there, which makes it last anew."""
        stubs = self.connection.stubs()
        with self.connection.understood(stubs):
            metadata = await self.connection.metadata(stubs)
            call = stubs.lease.LeaseKeepAlive(_once(lease), timeout=CALL_S, metadata=metadata)
            answer = await call.read()
            call.cancel()
        if not isinstance(answer, pb.LeaseKeepAliveResponse):
            raise Away(f"{stubs.endpoint}: ended the answer")
        return answer.TTL > 0

    async def renewed_before(self, lease: int) -> float | None:
        """So many seconds ago the lease was granted or kept alive; None where it has ended."""
        request = pb.LeaseTimeToLiveRequest(ID=lease)
        answer = await self.connection.ask(lambda it: it.lease.LeaseTimeToLive, request)
        return float(max(0, answer.grantedTTL - answer.TTL)) if answer.TTL > 0 else None

    async def members(self) -> list[tuple[str, tuple[str, ...]]]:
        """Names and addresses of etcd's own members."""
        answer = await self.connection.ask(lambda it: it.cluster.MemberList, pb.MemberListRequest())
        return [(it.name, tuple(it.clientURLs)) for it in answer.members]

    async def status(self) -> Member:
        """The member that is asked, as it tells of itself."""
        endpoint = self.connection.stubs().endpoint
        try:
            it = await self.connection.ask(lambda it: it.maintenance.Status, pb.StatusRequest())
        except EtcdError as error:
            return Member("", (endpoint,), leader=False, version="", size_bytes=0, revision=0, trouble=str(error))
        leads = it.leader == it.header.member_id
        return Member("", (endpoint,), leads, it.version, it.dbSize, it.header.revision, ", ".join(it.errors))


async def _once(lease: int) -> AsyncIterator[pb.LeaseKeepAliveRequest]:
    """An iterator of requests, as gRPC's `write` waits for ever where the connection cannot be made."""
    yield pb.LeaseKeepAliveRequest(ID=lease)


def _operation(change: Put | Delete) -> pb.RequestOp:
    match change:
        case Put():
            return pb.RequestOp(
                request_put=pb.PutRequest(key=key_bytes(change.key), value=change.value, lease=change.lease)
            )
        case Delete():
            keys = change.keys
            return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=keys.begin, range_end=keys.end))
