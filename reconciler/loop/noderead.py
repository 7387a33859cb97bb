"""One read of the whole node for all passes of a resync: a read for each slice would make the cost of a resync grow
with the square of the number of attachments.

For a key, the read is valid if it is not older than the key's mark, and no pass over the key came in between. Keys for
which it is not valid are read one by one, or all are read again if that is cheaper.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable

from netplumb.models.attachment import AttachmentKey
from netplumb.reconciler.converge.observe import NodeSnapshot

FROM_KEYS = 4  # from so many keys on, one read of the whole node is cheaper than one for each


class NodeRead:
    """`read` reads the node; it returns None if that fails."""

    def __init__(self, read: Callable[[], Awaitable[NodeSnapshot | None]]) -> None:
        self._read = read
        self._snapshot: NodeSnapshot | None = None
        self._was_read = False
        self._untold: set[AttachmentKey] = set()

    def marked(self, key: AttachmentKey) -> None:
        """Its pass has to see the node as it is from now on."""
        self._untold.add(key)

    def passed(self, keys: Iterable[AttachmentKey]) -> None:
        """Passes may change what exists of these."""
        self._untold.update(keys)

    async def prepare(self, keys: Collection[AttachmentKey], *, resync: bool = False) -> None:
        """Called before passes over these keys, which are marked by now. At first it is not known where links are, and
        only a read of the whole node finds those that were renamed meanwhile. A read of one key does not find leftover
        neighbours, so a `resync` reads the whole node, however few keys there are."""
        untold = keys if self._snapshot is None else self._untold.intersection(keys)
        if len(untold) >= FROM_KEYS or not self._was_read or (resync and self._snapshot is None):
            await self._anew()

    async def whole(self) -> NodeSnapshot | None:
        """The last read, or a new one if there is none; None if the node cannot be read."""
        if self._snapshot is None:
            await self._anew()
        return self._snapshot

    async def _anew(self) -> None:
        self._untold.clear()
        self._snapshot = await self._read()
        self._was_read |= self._snapshot is not None

    def of(self, key: AttachmentKey) -> NodeSnapshot | None:
        """What was read, if that is still valid for the key."""
        return self._snapshot if key not in self._untold else None

    def drop(self) -> None:
        self._snapshot = None
        self._untold.clear()
