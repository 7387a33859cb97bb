"""The records by key, with indexes by workload and by the last part of the path to the namespace."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import TypeAlias

from netplumb.models.attachment import Attachment, AttachmentKey

_Index: TypeAlias = defaultdict[str, set[AttachmentKey]]


class Held:
    """Owns `records`; they are changed only here."""

    def __init__(self, records: dict[AttachmentKey, Attachment]) -> None:
        self.records = records
        self._ordered: list[AttachmentKey] | None = None
        self._interfaces: _Index = defaultdict(set)
        self._at_name: _Index = defaultdict(set)
        for record in records.values():
            self._enter(record)

    def keep(self, record: Attachment) -> None:
        before = self.records.get(record.key)
        if before is None:
            self._ordered = None
        elif before.spec.netns.last != record.spec.netns.last:
            _discard(self._at_name, before.spec.netns.last, record.key)
        self.records[record.key] = record
        self._enter(record)

    def _enter(self, record: Attachment) -> None:
        self._interfaces[record.key.workload_id].add(record.key)
        self._at_name[record.spec.netns.last].add(record.key)

    def drop(self, key: AttachmentKey) -> None:
        record = self.records.pop(key)
        self._ordered = None
        _discard(self._interfaces, key.workload_id, key)
        _discard(self._at_name, record.spec.netns.last, key)

    def ordered(self) -> Sequence[AttachmentKey]:
        """All keys in their order; not to be modified."""
        if self._ordered is None:
            self._ordered = sorted(self.records)
        return self._ordered

    def interfaces(self, workload_id: str) -> list[AttachmentKey]:
        """The keys of a workload, in their order."""
        return sorted(self._interfaces.get(workload_id, ()))

    def at_name(self, name: str) -> Collection[AttachmentKey]:
        """Keys of attachments in a namespace whose path ends in this name."""
        return self._at_name.get(name, ())

    def siblings(self, key: AttachmentKey) -> list[Attachment]:
        """The records of the workload's other interfaces, less those that are being removed."""
        records = (self.records[other] for other in self._interfaces.get(key.workload_id, ()) if other != key)
        return [record for record in records if not record.removing]


def _discard(index: _Index, name: str, key: AttachmentKey) -> None:
    index[name].discard(key)
    if not index[name]:
        del index[name]
