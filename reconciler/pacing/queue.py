"""The dirty keys: what is marked waits here for a pass, the most urgent first, each key once.

No I/O and no clock but the one that it is given, so that its order can be tested as such.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from enum import IntEnum

from netplumb.models.attachment import AttachmentKey


class Urgency(IntEnum):
    """An RPC's client waits; an event tells of damage; a wish changed and nobody waits for it, as thousands of a state
    file; a resync finds what no event told."""

    RPC = 0
    EVENT = 1
    WISH = 2
    RESYNC = 3


class Queue:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # Not plain dicts, which keep a gap for each first entry that was taken out, and walk over all gaps at the next.
        self._marked: tuple[OrderedDict[AttachmentKey, float], ...] = tuple(OrderedDict() for _ in Urgency)
        self._only_asked: set[AttachmentKey] = set()

    def mark(self, key: AttachmentKey, urgency: Urgency) -> None:
        """Marks a key; one that is marked already keeps its place, or moves to the more urgent."""
        self._only_asked.discard(key)
        self._put(key, urgency)

    def ask(self, key: AttachmentKey) -> None:
        """A client waits for what becomes of it, which is no reason for a pass when that client has gone."""
        if not any(key in marked for marked in self._marked):
            self._only_asked.add(key)
        self._put(key, Urgency.RPC)

    def _put(self, key: AttachmentKey, urgency: Urgency) -> None:
        since = self._clock()
        for other in Urgency:
            if key in self._marked[other]:
                if other <= urgency:
                    return
                since = self._marked[other].pop(key)
        self._marked[urgency][key] = since

    def calm(self, key: AttachmentKey) -> None:
        """Nobody waits for it any more. What else marked it is not in a hurry."""
        if (since := self._marked[Urgency.RPC].pop(key, None)) is None:
            return
        if key in self._only_asked:
            self._only_asked.remove(key)
        else:
            self._marked[Urgency.WISH][key] = since

    def take(self, urgencies: Collection[Urgency], busy: Collection[AttachmentKey]) -> AttachmentKey | None:
        """The longest marked key of the most urgent kind that nobody is busy with."""
        for urgency in sorted(urgencies):
            for key in self._marked[urgency]:
                if key not in busy:
                    del self._marked[urgency][key]
                    self._only_asked.discard(key)
                    return key
        return None

    def holds(self, urgencies: Collection[Urgency]) -> bool:
        """Whether any key of these kinds waits."""
        return any(self._marked[urgency] for urgency in urgencies)

    def discard(self, key: AttachmentKey) -> None:
        self._only_asked.discard(key)
        for marked in self._marked:
            marked.pop(key, None)

    def __len__(self) -> int:
        return sum(len(marked) for marked in self._marked)

    def age_s(self) -> float:
        """How long the oldest marked key has waited, in seconds."""
        # All are looked at: one that moved to the more urgent waits at the end there, with the time of its first mark.
        oldest = min((since for marked in self._marked for since in marked.values()), default=None)
        return self._clock() - oldest if oldest is not None else 0.0
