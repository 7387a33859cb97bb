"""One read of the whole node for all passes of a resync: a read for each slice of them would make the cost of a resync
grow with the square of the attachments.

It tells of a key what was there when the key was marked or later, unless a pass over that key came in between.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from netplumb.models.attachment import AttachmentKey
from netplumb.reconciler.converge.observe import NodeSnapshot

FROM_KEYS = 4  # from so many keys on, one read of the whole node is cheaper than one for each


class NodeRead:
    """`read` is how the node is read; it returns None where it cannot be."""

    def __init__(self, read: Callable[[], Awaitable[NodeSnapshot | None]]) -> None:
        self._read = read
        self._snapshot: NodeSnapshot | None = None
        self._outdated = False
        self._was_read = False
        self._passed: set[AttachmentKey] = set()

    def marked(self) -> None:
        """A key was marked: its pass is to see what is there from now on."""
        self._outdated = True

    def passed(self, keys: Iterable[AttachmentKey]) -> None:
        """A pass may change what there is of these."""
        self._passed.update(keys)

    async def prepare(self, keys: int) -> None:
        """Before passes over so many keys that were marked by now. At first nothing is known of where links are, and
        the read of all finds those that were renamed meanwhile."""
        if self._outdated:
            self._snapshot = None
        if self._snapshot is None and (keys >= FROM_KEYS or not self._was_read):
            await self.whole()

    async def whole(self) -> NodeSnapshot | None:
        """Reads the node now. None where that cannot be."""
        self._outdated = False
        self._passed.clear()
        self._snapshot = await self._read()
        self._was_read |= self._snapshot is not None
        return self._snapshot

    def of(self, key: AttachmentKey) -> NodeSnapshot | None:
        """What was read, if that still tells of the key."""
        return self._snapshot if key not in self._passed else None

    def drop(self) -> None:
        self._snapshot = None
        self._passed.clear()
