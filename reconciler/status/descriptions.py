"""PURE: an attachment's objects, each with how it stands in the kernel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netplumb.models.kernel import KernelObject, scope_of
from netplumb.models.status import DescribedObject
from netplumb.models.steps import Step, Verb
from netplumb.models.words import kind_of


def described(desired: Iterable[KernelObject], steps: Iterable[Step]) -> Iterator[DescribedObject]:
    """Those that are desired, in their order, and what is there of ours beside them; `steps` are what differs."""
    differing = {step.thing.key: step for step in steps}
    for thing in desired:
        yield _object(thing, _deviation(differing.pop(thing.key, None)))
    for step in differing.values():
        yield _object(step.thing, _deviation(step))


def _object(thing: KernelObject, deviation: str) -> DescribedObject:
    return DescribedObject(scope_of(thing), kind_of(thing), str(thing), deviation)


def _deviation(step: Step | None) -> str:
    if step is None:
        return ""
    match step.verb:
        case Verb.ADD:
            return "missing"
        case Verb.REMOVE:
            return "not wanted"
        case Verb.CHANGE:
            return f"has {step.was}"
