"""A watch: what changed of a range of keys after a revision, in order and without a gap, or an error.

- A position is the revision of the last change that came, and nothing else moves it: not a time-out, and not what a
  member says of its progress, which etcd before 3.4.25 and 3.5.8 said before it had sent what lay there.
- The member is asked for its progress now and then. Where nothing at all is heard for `silence_s`, the connection
  counts as lost, whatever TCP thinks of it.
- What etcd has to say at once may be large, and comes in parts then (`fragment`). What one revision changed is told
  whole, whatever parts it came in.
- A compacted position raises Compacted: what lies between can only be had by reading all and comparing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

from netplumb.reconciler.cluster.etcd import rpc_pb2 as pb
from netplumb.reconciler.cluster.etcd.client import entry_of, header_of
from netplumb.reconciler.cluster.etcd.connection import Connection
from netplumb.reconciler.cluster.etcd.entries import Entry, Header, Keys, key_text
from netplumb.reconciler.cluster.etcd.errors import Away, Compacted, EtcdError, Refused

ASKS_IN_A_SILENCE = 3


@dataclass(frozen=True, slots=True)
class Changes:
    """What came at once: each key's last state, None where it is gone. All up to `revision` is there with it."""

    cluster: int
    revision: int
    entries: Mapping[str, Entry | None]


async def changes(
    connection: Connection, keys: Keys, after: int, heard: Callable[[Header], None]
) -> AsyncGenerator[Changes, None]:
    """Ends only by an error: Away, Compacted or Refused. `heard` is told whenever the member gave a sign of life."""
    stubs = connection.stubs()
    with connection.understood(stubs):
        metadata = await connection.metadata(stubs)
        asked = pb.WatchCreateRequest(key=keys.begin, range_end=keys.end, start_revision=after + 1, fragment=True)
        call = stubs.watch.Watch(_requests(asked, connection.silence_s / ASKS_IN_A_SILENCE), metadata=metadata)
        parts = _Parts()
        try:
            while True:
                try:
                    async with asyncio.timeout(connection.silence_s):
                        answer = await call.read()
                except TimeoutError:
                    connection.leave(stubs)
                    raise Away(f"{stubs.endpoint}: silent for {connection.silence_s:g} s") from None
                if not isinstance(answer, pb.WatchResponse):
                    connection.leave(stubs)
                    raise Away(f"{stubs.endpoint}: ended the watch")
                if answer.canceled:
                    raise _cancelled(connection, answer, stubs.endpoint)
                connection.answered(stubs)
                heard(header_of(answer.header))
                if events := parts.whole(answer):
                    yield _changes(answer.header, events)
        finally:
            call.cancel()


async def _requests(create: pb.WatchCreateRequest, ask_s: float) -> AsyncIterator[pb.WatchRequest]:
    """What is asked for, and then for progress, again and again. It is an iterator, as gRPC's `write` waits for ever
    where the connection cannot be made."""
    yield pb.WatchRequest(create_request=create)
    while True:
        await asyncio.sleep(ask_s)
        yield pb.WatchRequest(progress_request=pb.WatchProgressRequest())


def _cancelled(connection: Connection, answer: pb.WatchResponse, endpoint: str) -> EtcdError:
    if answer.compact_revision:
        return Compacted(f"{endpoint}: compacted at revision {answer.compact_revision}")
    reason = answer.cancel_reason or "without a reason"
    if "permission denied" in reason.lower():  # which is also said of a token that ran out
        connection.forget_token()
        return Refused(f"{endpoint}: {reason}")
    return Away(f"{endpoint}: the watch was cancelled: {reason}")


class _Parts:
    """Puts together again what etcd sent in parts: what the last revision of a part changed may go on in the next."""

    def __init__(self) -> None:
        self._begun: list[pb.Event] = []

    def whole(self, answer: pb.WatchResponse) -> list[pb.Event]:
        """In the order of their revisions, as they come."""
        events = [*self._begun, *answer.events]
        last = events[-1].kv.mod_revision if answer.fragment and events else 0
        self._begun = [it for it in events if it.kv.mod_revision == last]
        return [it for it in events if it.kv.mod_revision != last]


def _changes(header: pb.ResponseHeader, events: Sequence[pb.Event]) -> Changes:
    entries = {key_text(event.kv.key): entry_of(event.kv) if event.type == pb.Event.PUT else None for event in events}
    return Changes(header.cluster_id, max(event.kv.mod_revision for event in events), entries)
