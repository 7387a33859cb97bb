"""What was read of an attachment, as a plan takes it."""

from __future__ import annotations

from dataclasses import dataclass, field

from netplumb.models.errors import StepError
from netplumb.models.kernel import KernelObject, Key, Link, Rule
from netplumb.models.network import Families


@dataclass(slots=True)
class Observed:
    """What was read for one attachment. `unread` tells why nothing is known of the workload's side, though its
    namespace was entered: there is more of it than is ever read, or it changes all the time."""

    objects: dict[Key, KernelObject] = field(default_factory=dict)
    node_link: Link | None = None
    workload_link: Link | None = None
    ifb: Link | None = None
    families: Families = field(default_factory=Families)
    unread: StepError | None = None

    def add(self, thing: KernelObject) -> None:
        self.objects[thing.key] = thing


def add_rule(objects: dict[Key, KernelObject], rule: Rule) -> None:
    """One that was left behind in another place is not wanted there, and so it goes."""
    objects[rule.key if rule.key not in objects else (*rule.key, rule.preference)] = rule
