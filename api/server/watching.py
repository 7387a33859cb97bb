"""What a watcher is told who asked for some labels only."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import cast

from netplumb.models.attachment import AttachmentKey
from netplumb.models.selectors import Selector
from netplumb.models.status import Change, WatchEvent


async def watched(events: AsyncIterator[WatchEvent], selected: Selector) -> AsyncGenerator[WatchEvent, None]:
    """Those of what is selected. Of what was told and is selected no more, that it is gone."""
    told: set[tuple[AttachmentKey, str]] = set()
    async with aclosing(cast("AsyncGenerator[WatchEvent, None]", events)) as source:
        async for event in source:
            if event.view is None:
                yield event
                continue
            place = event.view.place
            if not selected.selects(event.view.attachment.spec.labels):
                if place in told:
                    told.discard(place)
                    yield replace(event, change=Change.REMOVED)
                continue
            (told.discard if event.change is Change.REMOVED else told.add)(place)
            yield event
