"""What a pass over one attachment is given and what it came to, as the loop, the pass and the status speak of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from netplumb.models.attachment import Attachment, AttachmentKey
from netplumb.models.errors import Outdated, StepError
from netplumb.models.kernel import KernelObject, Link
from netplumb.models.network import Families, Node
from netplumb.models.steps import Step
from netplumb.reconciler.converge.observe import NodeSnapshot


class Reach(Enum):
    """What is at the path of the namespace that the attachment is meant to be in."""

    OPEN = "open"
    MISSING = "missing"  # nothing is at the path
    OTHER = "other"  # another network namespace
    WRONG = "wrong"  # something that is not a network namespace

    @property
    def reason(self) -> str:
        """As conditions give it; empty if there is nothing to report."""
        return _REASONS.get(self, "")


_REASONS = {
    Reach.MISSING: "PathMissing",
    Reach.OTHER: "PathIsAnotherNamespace",
    Reach.WRONG: "PathIsNoNamespace",
}


@dataclass(frozen=True, slots=True)
class Work:
    """One attachment to converge."""

    attachment: Attachment
    node: Node
    hint_indexes: Sequence[int] = ()
    snapshot: NodeSnapshot | None = None
    may_block: bool = True
    """Whether it may do what takes long: removing a link, making a namespace."""
    is_new: bool = False
    """Whether no pass has looked at it yet, so that most likely nothing of it exists."""
    at_once: bool = False
    """Whether others wait: then it neither reads nor changes more than most workloads have."""
    is_wished: Callable[[], bool] = lambda: True
    """Whether the record is still the one that is desired; may be called on any thread."""


@dataclass(slots=True)
class Outcome:
    """What one pass came to. `deferred` means that it needs a thread that may block, `is_large` that it is more than
    may be done at once, and `unread` says why nothing is known of the workload's side. `cost_s` is the thread's
    processor time, in the kernel too."""

    key: AttachmentKey
    generation: int
    reach: Reach = Reach.OPEN
    reach_message: str = ""
    netns_cookie: int = 0
    netns_created: bool = False
    families: Families = field(default_factory=Families)
    node_link: Link | None = None
    ifb: Link | None = None
    applied: list[Step] = field(default_factory=list)
    errors: list[StepError] = field(default_factory=list)
    desired: list[KernelObject] = field(default_factory=list)
    deferred: bool = False
    took_s: float = 0.0
    is_large: bool = False
    unread: StepError | None = None
    cost_s: float = 0.0
    held: bool = False
    """Whether policies that a lost store knew isolate it."""
    given: tuple[Attachment, Node] | None = None
    """What the pass worked from: the record, and what was known of the node."""
    record: Attachment | None = None
    """The record with the MAC and MTU that the interface was found with, if the pass follows them."""

    def is_outdated_by(self, record: Attachment) -> bool:
        """Whether it says nothing about this record: the wish has changed, or changed during the pass, which then gave
        up."""
        return record.generation != self.generation or any(isinstance(error, Outdated) for error in self.errors)

    @property
    def attached(self) -> bool:
        whole = not self.errors and not self.deferred and self.unread is None
        return whole and self.node_link is not None and self.reach is Reach.OPEN
