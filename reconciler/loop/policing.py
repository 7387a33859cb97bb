"""Which network policies are in force, and which combinations of them select workloads: for these the node's part of
the table needs chains before a workload's elements can name them.
"""

from __future__ import annotations

from collections.abc import Iterable

from netplumb.models.attachment import Attachment
from netplumb.models.policyset import NO_POLICIES, Combination, PolicySet
from netplumb.reconciler.decide.policies.elsewhere import looked_in
from netplumb.reconciler.decide.policies.selection import selection


class Policing:
    """`combinations` only grow until the policies change, so that nothing but elements changes when a workload goes, or
    has other labels for a while."""

    def __init__(self) -> None:
        self.policies = NO_POLICIES
        self.combinations: frozenset[Combination] = frozenset()

    @property
    def looked_in(self) -> frozenset[str]:
        """The sets of peers that these combinations look up."""
        return looked_in(self.policies, self.combinations)

    def take(self, policies: PolicySet, attachments: Iterable[Attachment]) -> None:
        """Other policies are in force from now on."""
        self.policies = policies
        self.combinations = frozenset(it for record in attachments for it in self._of(record))

    def noticed(self, attachment: Attachment) -> None:
        """A record is new, or has changed."""
        if not self.combinations.issuperset(found := self._of(attachment)):
            self.combinations = self.combinations.union(found)

    def _of(self, attachment: Attachment) -> tuple[Combination, ...]:
        if not self.policies.policies or attachment.is_rebuilt:
            return ()
        return selection(self.policies).of(attachment).combinations
