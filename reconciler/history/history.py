"""Takes what happened and returns at once; a thread beside the event loop writes it down and logs it, in batches.

The same again within some minutes is one event that happened so many times: a step that fails for hours must not drive
out what came before. A daemon that is killed loses the events of its last moment.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import structlog

from netplumb.models.attachment import AttachmentKey
from netplumb.models.events import Event, EventKind, EventQuery
from netplumb.models.status import PoolUsage
from netplumb.reconciler.history.eventfile import EVENTS_MOST, EventFile
from netplumb.reconciler.history.node import nearly_full, pool_events

GATHER_S = 0.5
AGAIN_WITHIN_S = 600.0
_WARNINGS = frozenset(
    {
        EventKind.RETRYING,
        EventKind.FAILED,
        EventKind.LOST,
        EventKind.FIGHTING,
        EventKind.CROWDING,
        EventKind.POOL_NEARLY_FULL,
        EventKind.UPLINK_CHANGED,
        EventKind.GATEWAY_SILENT,
        EventKind.FORWARD_BLOCKED,
    }
)
"""What somebody should look at; the rest is logged as information."""

_REPEATED = frozenset(
    {EventKind.RETRYING, EventKind.FAILED, EventKind.REPAIRED, EventKind.FIGHTING, EventKind.FIGHT_OVER}
    | {EventKind.REFUSED, EventKind.DENIED, EventKind.CROWDING, EventKind.CROWDING_OVER}
)
"""What may come again and again, until something else becomes of the attachment."""

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Tell(Protocol):
    """`History.tell`, for those who have no other use of it."""

    def __call__(self, *events: Event) -> None: ...


def untold(*_: Event) -> None:
    """For who wants no history."""


class History:
    """Every method but the thread's is called on the event loop's thread. `usage` is that of the pools."""

    def __init__(self, file: EventFile, usage: Callable[[], Sequence[PoolUsage]] = tuple) -> None:
        self._file = file
        self._usage = usage
        self._number = file.last_number
        self._last: dict[tuple[AttachmentKey | None, EventKind], Event] = {}
        self.counts: Counter[EventKind] = Counter()
        """How often each kind of thing happened since the start."""
        self._unwritten: dict[int, Event] = {}
        self._unlogged: deque[Event] = deque()
        self._followers: set[_Follower] = set()
        self._full: frozenset[str] = frozenset()
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="history")

    def tell(self, *events: Event) -> None:
        """Keeps what happened just now."""
        for event in events:
            self._keep(event, time.time())
        if events:
            self._wake.set()

    def _keep(self, event: Event, now: float) -> None:
        self.counts[event.kind] += 1
        last = self._last.get((event.key, event.kind))
        if last is not None and _is_same(last, event) and now - last.at < AGAIN_WITHIN_S:
            event = _stamped(event, last.number, now, last.first_at, last.count + 1)
        else:
            self._number += 1
            event = _stamped(event, self._number, now, now, 1)
        if event.kind in _REPEATED:
            self._last[event.key, event.kind] = event
            _drop_oldest(self._last)
        elif event.key is not None:
            for kind in _REPEATED:
                self._last.pop((event.key, kind), None)
        self._unlogged.append(event)
        self._unwritten[event.number] = event
        _drop_oldest(self._unwritten)
        for follower in self._followers:
            follower.tell(event)

    async def run(self) -> None:
        """Writes until it is cancelled, and then what is left."""
        try:
            while True:
                await self._wake.wait()
                await asyncio.sleep(GATHER_S)
                self._wake.clear()
                self._look_at_pools()
                await self._write()
        finally:
            self._thread.submit(self._written, tuple(self._unwritten.values())).result()
            self._thread.shutdown()

    def _look_at_pools(self) -> None:
        usage = self._usage()
        full = nearly_full(usage, self._full)
        for event in pool_events(usage, self._full, full):
            self._keep(event, time.time())
        self._full = full

    async def _write(self) -> None:
        """What cannot be written is tried again with the next that comes."""
        batch = tuple(self._unwritten.values())
        if await self._in_thread(lambda: self._written(batch)):
            for event in batch:
                if self._unwritten.get(event.number) is event:
                    del self._unwritten[event.number]

    def _written(self, batch: Sequence[Event]) -> bool:
        """Runs in the thread."""
        while self._unlogged:
            event = self._unlogged.popleft()
            if event.count.bit_count() == 1:  # what goes on for hours is logged ever more rarely
                _log(event)
            time.sleep(0)  # whoever waits for Python's lock goes first
        return self._file.write(batch)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def events(self, query: EventQuery, *, follow: bool = False) -> AsyncIterator[Event]:
        """What is kept of what is asked for, the oldest first; then, to follow, what comes, without end."""
        follower = _Follower(query)
        self._followers.add(follower)
        try:
            kept = {}
            for event in await self.kept(query):
                kept[event.number] = event.count
                yield event
            while follow:
                for event in await follower.told():
                    if kept.get(event.number, 0) < event.count:
                        yield event
        finally:
            self._followers.discard(follower)

    async def kept(self, query: EventQuery) -> list[Event]:
        """What is kept of what is asked for, the oldest first."""
        unwritten = {event.number: event for event in self._unwritten.values() if query.asks_for(event)}
        read = await self._in_thread(lambda: self._file.read(query))
        found = sorted(({it.number: it for it in read} | unwritten).values(), key=lambda it: (it.at, it.number))
        return found[-query.most :]


class _Follower:
    """What one who follows has not read yet; of one who does not read, the newest."""

    def __init__(self, query: EventQuery) -> None:
        self._query = query
        self._pending: dict[int, Event] = {}
        self._wake = asyncio.Event()

    def tell(self, event: Event) -> None:
        if not self._query.asks_for(event):
            return
        self._pending[event.number] = event
        _drop_oldest(self._pending)
        self._wake.set()

    async def told(self) -> Iterable[Event]:
        await self._wake.wait()
        self._wake.clear()
        events, self._pending = self._pending, {}
        return events.values()


def _stamped(it: Event, number: int, at: float, first_at: float, count: int) -> Event:
    """As dataclasses.replace would, which takes four times as long; attaches wait for it."""
    told = (it.kind, it.key, it.message, it.found, it.done, it.lasted_s, it.at_most)
    return Event(*told, number, at, first_at, count)


def _drop_oldest(events: dict[Any, Event]) -> None:
    if len(events) > EVENTS_MOST:
        del events[next(iter(events))]


def _is_same(last: Event, event: Event) -> bool:
    return (last.kind, last.message, last.found) == (event.kind, event.message, event.found)


def _log(event: Event) -> None:
    told = {"attachment": str(event.key)} if event.key is not None else {}
    if event.found:
        told["found"] = "; ".join(event.found)
    if event.lasted_s is not None:
        told["lasted"] = f"{'at most ' if event.at_most else ''}{event.lasted_s:.3f} s"
    if event.count > 1:
        told["times"] = str(event.count)
    (log.warning if event.kind in _WARNINGS else log.info)(event.kind.value, what=event.message, **told)
