"""What of the node and its attachments is not as wished: the one place from which Check, Plan and Status answer.

It reads the kernel in a thread of its own and changes nothing. The status of an attachment that is not attached is
reported as in every view; the read adds what differs now, and what no pass has met yet.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence, Set
from functools import partial
from itertools import islice

from netplumb.models.attachment import Attachment
from netplumb.models.errors import StepError
from netplumb.models.network import Node
from netplumb.models.policyset import PolicySet
from netplumb.models.status import (
    BROKEN_WISHES,
    NODE_OBSTACLES,
    AttachmentView,
    CheckReport,
    Comparison,
    Condition,
    Unmet,
    node_unmet,
)
from netplumb.models.steps import Step
from netplumb.reconciler.converge.observe import NodeSnapshot
from netplumb.reconciler.converge.preview import Preview, in_words, preview
from netplumb.reconciler.converge.reader import Reader
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.loop.node import NodeWide
from netplumb.reconciler.loop.nodewish import NodeWish
from netplumb.reconciler.status.statuses import Statuses

TOLD_MAX = 20


class Survey:
    """`conditions` are those of the node; `ways` tells what differs of the ways to other nodes, where there are any."""

    def __init__(
        self,
        desired: Desired,
        statuses: Statuses,
        nodewide: NodeWide,
        reader: Reader,
        conditions: Callable[[], tuple[Condition, ...]],
        ways: Callable[[], Awaitable[Sequence[Step]]] | None = None,
    ) -> None:
        self._desired = desired
        self._statuses = statuses
        self._nodewide = nodewide
        self._reader = reader
        self._conditions = conditions
        self._ways = ways

    async def of_one(self, record: Attachment) -> CheckReport:
        """One attachment with the claims that wait for its key, and what of the node its traffic needs."""
        return (await self.looked_at(record))[0]

    async def looked_at(self, record: Attachment) -> tuple[CheckReport, Preview]:
        """The same, with what was read for it."""
        node, report = await self._node(self._nodewide.foundation_wish(), NODE_OBSTACLES)
        made = await self._reader.read(partial(preview, record, node))
        view = self._statuses.view(self._desired.attachments.get(record.key, record))
        claims = (unmet for claim in self._statuses.claims_of(record.key) for unmet in claim.unmet)
        differences = (*report.differences, *in_words(record.key, made.steps))
        return CheckReport(differences, (*report.unmet, *_unmet(view, made), *claims), view=view), made

    async def of_all(self) -> tuple[Comparison, list[CheckReport]]:
        """The node's own, and that of each attachment and each waiting claim, in the order of keys."""
        records = dict(self._desired.attachments)
        node, report = await self._node(self._nodewide.gathered_wish(), NODE_OBSTACLES | BROKEN_WISHES)
        snapshot = await self._snapshot()
        looks = (partial(preview, record, node, snapshot=snapshot) for record in records.values())
        made = await self._reader.read_each(looks)
        previews = dict(zip(records, made, strict=True))
        reports = []
        for view in self._statuses.views():
            # What came while others were read is as its last pass says.
            read = Preview() if view.is_claim else previews.get(view.key, Preview())
            reports.append(CheckReport(in_words(view.key, read.steps), _unmet(view, read), view=view))
        return report, reports

    async def _snapshot(self) -> NodeSnapshot | None:
        """One read for all: one for each would make their cost grow with the square."""
        try:
            return await self._reader.read(lambda kernel: kernel.snapshot(in_part=True))
        except (StepError, OSError):
            return None

    async def _node(self, wish: NodeWish, types: Set[str]) -> tuple[Node, Comparison]:
        """The node as it was found, and how it compares."""
        try:
            node, planned = await self._reader.read(wish.compared)
            steps = (*planned.steps, *(await self._ways() if self._ways is not None else ()))
        except StepError as error:
            unread = Unmet(None, error.reason, str(error))
            return self._nodewide.node, Comparison(unmet=node_unmet(self._conditions(), types) or (unread,))
        return node, Comparison(in_words(None, steps), node_unmet(self._conditions(), types))

    async def of_wish(self, record: Attachment) -> Comparison:
        """What a record would change that is not, or not yet, desired."""
        return _wished(record, await self._reader.read(partial(preview, record, self._nodewide.node)))

    async def of_policies(self, policies: PolicySet, changed: Iterable[Attachment]) -> tuple[Node, Comparison]:
        """What of the node would be another if these policies were in force, and these attachments there."""
        records = {**self._desired.attachments, **{it.key: it for it in changed}}
        wish = self._nodewide.rehearsed_wish(policies, [it for it in records.values() if not it.removing])
        return await self._node(wish, frozenset())

    async def of_wishes(self, records: Sequence[Attachment], node: Node | None = None) -> list[Comparison]:
        """The same of many, on the node as it is or as it would be."""
        node = node or self._nodewide.node
        made = await self._reader.read_each(partial(preview, record, node) for record in records)
        return [_wished(record, each) for record, each in zip(records, made, strict=True)]

    def known(self) -> tuple[tuple[Unmet, ...], int]:
        """The first reasons of all that is not as wished, and how many there are, without a look at the kernel."""
        found = [*node_unmet(self._conditions(), NODE_OBSTACLES | BROKEN_WISHES), *self._of_attachments()]
        return tuple(islice(found, TOLD_MAX)), len(found)

    def _of_attachments(self) -> Iterator[Unmet]:
        for view in self._statuses.notable_views():
            yield from view.unmet


def _wished(record: Attachment, made: Preview) -> Comparison:
    unmet = tuple(Unmet(record.key, *obstacle, record.source) for obstacle in made.obstacles)
    return Comparison(in_words(record.key, made.steps), unmet)


def _unmet(view: AttachmentView, made: Preview) -> tuple[Unmet, ...]:
    """What every view tells; where that is nothing, what the read came upon."""
    return view.unmet or tuple(view.unmet_for(*obstacle) for obstacle in made.obstacles)
