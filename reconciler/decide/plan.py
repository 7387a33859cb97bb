"""PURE: the difference between desired and observed, as ordered steps.

Removals come first, referrers before referents; then additions and changes, referents before referrers, what is on the
node before what is in the workload. What is not ours is never changed or removed: where it stands in the way of a
link it is a conflict, where it merely stands beside ours it is passed over.

An observed link may stand under a key that is not its own name: a renamed link of ours is found by other marks and
held under the name that it should have (see observe.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from netplumb.models.kernel import KernelObject, Key, Link, Scope, Sysctl, scope_of
from netplumb.models.naming import key_of_alias
from netplumb.models.steps import Step, Verb
from netplumb.reconciler.decide.ownership import is_ours


@dataclass(frozen=True, slots=True)
class Plan:
    steps: tuple[Step, ...] = ()
    conflicts: tuple[str, ...] = ()

    @property
    def remakes_link(self) -> bool:
        """Whether a link is removed, for which the kernel waits 14 to 24 ms (an RCU grace period)."""
        return any(step.verb is Verb.REMOVE and isinstance(step.thing, Link) for step in self.steps)


def plan(desired: Iterable[KernelObject], observed: Mapping[Key, KernelObject]) -> Plan:
    """What makes `observed` as `desired`. Objects of ours that are observed and not desired go."""
    wanted = {thing.key: thing for thing in desired}
    conflicts = tuple(
        conflict
        for key, thing in wanted.items()
        if isinstance(thing, Link) and isinstance(there := observed.get(key), Link)
        if (conflict := _conflict(thing, there))
    )
    if conflicts:
        return Plan(conflicts=conflicts)
    doomed = _doomed_links(wanted, observed)
    gone_with_them = {(Scope.WORKLOAD, link.peer) for link in doomed.values() if link.peer}
    for key, link in doomed.items():
        gone_with_them |= {(link.scope, link.name), (link.scope, str(key[2]))}  # what is on it is held as the key says
    additions: list[Step] = []
    for key, thing in wanted.items():
        there = observed.get(key)
        if there is None or _place(there) in gone_with_them:
            additions.append(Step(Verb.ADD, thing))
        elif _differs(thing, there):
            additions.append(Step(Verb.CHANGE, thing, there))
    removals = [
        Step(Verb.REMOVE, there)
        for key, there in observed.items()
        if key not in wanted and is_ours(there) and _place(there) not in gone_with_them
    ]
    removals += (Step(Verb.REMOVE, link) for link in doomed.values())
    removals.sort(key=lambda step: place_in_plan(step.thing), reverse=True)
    additions.sort(key=lambda step: place_in_plan(step.thing))
    return Plan((*removals, *additions))


def place_in_plan(thing: KernelObject) -> tuple[int, int]:
    """The order in which objects are added."""
    return scope_of(thing), thing.rank


def _differs(thing: KernelObject, there: KernelObject) -> bool:
    if isinstance(thing, Link) and isinstance(there, Link):
        return bool(thing.differences(there))
    if isinstance(thing, Sysctl) and isinstance(there, Sysctl) and thing.instead_of not in (None, there.value):
        return False
    return thing != there


def _doomed_links(wanted: Mapping[Key, KernelObject], observed: Mapping[Key, KernelObject]) -> dict[Key, Link]:
    """Our links on the node that nobody wants, whose other end is not in the workload that wants it, or that cannot be
    made what they should be; and ends of ours in a workload that have none."""
    doomed = {}
    for key, there in observed.items():
        if isinstance(there, Link) and there.stray:
            doomed[key] = there
        elif isinstance(there, Link) and is_ours(there):
            thing = wanted.get(key)
            if not isinstance(thing, Link) or (thing.peer and not there.peer) or thing.tunnel != there.tunnel:
                doomed[key] = there
    return doomed


def _place(thing: KernelObject) -> tuple[Scope, str] | None:
    """The link that an object is, or is bound to, and with which it goes."""
    if isinstance(thing, Link):
        return thing.scope, thing.name
    link: str | None = getattr(thing, "link", None)
    return (scope_of(thing), link) if link is not None else None


def _conflict(desired: Link, there: Link) -> str:
    """Why a link under the desired name cannot be taken for ours; empty if it can."""
    if desired.scope is Scope.WORKLOAD:
        if there.peer or there.stray:
            return ""
        return f"another interface named {there.name} is in the workload's namespace; remove or rename it"
    if not is_ours(there):
        return f"interface {there.name} on the node is not netplumb's and has the name that is needed; rename it"
    if there.alias != desired.alias and (other := key_of_alias(there.alias or "")) is not None:
        return f"interface {there.name} on the node belongs to attachment {other}"
    return ""
