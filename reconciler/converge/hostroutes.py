"""Restores the host routes of many attachments at once, with one read of the node and without entering any workload.

When an address of the node is removed, the kernel removes all routes that prefer it as their source, which are those of
every attachment, and sends no event for any of them. A pass over each attachment would restore them too, but would
enter each workload.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from netplumb.models.attachment import Attachment, AttachmentKey
from netplumb.models.kernel import Route
from netplumb.models.network import Families, Node
from netplumb.models.steps import Step, Verb
from netplumb.reconciler.converge.apply import Applied
from netplumb.reconciler.converge.hints import Hint
from netplumb.reconciler.converge.observed import Observed
from netplumb.reconciler.decide.plan import plan
from netplumb.reconciler.decide.render.hostroutes import render_host_routes
from netplumb.reconciler.kernel.namespaces import Namespace


class Kernel(Protocol):
    def host_routes(self, names: Mapping[int, str]) -> Iterable[Route]: ...
    def apply(self, steps: Sequence[Step], namespace: Namespace | None, observed: Observed) -> Applied: ...


@dataclass(frozen=True, slots=True)
class Placed:
    """An attachment that is in the kernel, and where."""

    attachment: Attachment
    hint: Hint


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done, and whose routes could not be put back: their links may have been made anew meanwhile."""

    steps: Sequence[Step]
    failed: Sequence[AttachmentKey] = ()


def restore_host_routes(kernel: Kernel, node: Node, placed: Sequence[Placed]) -> Restored:
    """Adds and changes what is missing or differs. Nothing is removed, since not every attachment need be among these.

    Raises Retryable when the kernel does not answer.
    """
    wanted = [route for each in placed for route in _routes(each, node)]
    there = kernel.host_routes({each.hint.index: each.hint.node.name for each in placed})
    made = plan(wanted, {route.key: route for route in there})
    steps = [step for step in made.steps if step.verb is not Verb.REMOVE]
    links = Observed()
    for each in placed:
        links.add(replace(each.hint.node, index=each.hint.index))
    refused = {error.subject for error in kernel.apply(steps, None, links).errors}
    if not refused:
        return Restored(steps)
    over = {step.thing.link for step in steps if isinstance(step.thing, Route) and str(step.thing) in refused}
    return Restored(steps, [each.attachment.key for each in placed if each.hint.node.name in over])


def _routes(placed: Placed, node: Node) -> Iterable[Route]:
    families = Families(v6=node.ipv6 and bool(placed.hint.node.proxy_ndp))
    routes = render_host_routes(placed.attachment, node, families)
    return (route for route in routes if route.prefsrc is not None)
