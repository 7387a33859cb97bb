"""PURE: what a pass, a removal or a refusal came to, as events. Most passes find all as it was, and are none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from netplumb.models.attachment import Attachment, AttachmentKey
from netplumb.models.events import Event, EventKind
from netplumb.models.kernel import Scope, scope_of
from netplumb.models.status import AttachmentStatus, Condition, Phase
from netplumb.models.steps import Step, Verb
from netplumb.models.words import address_words
from netplumb.reconciler.history.lasting import NOT_KNOWN, Lasted
from netplumb.reconciler.pacing.fights import subject_of

OBJECTS_MOST = 8
"""How many objects of one repair are named; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Repair:
    """What a pass found and did to what had been as desired before. `elsewhere` says that the namespace is another one
    than before, so that nothing was damaged; `stopped` that the daemon did not run meanwhile. What `follows` something
    else than a wish, which it names, is no repair either."""

    steps: Sequence[Step] = ()
    lasted: Lasted = NOT_KNOWN
    elsewhere: bool = False
    stopped: bool = False
    follows: str = ""


def events_of(
    attachment: Attachment, before: AttachmentStatus, after: AttachmentStatus, repair: Repair
) -> Iterator[Event]:
    """What a pass that turned one status into the other is told as."""
    key = attachment.key
    failed = f" after {before.retries} failed {'try' if before.retries == 1 else 'tries'}" if before.retries else ""
    match after.phase:
        case Phase.ATTACHED if repair.stopped:
            if repair.steps:
                yield repaired(key, repair, " that changed while the daemon did not run")
        case Phase.ATTACHED if before.observed_generation != attachment.generation or repair.elsewhere:
            first = repair.elsewhere or not before.observed_generation
            yield Event(EventKind.ATTACHED if first else EventKind.CHANGED, key, f"{_what(attachment)}{failed}")
        case Phase.ATTACHED if repair.steps and repair.follows:
            yield Event(EventKind.CHANGED, key, f"{_counted(repair.steps)} follow{_s(repair.steps)} {repair.follows}")
        case Phase.ATTACHED if repair.steps:
            yield repaired(key, repair, failed)
        case Phase.RETRYING:
            yield _told(EventKind.RETRYING, key, after)
        case Phase.FAILED:
            yield _told(EventKind.FAILED, key, after)
        case Phase.LOST | Phase.PENDING if before.observed_generation and before.phase is not after.phase:
            yield _told(EventKind.LOST, key, after)
    yield from fight_events(key, before.condition("Fighting"), after.condition("Fighting"))


def _what(attachment: Attachment) -> str:
    return f"{_addresses(attachment)} in {attachment.spec.netns.where}, for {attachment.source}"


def _told(kind: EventKind, key: AttachmentKey, status: AttachmentStatus) -> Event:
    ready = status.condition("Ready")
    return Event(kind, key, ready.message if ready is not None else "")


def repaired(key: AttachmentKey | None, repair: Repair, how: str = "") -> Event:
    """What was found, and what was done, by name."""
    count = len(repair.steps)
    more = [f"and {count - OBJECTS_MOST} more"] if count > OBJECTS_MOST else []
    named = list(islice(repair.steps, OBJECTS_MOST))
    return Event(
        EventKind.REPAIRED,
        key,
        f"{_counted(repair.steps)} put right{how}",
        found=(*map(_found, named), *more),
        done=(*map(_done, named), *more),
        lasted_s=repair.lasted.seconds,
        at_most=repair.lasted.at_most,
    )


def _counted(steps: Sequence[Step]) -> str:
    return f"{len(steps)} {'object' if len(steps) == 1 else 'objects'}"


def _s(steps: Sequence[Step]) -> str:
    return "s" if len(steps) == 1 else ""


def _found(step: Step) -> str:
    if step.verb is Verb.CHANGE and step.observed is not None:
        return f"{subject_of(step.thing)} had {step.was}"
    inside = " in the workload" if scope_of(step.thing) is Scope.WORKLOAD else ""
    return f"{step.thing}{inside} was {'there' if step.verb is Verb.REMOVE else 'missing'}"


def _done(step: Step) -> str:
    match step.verb:
        case Verb.ADD:
            return "added"
        case Verb.REMOVE:
            return "removed"
        case Verb.CHANGE:
            return f"has {step.becomes} again"


def fight_events(key: AttachmentKey | None, before: Condition | None, after: Condition | None) -> Iterator[Event]:
    """That a fight began, or is over."""
    if after is not None and before is None:
        yield Event(EventKind.FIGHTING, key, after.message)
    if before is not None and after is None:
        yield Event(EventKind.FIGHT_OVER, key, "repairs are left alone again")


def detached(attachment: Attachment) -> Event:
    return Event(EventKind.DETACHED, attachment.key, f"{_addresses(attachment)}, free again")


def _addresses(attachment: Attachment) -> str:
    return " ".join(map(address_words, attachment.addresses)) or "no address"


def refused(key: AttachmentKey, source: str, why: Exception) -> Event:
    return Event(EventKind.REFUSED, key, f"{why} (asked for by {source})")
