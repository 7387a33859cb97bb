"""What a pass over an attachment would do, for those who ask. Changes nothing.

It reads and compares as a pass does, and stops where that would begin to write.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from netplumb.models.attachment import Attachment, AttachmentKey
from netplumb.models.errors import Conflict, StepError
from netplumb.models.kernel import KernelObject
from netplumb.models.network import Node
from netplumb.models.status import PlannedChange
from netplumb.models.steps import Step
from netplumb.models.words import kind_of
from netplumb.reconciler.converge.attachment import Kernel, observe_and_plan, observed_for, open_namespace
from netplumb.reconciler.converge.observe import NodeSnapshot
from netplumb.reconciler.converge.work import Outcome, Reach, Work
from netplumb.reconciler.decide.plan import Plan, plan
from netplumb.reconciler.decide.render import render_attachment, render_elements
from netplumb.reconciler.kernel.namespaces import Namespace


@dataclass(frozen=True, slots=True)
class Preview:
    """What a pass would do now, what it could not come past (each a reason, in one word, and a message), and what it
    wants to be there."""

    steps: tuple[Step, ...] = ()
    obstacles: tuple[tuple[str, str], ...] = ()
    desired: tuple[KernelObject, ...] = ()


def preview(attachment: Attachment, node: Node, kernel: Kernel, snapshot: NodeSnapshot | None = None) -> Preview:
    """What cannot be read of the workload is told, and the node's side is compared all the same: one attachment must
    not hide what is to be said of the others. What differs by a read of all is looked at by itself."""
    if snapshot is not None:
        seen = _preview(Work(attachment, node, snapshot=snapshot, may_block=False), kernel)
        if not (seen.steps or seen.obstacles):
            return seen
    return _preview(Work(attachment, node, may_block=False), kernel)


def _preview(work: Work, kernel: Kernel) -> Preview:
    attachment = work.attachment
    outcome = Outcome(attachment.key, attachment.generation)
    made: Plan | None = None
    try:
        made = _planned(work, kernel, outcome, open_namespace(work, kernel, outcome))
    except StepError as error:
        outcome.errors.append(error)
        with suppress(StepError):  # the first error is the one to tell
            made = _planned(work, kernel, outcome, None)
    obstacles = [(error.reason, str(error)) for error in outcome.errors]
    if outcome.unread is not None:
        obstacles.append((outcome.unread.reason, str(outcome.unread)))
    if outcome.reach is not Reach.OPEN:
        obstacles.append((outcome.reach.reason, outcome.reach_message))
    if made is not None:
        obstacles += ((Conflict.reason, message) for message in made.conflicts)
    return Preview(made.steps if made is not None else (), tuple(obstacles), tuple(outcome.desired))


def in_words(key: AttachmentKey | None, steps: Iterable[Step]) -> tuple[PlannedChange, ...]:
    """Steps for an attachment, or for the node, as they are told."""
    return tuple(
        PlannedChange(key, step.verb.value, kind_of(step.thing), str(step).removeprefix(f"{step.verb.value} "))
        for step in steps
    )


def _planned(work: Work, kernel: Kernel, outcome: Outcome, namespace: Namespace | None) -> Plan | None:
    """None where there is no namespace and nothing of the node's side."""
    try:
        if work.attachment.removing:
            return plan((), observed_for(work, kernel, namespace, (), None).objects)
        if outcome.deferred:  # as a pass leaves it to a thread that may make the namespace
            return _planned_anew(work, kernel, outcome)
        elements = tuple(render_elements(work.attachment, work.node))
        return observe_and_plan(work, kernel, namespace, elements, work.snapshot, outcome)[1]
    finally:
        if namespace is not None:
            namespace.close()


def _planned_anew(work: Work, kernel: Kernel, outcome: Outcome) -> Plan:
    """What is made with a namespace of its own, in which nothing is yet."""
    attachment, node = work.attachment, work.node
    elements = tuple(render_elements(attachment, node))
    outcome.reach, outcome.reach_message = Reach.OPEN, ""
    outcome.desired = [*elements, *render_attachment(attachment, node, node.families_of_new_links)]
    return plan(outcome.desired, observed_for(work, kernel, None, elements, work.snapshot).objects)
