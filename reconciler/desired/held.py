"""The records by key, and by the workload whose interfaces they are."""

from __future__ import annotations

from collections import defaultdict

from netplumb.models.attachment import Attachment, AttachmentKey


class Held:
    """Takes `records` over; they are changed here alone."""

    def __init__(self, records: dict[AttachmentKey, Attachment]) -> None:
        self.records = records
        self._interfaces: defaultdict[str, set[AttachmentKey]] = defaultdict(set)
        for key in records:
            self._interfaces[key.workload_id].add(key)

    def keep(self, record: Attachment) -> None:
        self.records[record.key] = record
        self._interfaces[record.key.workload_id].add(record.key)

    def drop(self, key: AttachmentKey) -> None:
        del self.records[key]
        self._interfaces[key.workload_id].discard(key)
        if not self._interfaces[key.workload_id]:
            del self._interfaces[key.workload_id]

    def interfaces(self, workload_id: str) -> list[AttachmentKey]:
        """The keys of a workload, in their order."""
        return sorted(self._interfaces.get(workload_id, ()))

    def siblings(self, key: AttachmentKey) -> list[Attachment]:
        """The records of the workload's other interfaces, less those that are being removed."""
        records = (self.records[other] for other in self._interfaces.get(key.workload_id, ()) if other != key)
        return [record for record in records if not record.removing]
