"""What the servicer needs of the daemon. The reconciler implements it; the API knows nothing else of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence, Set
from typing import Protocol

from netplumb.models.attachment import AttachmentKey, AttachmentSpec, DetachSpec
from netplumb.models.events import Event, EventQuery
from netplumb.models.policyviews import Answer, Asked, PolicyDifference, PolicyView
from netplumb.models.statefile import Application, Applied, Deleted, StateFile, WhatIf
from netplumb.models.status import AttachmentView, CheckReport, Comparison, Description, NodeStatus, Traffic, WatchEvent


class Workloads(Protocol):
    """Attachments as a client may ask for them. What it raises is in `netplumb.models.errors`."""

    async def attach(self, spec: AttachmentSpec, timeout_s: float | None) -> AttachmentView:
        """Record the wish and wait until the kernel agrees. Without a timeout the daemon's setting holds."""
        ...

    async def detach(self, spec: DetachSpec, timeout_s: float | None) -> None:
        """Withdraw the wish and wait until the interface is gone from the kernel."""
        ...

    def get(self, key: AttachmentKey) -> Sequence[AttachmentView]:
        """One attachment, and behind it the claims of state files that wait for its key; NotFound if there is none."""
        ...

    def list(
        self,
        after: tuple[AttachmentKey, str] | None = None,
        selected: Callable[[Mapping[str, str]], bool] = lambda _: True,
    ) -> Iterator[AttachmentView]:
        """Attachments in the order of their places, from the one after a place on; those whose labels are selected."""
        ...

    def watch(self) -> AsyncIterator[WatchEvent]:
        """An async generator: a snapshot, the mark that it is complete, then changes. Closing it unsubscribes."""
        ...

    async def check(self, key: AttachmentKey) -> CheckReport:
        """Compare an attachment, and what of the node it needs, with the kernel; NotFound if there is none."""
        ...

    async def describe(self, workload_id: str, if_name: str, events: int) -> Sequence[Description]:
        """All about one interface of a workload, or without a name about each; NotFound if there is none."""
        ...

    async def check_all(self) -> tuple[Comparison, Sequence[CheckReport]]:
        """Compare the node, and each attachment, with the kernel."""
        ...

    async def plan(self, what_if: WhatIf) -> Sequence[Comparison]:
        """What would change in the kernel, for the whole node, one wish or documents. Nothing is changed."""
        ...

    async def apply(self, application: Application, *, dry_run: bool = False) -> Sequence[Applied]:
        """Make documents desired, beside what was applied before or instead of it; a dry run changes nothing."""
        ...

    async def delete(
        self,
        files: Sequence[StateFile],
        keys: Sequence[AttachmentKey],
        timeout_s: float | None,
        *,
        dry_run: bool = False,
    ) -> Deleted:
        """Withdraw what was applied, and wait until it is gone from the kernel; a dry run changes nothing."""
        ...

    def policies(self) -> Sequence[PolicyView]:
        """What sources declare of network policies and namespaces, in the order of their keys."""
        ...

    async def explain_policy(self, asked: Asked) -> Answer:
        """Whether policies let a packet pass, and why; NotFound for an end that is not known."""
        ...

    async def diff_policies(self, files: Sequence[StateFile]) -> PolicyDifference:
        """What policies in these state files would change of who reaches whom. Nothing is changed."""
        ...

    async def gc(
        self, source: str, alive: Set[AttachmentKey], timeout_s: float | None, *, dry_run: bool = False
    ) -> Sequence[AttachmentView]:
        """Detach what the source holds and does not name as alive, by container id (the workload's id where there is
        none) and interface. Returns what was detached, when its interfaces are gone from the kernel; a dry run changes
        nothing and returns what would be."""
        ...

    async def traffic(self) -> Sequence[Traffic]:
        """What went over each attachment whose link is there, in the order of their keys."""
        ...

    def events(self, query: EventQuery, *, follow: bool) -> AsyncIterator[Event]:
        """An async generator: what happened, the oldest first, and to follow what happens. Closing it unsubscribes."""
        ...

    def status(self, *, without_pools: bool = False) -> NodeStatus:
        """The daemon as a whole; NotReady while it has no pools, unless it is asked for even so."""
        ...
