"""One read of the whole node for all passes of a resync: a read for each slice of them would make the cost of a resync
grow with the square of the attachments.

It tells of a key what was there when the key was marked or later, unless a pass over that key came in between. Keys of
which it does not tell are read one by one, and all anew where that is cheaper.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable

from netplumb.models.attachment import AttachmentKey
from netplumb.reconciler.converge.observe import NodeSnapshot

FROM_KEYS = 4  # from so many keys on, one read of the whole node is cheaper than one for each


class NodeRead:
    """`read` is how the node is read; it returns None where it cannot be."""

    def __init__(self, read: Callable[[], Awaitable[NodeSnapshot | None]]) -> None:
        self._read = read
        self._snapshot: NodeSnapshot | None = None
        self._was_read = False
        self._untold: set[AttachmentKey] = set()

    def marked(self, key: AttachmentKey) -> None:
        """Its pass is to see what is there from now on."""
        self._untold.add(key)

    def passed(self, keys: Iterable[AttachmentKey]) -> None:
        """A pass may change what there is of these."""
        self._untold.update(keys)

    async def prepare(self, keys: Collection[AttachmentKey], *, resync: bool = False) -> None:
        """Before passes over these, which were marked by now. At first nothing is known of where links are, and the
        read of all finds those that were renamed meanwhile. A read of one finds no neighbour that nobody wants, so a
        `resync` reads all, however few there are."""
        untold = keys if self._snapshot is None else self._untold.intersection(keys)
        if len(untold) >= FROM_KEYS or not self._was_read or (resync and self._snapshot is None):
            await self._anew()

    async def whole(self) -> NodeSnapshot | None:
        """The last read, else one that is made now. None where that cannot be."""
        if self._snapshot is None:
            await self._anew()
        return self._snapshot

    async def _anew(self) -> None:
        self._untold.clear()
        self._snapshot = await self._read()
        self._was_read |= self._snapshot is not None

    def of(self, key: AttachmentKey) -> NodeSnapshot | None:
        """What was read, if that still tells of the key."""
        return self._snapshot if key not in self._untold else None

    def drop(self) -> None:
        self._snapshot = None
        self._untold.clear()
