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
    """What became of the namespace at the wish's path."""

    OPEN = "open"
    MISSING = "missing"  # nothing is at the path
    OTHER = "other"  # a namespace that is not the one meant
    WRONG = "wrong"  # something that is no network namespace

    @property
    def reason(self) -> str:
        """As conditions have it; empty where there is nothing to tell."""
        return _REASONS.get(self, "")


_REASONS = {
    Reach.MISSING: "PathMissing",
    Reach.OTHER: "PathIsAnotherNamespace",
    Reach.WRONG: "PathIsNoNamespace",
}


@dataclass(frozen=True, slots=True)
class Work:
    """One attachment to converge. `may_block` allows what takes long: removing a link, making a namespace. What
    `is_new` was never looked at, so that most likely there is nothing of it. Where it is to be `at_once`, what is
    larger than workloads mostly are is neither read nor changed. `is_wished` tells on any thread whether the record is
    still the one that holds."""

    attachment: Attachment
    node: Node
    hint_indexes: Sequence[int] = ()
    snapshot: NodeSnapshot | None = None
    may_block: bool = True
    is_new: bool = False
    at_once: bool = False
    is_wished: Callable[[], bool] = lambda: True


@dataclass(slots=True)
class Outcome:
    """What one pass came to. `deferred` means that it needs a thread that may block, and `is_large` that there is more
    to it than may be done at once; `unread` that of the workload's side nothing is known, and why. `cost_s` is what the
    thread worked for it, the kernel's share included."""

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
    """Whether policies isolate it that a lost store knew."""
    given: tuple[Attachment, Node] | None = None
    """What was to be made of it: the record, and what was known of the node."""
    record: Attachment | None = None
    """The record with what the interface was found with, where that is followed."""

    def is_outdated_by(self, record: Attachment) -> bool:
        """Whether it tells nothing of this record, since that has another wish, or came while the pass was made, which
        was given up then."""
        return record.generation != self.generation or any(isinstance(error, Outdated) for error in self.errors)

    @property
    def attached(self) -> bool:
        whole = not self.errors and not self.deferred and self.unread is None
        return whole and self.node_link is not None and self.reach is Reach.OPEN
