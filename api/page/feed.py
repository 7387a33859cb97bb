"""What a viewer of the page is told, as it happens: attachments, the node's status, traffic, events.

A viewer holds up nobody. Of attachments it gets the latest state, a few times a second; what is made of them is made in
threads, and what is the same for all viewers once for all.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from itertools import islice
from typing import Any, TypeAlias, cast

from google.protobuf.message import Message

from netplumb.api import answers
from netplumb.api.map.page import fields
from netplumb.api.server.workloads import Workloads
from netplumb.models.errors import StepError
from netplumb.models.events import EventQuery
from netplumb.models.status import AttachmentView, Change, WatchEvent

STATUS_EVERY_S = 2.0
CHANGES_EVERY_S = 0.25
BATCH = 50
EVENTS_KEPT = 50

Send: TypeAlias = Callable[[str, str], Awaitable[None]]


class Shared:
    """A text that is made anew when it is older than `every_s`, for all who ask."""

    def __init__(self, make: Callable[[], Awaitable[str]], every_s: float) -> None:
        self._make = make
        self._every_s = every_s
        self._made_at = float("-inf")
        self._text = ""
        self._turn = asyncio.Lock()

    async def text(self) -> str:
        async with self._turn:
            if time.monotonic() - self._made_at > self._every_s * 0.9:
                self._text = await self._make()
                self._made_at = time.monotonic()
            return self._text


class Feed:
    def __init__(self, workloads: Workloads) -> None:
        self._workloads = workloads
        self._status = Shared(self._status_text, STATUS_EVERY_S)
        self._traffic = Shared(self._traffic_text, STATUS_EVERY_S)

    async def follow(self, send: Send) -> None:
        """Tells until it is cancelled, or `send` raises."""
        pending: dict[object, WatchEvent] = {}
        complete = asyncio.Event()
        await send("begin", "null")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._collect(pending, complete))
            tasks.create_task(_tell(pending, complete, send))
            await send("status", await self._status.text())
            tasks.create_task(self._tell_status(send))
            tasks.create_task(self._tell_events(send))

    async def _collect(self, pending: dict[object, WatchEvent], complete: asyncio.Event) -> None:
        """The latest of each attachment that was not told of yet."""
        async with aclosing(cast("AsyncGenerator[WatchEvent, None]", self._workloads.watch())) as changes:
            async for event in changes:
                if event.view is None:
                    complete.set()
                else:
                    pending.pop(event.view.place, None)
                    pending[event.view.place] = event

    async def _tell_status(self, send: Send) -> None:
        while True:
            await send("status", await self._status.text())
            if text := await self._traffic.text():
                await send("traffic", text)
            await asyncio.sleep(STATUS_EVERY_S)

    async def _tell_events(self, send: Send) -> None:
        query = EventQuery("", most=EVENTS_KEPT)
        async with aclosing(cast("AsyncGenerator[Any, None]", self._workloads.events(query, follow=True))) as events:
            async for event in events:
                await send("event", text_of(answers.event(event)))

    async def _status_text(self) -> str:
        status = self._workloads.status(without_pools=True)
        return await asyncio.to_thread(lambda: text_of(answers.status_response(status)))

    async def _traffic_text(self) -> str:
        """Empty where the kernel could not be asked now."""
        try:
            counted, at = await self._workloads.traffic(), time.time()
        except StepError:
            return ""
        rows = [(f"{it.key}", it.received_bytes, it.sent_bytes) for it in counted]
        return await asyncio.to_thread(json.dumps, {"at": at, "traffic": rows})


async def _tell(pending: dict[object, WatchEvent], complete: asyncio.Event, send: Send) -> None:
    await complete.wait()
    is_first = True
    while True:
        while pending:
            batch = list(islice(pending.items(), BATCH))
            for place, _ in batch:
                del pending[place]
            there = [event.view for _, event in batch if event.view and event.change is not Change.REMOVED]
            if there:
                await send("attachments", await asyncio.to_thread(_texts, there))
            for _, event in batch:
                if event.view is not None and event.change is Change.REMOVED:
                    await send("removed", text_of(answers.attachment(event.view)))
        if is_first:
            await send("complete", "null")
            is_first = False
        await asyncio.sleep(CHANGES_EVERY_S)


def _texts(views: Sequence[AttachmentView]) -> str:
    return json.dumps([fields(answers.attachment(view)) for view in views])


def text_of(message: Message) -> str:
    return json.dumps(fields(message))
