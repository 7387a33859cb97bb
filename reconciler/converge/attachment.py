"""One pass over one attachment: open its namespace, observe, render, plan, apply, and read back what was repaired.

The same function serves an Attach, a repair, a resync and a start, on any thread that has a kernel to give it. It
writes to the kernel and nothing else; what came of it is returned, and the loop makes it into status."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from errno import ENODEV
from functools import partial
from typing import Protocol

import structlog

from netplumb.models.attachment import Attachment
from netplumb.models.bandwidth import NO_LIMITS
from netplumb.models.errors import (
    Conflict,
    DumpInterrupted,
    NotANetworkNamespace,
    Outdated,
    Retryable,
    StepError,
    TooLarge,
)
from netplumb.models.kernel import KernelObject, Link, Scope
from netplumb.models.naming import alias_of, node_if_name
from netplumb.models.nft import NftElement
from netplumb.models.steps import Step
from netplumb.reconciler.converge.apply import Applied
from netplumb.reconciler.converge.observe import NodeSnapshot
from netplumb.reconciler.converge.observed import Observed
from netplumb.reconciler.converge.work import Outcome, Reach, Work
from netplumb.reconciler.decide.chains import followed
from netplumb.reconciler.decide.plan import Plan, place_in_plan, plan
from netplumb.reconciler.decide.policies.lost import kept_of
from netplumb.reconciler.decide.render import render_attachment, render_elements
from netplumb.reconciler.kernel.namespaces import Namespace, NamespaceMissingError

_ROUNDS = 4  # a first try, its side effects, and a read back; a tool that undoes each step is left to later passes
_STEPS_AT_ONCE = 100

log = structlog.get_logger(__name__)


class Kernel(Protocol):
    """What a pass needs of the kernel; linux.py has the real one, the tests a fake held to it by contract."""

    def open(self, path: str) -> Namespace: ...
    def create(self, name: str, mark: str) -> None: ...
    def mark_of(self, name: str) -> str: ...
    def observe(
        self,
        attachment: Attachment,
        namespace: Namespace | None,
        *,
        elements: Sequence[NftElement],
        hint_indexes: Sequence[int],
        snapshot: NodeSnapshot | None,
        node_ipv6: bool,
        at_once: bool,
    ) -> Observed: ...
    def make_new(
        self,
        name: str,
        elements: Sequence[NftElement],
        things: Sequence[KernelObject],
        namespace: Namespace,
        is_wished: Callable[[], bool],
    ) -> Link | None: ...
    def apply(
        self,
        steps: Sequence[Step],
        namespace: Namespace | None,
        observed: Observed,
        is_wished: Callable[[], bool],
    ) -> Applied: ...


def converge(work: Work, kernel: Kernel, handed: Namespace | None = None) -> Outcome:
    """Makes the kernel agree with one attachment. Closes the namespace that was `handed` over."""
    attachment = work.attachment
    outcome = Outcome(attachment.key, attachment.generation, netns_created=attachment.netns_created)
    outcome.given = (attachment, work.node)
    namespace = handed
    try:
        if namespace is None:
            namespace = open_namespace(work, kernel, outcome)
        if namespace is not None:
            outcome.netns_cookie = namespace.cookie
            if attachment.spec.netns.create and namespace.cookie != attachment.netns_cookie:
                outcome.netns_created = bool(kernel.mark_of(attachment.spec.netns.name))
        if not outcome.deferred:
            _converge(work, kernel, namespace, outcome)
    except StepError as error:
        if work.at_once and isinstance(error, TooLarge | DumpInterrupted):
            outcome.deferred = outcome.is_large = True
        else:
            outcome.errors.append(error)
    finally:
        if namespace is not None:
            namespace.close()
    return outcome


def converge_guarded(work: Work, kernel: Kernel, handed: Namespace | None = None) -> Outcome:
    """A pass that ends in a bug of ours fails its attachment, not the loop, and is tried again like any other."""
    began, worked_s = time.monotonic(), time.thread_time()
    try:
        outcome = converge(work, kernel, handed)
    except Exception as error:
        key = work.attachment.key
        log.exception("a pass ended in an unexpected error", attachment=str(key))
        failure = Retryable(f"internal error: {type(error).__name__}; see the daemon's log", reason="InternalError")
        outcome = Outcome(key, work.attachment.generation, errors=[failure])
    outcome.took_s, outcome.cost_s = time.monotonic() - began, time.thread_time() - worked_s
    return outcome


def open_namespace(work: Work, kernel: Kernel, outcome: Outcome) -> Namespace | None:
    """The namespace that the attachment is meant to be in, if it exists. A state file means whatever is at the path; an
    RPC meant one namespace, and another one at the same path is not touched."""
    attachment = work.attachment
    netns = attachment.spec.netns
    try:
        namespace = kernel.open(netns.where)
    except NamespaceMissingError as error:
        outcome.reach, outcome.reach_message = Reach.MISSING, str(error)
        if not netns.create:
            return None
        if not work.may_block:
            outcome.deferred = True
            return None
        return _create(work, kernel, outcome)
    except NotANetworkNamespace as error:
        outcome.reach, outcome.reach_message = Reach.WRONG, str(error)
        return None
    if not attachment.is_declared and namespace.cookie != attachment.netns_cookie:
        namespace.close()
        outcome.reach = Reach.OTHER
        outcome.reach_message = f"{netns.where} is another namespace than the one that was attached"
        return None
    return namespace


def _create(work: Work, kernel: Kernel, outcome: Outcome) -> Namespace | None:
    netns = work.attachment.spec.netns
    kernel.create(netns.name, alias_of(work.attachment.key))
    namespace = kernel.open(netns.where)
    outcome.reach, outcome.reach_message = Reach.OPEN, ""
    return namespace


def _converge(work: Work, kernel: Kernel, namespace: Namespace | None, outcome: Outcome) -> None:
    attachment = work.attachment
    elements = tuple(render_elements(attachment, work.node))
    if work.is_new and namespace is not None and _made_new(work, kernel, namespace, elements, outcome):
        return
    snapshot = work.snapshot
    for _ in range(_ROUNDS):
        observed, made = observe_and_plan(work, kernel, namespace, elements, snapshot, outcome)
        if snapshot is not None and not snapshot.whole and (made is None or made.conflicts or made.steps):
            # What that read did not show may exist all the same: this attachment is read by itself.
            observed, made = observe_and_plan(work, kernel, namespace, elements, None, outcome)
        if made is None:
            return
        if made.conflicts:
            outcome.errors = [Conflict(message, subject=str(attachment.key)) for message in made.conflicts]
            return
        if not made.steps:
            outcome.errors.clear()
            return
        outcome.is_large = work.at_once and len(made.steps) > _STEPS_AT_ONCE
        if outcome.is_large or (made.remakes_link and not work.may_block):
            outcome.deferred = True
            return
        if not work.is_wished():
            # What was free for this wish may by now belong to another interface of the workload.
            raise Outdated("another wish came meanwhile")
        applied = kernel.apply(made.steps, namespace, observed, work.is_wished)
        work = replace(work, attachment=outcome.record or attachment)
        outcome.applied += made.steps
        outcome.errors = applied.errors
        if applied.made is not None and not applied.errors and attachment.spec.bandwidth == NO_LIMITS:
            # A new pair has just been filled by a plan that started from nothing; there is no older state to read back.
            outcome.node_link = applied.made
            return
        snapshot = None
        if outcome.unread is not None:
            namespace = None  # reading it again would fail again


def _made_new(
    work: Work, kernel: Kernel, namespace: Namespace, elements: Sequence[NftElement], outcome: Outcome
) -> bool:
    """Whether all of it was made without reading first; if not, an ordinary pass has to follow."""
    attachment, node = work.attachment, work.node
    families = node.families_of_new_links
    things = sorted(render_attachment(attachment, node, families), key=place_in_plan)
    made = kernel.make_new(node_if_name(attachment.key), elements, things, namespace, work.is_wished)
    if made is None:
        return False
    outcome.families, outcome.node_link, outcome.desired = families, made, [*elements, *things]
    return True


def observe_and_plan(
    work: Work,
    kernel: Kernel,
    namespace: Namespace | None,
    elements: Sequence[NftElement],
    snapshot: NodeSnapshot | None,
    outcome: Outcome,
) -> tuple[Observed, Plan | None]:
    """Reads and compares, and changes nothing. There is no plan if the namespace is gone and nothing is left on the
    node; what a link that went with its namespace left behind is removed."""
    observed = observed_for(work, kernel, namespace, elements, snapshot)
    if not work.node.ipv6:
        observed.families = work.node.families_of_new_links
    outcome.families = observed.families
    outcome.node_link = observed.node_link
    outcome.ifb = observed.ifb
    outcome.unread = outcome.unread or observed.unread
    if namespace is None and observed.node_link is None:
        return observed, plan((), observed.objects) if observed.objects else None
    record = followed(work.attachment, work.node.mtu, observed.node_link, observed.workload_link)
    if record is not work.attachment:
        outcome.record = record
    reached = namespace is not None and observed.unread is None
    rendered = render_attachment(record, work.node, observed.families, reached=reached)
    kept = kept_of(record, work.node.policies, elements, observed.objects.values())
    outcome.held = any(it.value is not None for it in kept)
    outcome.desired = [*elements, *rendered, *kept]
    if not reached:
        # The other end cannot be seen, but that does not mean that it is gone.
        outcome.desired = [_unpaired(thing) for thing in outcome.desired]
    return observed, plan(outcome.desired, observed.objects)


def observed_for(
    work: Work,
    kernel: Kernel,
    namespace: Namespace | None,
    elements: Sequence[NftElement],
    snapshot: NodeSnapshot | None,
) -> Observed:
    """Reads again if a link went away before what is bound to it was read."""
    read = partial(
        kernel.observe,
        work.attachment,
        namespace,
        elements=elements,
        hint_indexes=work.hint_indexes,
        node_ipv6=work.node.ipv6_for_new_links,
        at_once=work.at_once,
    )
    for _ in range(_ROUNDS - 1):
        try:
            return read(snapshot=snapshot)
        except Retryable as error:
            if error.code != ENODEV:
                raise
            snapshot = None
    return read(snapshot=None)


def _unpaired(thing: KernelObject) -> KernelObject:
    return replace(thing, peer=None) if isinstance(thing, Link) and thing.scope is Scope.NODE else thing
