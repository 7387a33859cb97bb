"""PURE: when what a command waits for has come, by what a Watch tells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from netplumb.api.cli.keys import Key
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.models.words import several

TOLD_MAX = 5


class Waiting:
    """For these keys, or for all that is told of. A key is there while an attachment has it, whatever else waits for
    that key."""

    def __init__(self, asked: Sequence[Key], *, gone: bool) -> None:
        self._asked = asked
        self._gone = gone
        self._there: dict[Key, pb.Attachment] = {}
        self._seen: dict[Key, None] = dict.fromkeys(asked)
        self._complete = False

    def over(self, told: pb.WatchResponse) -> bool:
        """Takes what is told; whether all has come."""
        it = told.attachment
        key = Key(it.workload_id, it.if_name)
        if told.change == pb.WatchResponse.SNAPSHOT_COMPLETE:
            self._complete = True
        elif self._asked and key not in self._seen:
            return False
        elif told.change == pb.WatchResponse.REMOVED:
            self._remove(key, it)
        elif it.generation or not self._holds(key):
            self._there[key] = it
            self._seen[key] = None
        return self._complete and not any(True for _ in self._pending())

    def _holds(self, key: Key) -> bool:
        """Whether an attachment is known of the key, and not only a claim that waits for it."""
        return (known := self._there.get(key)) is not None and bool(known.generation)

    def _remove(self, key: Key, it: pb.Attachment) -> None:
        if it.generation or not self._holds(key):
            self._there.pop(key, None)
        if not self._asked and not self._gone:
            self._seen.pop(key, None)

    @property
    def met(self) -> Sequence[Key]:
        pending = dict(self._pending())
        return [key for key in self._seen if key not in pending]

    @property
    def missing(self) -> str:
        """What has not come, and why, for a person."""
        words = [f"{key} {why}" for key, why in self._pending()]
        return several(words, TOLD_MAX) or "the daemon has not told of all that there is"

    def _pending(self) -> Iterator[tuple[Key, str]]:
        for key in self._seen:
            it = self._there.get(key)
            if self._gone:
                if it is not None:
                    yield key, f"is {it.phase}"
            elif it is None:
                yield key, "is not there"
            elif it.phase != "Attached" or it.observed_generation != it.generation:
                yield key, f"is {it.phase}{_reasons(it.unmet)}"


def _reasons(unmet: Iterable[pb.Unmet]) -> str:
    words = "; ".join(f"{it.reason}: {it.message}" if it.message else it.reason for it in unmet)
    return f" ({words})" if words else ""
