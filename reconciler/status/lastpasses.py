"""What the last pass over each attachment made, in this daemon's life: by it is judged what the nftables table should
hold, and whether what the next pass finds is damage."""

from __future__ import annotations

from collections.abc import Iterator

from netplumb.models.attachment import Attachment, AttachmentKey
from netplumb.models.naming import node_if_name
from netplumb.models.network import Node
from netplumb.models.nft import NftElement, is_of_policies
from netplumb.reconciler.converge.work import Outcome, Reach
from netplumb.reconciler.decide.render import render_own_elements
from netplumb.reconciler.decide.render.policies import render_policy_elements
from netplumb.reconciler.desired.state import Desired


class LastPasses:
    def __init__(self, desired: Desired) -> None:
        self._desired = desired
        self._published: dict[AttachmentKey, tuple[Attachment, tuple[NftElement, ...]]] = {}
        """The record that each last pass was for, and its elements in the nftables table, those of policies aside."""
        self._absent: set[AttachmentKey] = set()
        """Those of which the last pass found neither a namespace nor a link, so that it made nothing."""
        self._made: dict[AttachmentKey, tuple[Attachment, Node]] = {}
        """What the last pass that succeeded was given."""

    def ended(self, record: Attachment, outcome: Outcome) -> None:
        """A pass has ended over what was `record` until then."""
        key = outcome.key
        given, node = outcome.given or (record, None)
        if given is record:
            # What the pass itself learnt is no change; what came while it ran is.
            given = self._desired.attachments.get(key, given)
        if outcome.attached and node is not None:
            self._made[key] = (given, node)
        if not outcome.deferred:
            own = (it for it in outcome.desired if isinstance(it, NftElement) and not is_of_policies(it.set))
            self._published[key] = (given, tuple(own))
            is_absent = outcome.reach is not Reach.OPEN and outcome.node_link is None and not outcome.errors
            (self._absent.add if is_absent else self._absent.discard)(key)

    def forget(self, key: AttachmentKey) -> None:
        self._published.pop(key, None)
        self._absent.discard(key)
        self._made.pop(key, None)

    def elements(self, node: Node) -> Iterator[NftElement]:
        """What the nftables table should hold of all attachments: what their last passes published, or what follows
        from the record where no pass over it has ended, since a port of one may be another's by now. Elements of
        policies are always rendered anew: policies change without a pass."""
        for key, attachment in self._desired.attachments.items():
            if not attachment.removing:
                yield from self._published[key][1] if self._is_passed(attachment) else render_own_elements(attachment)
                if key not in self._absent:
                    yield from render_policy_elements(attachment, node)

    def links_without_pass(self) -> Iterator[str]:
        """Of the attachments over whose present records no pass has ended: what they lack is no damage."""
        return (node_if_name(it.key) for it in self._desired.attachments.values() if not self._is_passed(it))

    def _is_passed(self, attachment: Attachment) -> bool:
        """Whether a pass over this very record has ended. An attachment that is absent has nothing in the table before
        a pass finds it, whatever its record says."""
        published = self._published.get(attachment.key)
        return published is not None and (published[0] is attachment or attachment.key in self._absent)

    def follows(self, outcome: Outcome) -> str:
        """What has changed since the last pass that succeeded, other than what is asked for; empty if nothing has, so
        that whatever this one found was damage. A record is the same object until something of it changes."""
        made = self._made.get(outcome.key)
        if made is None or outcome.given is None:
            return ""
        if made[0] is not outcome.given[0]:
            return "the workload's other interfaces"
        return "the node" if made[1] != outcome.given[1] else ""
