"""Desired state on a store that can fail, for the tests of what it decides."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from netplumb.models.attachment import Attachment, AttachmentKey, AttachmentSpec
from netplumb.models.settings import Settings
from netplumb.reconciler.desired.declarations import Declarations
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.desired.store import Contents, Store

WEB, DB = AttachmentKey("web", "eth0"), AttachmentKey("db", "eth0")
POOLS = ("10.0.0.0/29", "fd00::/64")


def pools(*cidrs: str) -> Settings:
    """Settings with these pools."""
    return Settings.model_validate({"pools": cidrs})


def wish(workload_id: str = "web", **fields: Any) -> AttachmentSpec:
    return AttachmentSpec.model_validate({"workload_id": workload_id, "netns": {"name": workload_id}, **fields})


class Bench:
    """Desired state on a store that can be made to fail and read by another."""

    def __init__(self, directory: Path, cidrs: tuple[str, ...] = POOLS) -> None:
        self.directory = directory
        self.cidrs = cidrs
        self.marked: list[AttachmentKey] = []
        self.let_go: Callable[[], None] = self._settle
        self.store = Store(directory, "node")
        self.desired = Desired(self.store, pools(*cidrs), self.marked.append, lambda: self.let_go())

    def _settle(self) -> None:
        deque(Declarations(self.desired).settling(), maxlen=0)

    def restart(self) -> Desired:
        self.store.close()
        self.store = Store(self.directory, "node")
        self.desired = Desired(self.store, pools(*self.cidrs), self.marked.append, lambda: self.let_go())
        return self.desired

    def stored(self) -> Contents:
        return self.store.load()

    def break_store(self) -> None:
        """From now on every write is refused, as on a full disk."""
        self.store._database.execute("PRAGMA query_only = 1")

    def mend_store(self) -> None:
        self.store._database.execute("PRAGMA query_only = 0")


def declare(desired: Desired, source: str, specs: Sequence[AttachmentSpec]) -> None:
    """Replaces a file's partition, at one go."""
    deque(Declarations(desired).declaring(source, specs), maxlen=0)


def texts(attachment: Attachment) -> list[str]:
    return [str(address) for address in attachment.addresses]


def record(desired: Desired, key: AttachmentKey = WEB) -> Attachment:
    return desired.attachments[key]
