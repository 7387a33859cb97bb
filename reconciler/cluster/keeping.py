"""What survives of the cluster on this node when its daemon dies: shelves of what etcd says, written before it is acted
on, and a file that says whose the shelves are and records what no key of etcd holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog

from netplumb.models.cluster import SHELVES
from netplumb.reconciler.cluster.etcd.entries import Header
from netplumb.reconciler.cluster.keys import Layout
from netplumb.reconciler.cluster.known import Known, KnownFile
from netplumb.reconciler.cluster.lineage import NOTHING
from netplumb.reconciler.cluster.shelf import AtHand, Shelf
from netplumb.reconciler.cluster.standing import Itself

SAVE_PAUSE_S = 1.0

log = structlog.get_logger(__name__)


class Keeping:
    """`known` is what the last daemon knew of this cluster under this name, None if nothing; `former_name` is what this
    node was called last, since its boot."""

    def __init__(self, file: KnownFile, layout: Layout, itself: Itself, *, looks_only: bool) -> None:
        found = file.load()
        known = found if found and found.is_of(layout.prefix, itself.node, itself.identity) else None
        is_same = found is not None and (found.prefix, found.identity) == (layout.prefix, itself.identity)
        self.known = known
        self.former_name = found.node if found is not None and is_same else itself.node
        self._file = file
        self._changed = asyncio.Event()
        self._saving = asyncio.Lock()
        ranges = layout.shared, layout.attachments(itself.node), layout.endpoints
        self._shelves = [
            Shelf(file.directory / name, keys.first, as_left=known is not None, looks_only=looks_only)
            for name, keys in zip(SHELVES, ranges, strict=True)
        ]
        shared, own, self.others = self._shelves
        self.shared, self.own = AtHand(shared), AtHand(own)

    @property
    def latest(self) -> Header:
        """What was seen last of etcd; the file is written a little later than the shelves."""
        if self.known is None:
            return NOTHING
        return Header(self.known.cluster, max(self.known.revision, *(it.position for it in self._shelves)))

    def changed(self) -> None:
        """What is known is other than in the file."""
        self._changed.set()

    async def run(self, known: Callable[[], Known | None]) -> None:
        """Saves it soon after it changed. None is where nothing may be saved."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self.save(known())
            await asyncio.sleep(SAVE_PAUSE_S)

    async def save(self, known: Known | None) -> None:
        if known is None:
            return
        async with self._saving:
            try:
                await asyncio.to_thread(self._file.save, known)
            except OSError as error:
                log.warning("what is known of the cluster is not stored", cause=str(error))

    def save_now(self, known: Known | None) -> None:
        if known is not None:
            with suppress(OSError):
                self._file.save(known)

    def close(self) -> None:
        for shelf in self._shelves:
            shelf.close()
