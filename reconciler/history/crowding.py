"""PURE: what becomes of those who hold too many flows, as events, and as the condition that lasts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netplumb.models.attachment import AttachmentKey
from netplumb.models.events import Event, EventKind
from netplumb.models.status import Condition
from netplumb.models.words import several
from netplumb.reconciler.decide.crowding import Holder, Shares
from netplumb.reconciler.decide.render.crowding import NEW_FLOWS_A_SECOND

FLOWS_CROWDED = "FlowsCrowded"
_NAMED = 3


def crowding_events(
    before: Mapping[Holder, int], after: Mapping[Holder, int], keys: Mapping[str, AttachmentKey], most: int
) -> Iterator[Event]:
    for it in sorted(after.keys() - before.keys(), key=_order):
        message = (
            f"{_which(it)} take too much of the {most} that the node has room for: of new ones only "
            f"{NEW_FLOWS_A_SECOND} a second pass, until they are fewer"
        )
        yield Event(EventKind.CROWDING, keys.get(it.link), message)
    for it in sorted(before.keys() - after.keys(), key=_order):
        yield Event(EventKind.CROWDING_OVER, keys.get(it.link), f"{_which(it)} are not too many any more")


def crowding_condition(
    found: Shares, over: Mapping[Holder, int], keys: Mapping[str, AttachmentKey]
) -> Iterator[Condition]:
    if not over and not found.is_nearly_full:
        return
    full = f"the kernel tracks {found.kept} of {found.most} flows"
    heal = f"where there should be so many, run: sysctl -w net.netfilter.nf_conntrack_max={found.most * 2}"
    if over:
        most_first = sorted(over, key=lambda it: -found.held[it])
        named = [
            f"{keys.get(it.link, it.link)} ({'from' if it.begins else 'to'} it {100 * found.held[it] // found.kept}%)"
            for it in most_first
        ]
        message = (
            f"{full}, too many of them of {several(named, _NAMED, ', ')}: of their new ones only {NEW_FLOWS_A_SECOND} "
            f"a second pass, so that there is room for others'; {heal}"
        )
        yield Condition(FLOWS_CROWDED, status=True, reason="HeldByFew", message=message)
    else:
        message = f"{full}, and no workload holds much more than others; when it is full new ones are dropped; {heal}"
        yield Condition(FLOWS_CROWDED, status=True, reason="HeldByMany", message=message)


def _which(it: Holder) -> str:
    return "flows that it begins" if it.begins else "flows that are begun to it from elsewhere"


def _order(it: Holder) -> tuple[str, bool]:
    return it.link, it.begins
