"""PURE: which keys a kernel event marks, by the hints that passes left.

Our own work causes some 18 events for each attachment; those of links, and of what the kernel derives, do not name
their sender. The listener's socket filter drops what is certainly an echo or a mere consequence. Of the rest, a link
event that shows the link as desired marks nothing. In the drain right after a pass only the last event of a link
counts, and a link that was down is taken for one that the pass brought up, unless it went down after it had come up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from netplumb.models.attachment import AttachmentKey
from netplumb.models.naming import is_our_name
from netplumb.reconciler.converge.hints import Hint, Hints, Place
from netplumb.reconciler.converge.uppers import Upper, upper_of
from netplumb.reconciler.kernel.namespaces import LO_INDEX
from netplumb.reconciler.kernel.rtnetlink.listener import NETCONF_ALL, NODE_NSID, Event, Subject

_TAKES_ALONG = frozenset({"mac", "mtu", "master", "arp"})
"""Fields of a link whose change, even for a moment, removes neighbours, addresses or routes without an event."""


@dataclass(slots=True)
class Heard:
    """What a batch of events marks. `gone` are the nsids of namespaces that no longer exist, `uppers` the interfaces of
    others that are now on top of ours, or no longer are."""

    keys: set[AttachmentKey]
    gone: set[int] = field(default_factory=set)
    uppers: dict[int, Upper | None] = field(default_factory=dict)
    node: bool = False
    network: bool = False
    lost: bool = False
    events: int = 0


def hear(events: Iterable[Event | None], hints: Hints, just_applied: Collection[AttachmentKey] = ()) -> Heard:
    """Marks from events. `just_applied` are the keys whose passes ended right before these events were drained."""
    heard = Heard(set())
    last_link: dict[Place, Event] = {}
    switches: dict[Place, dict[str, bool]] = defaultdict(dict)
    node_wide_off: set[str] = set()
    for event in events:
        if event is None:
            heard.lost = True
            continue
        heard.events += 1
        if event.nsid == NODE_NSID and hints.ways is not None:
            hints.ways(event)
        if event.nsid == NODE_NSID and _marks_node(event):
            heard.node = True
        if event.subject is Subject.RULE:
            heard.network |= event.nsid == NODE_NSID
            if event.nsid != NODE_NSID and event.deleted and event.is_our_rule():
                _mark_namespace(event.nsid, hints, heard)
            continue
        if event.subject is Subject.NSID:
            heard.keys.update(hints.in_namespace(event.index))
            heard.gone.add(event.index)
            continue
        place = (event.nsid, event.index)
        key = hints.at(place)
        if key is None:
            hints.told_of_nobody(*place)
        if event.nsid == NODE_NSID and key is None and _marks_node_by_foreign_link(event):
            heard.node = True
        if event.nsid == NODE_NSID and key is None and _concerns_network(event):
            heard.network = True
            if event.subject is Subject.LINK:
                _hear_upper(event, hints, heard)
        if event.subject is Subject.ROUTE and key is None:
            _hear_foreign_route(event, hints, heard)
        elif event.subject is Subject.LINK:
            _hear_link(event, place, key, hints, heard, last_link, just_applied)
            switches.pop(place, None)  # a link's event shows all of its switches
        elif event.subject is Subject.NETCONF:
            if event.nsid == NODE_NSID and event.index == NETCONF_ALL:
                node_wide_off |= {name for name, switch in event.switches().items() if not switch}
            elif event.nsid == NODE_NSID and key is not None:
                switches[place] |= event.switches()  # the last one tells: a pass may have switched it on since
        elif key is not None and (_marks(event) or _may_have_ipv6_again(event, key, hints)):
            heard.keys.add(key)
    for place, event in last_link.items():
        key = hints.at(place)
        if key is not None and (not event.up or _wrong(event, hints.get(key), place)):
            heard.keys.add(key)
    for place, found in switches.items():
        # What went with the node's own switch comes back with its repair.
        off = {name for name, switch in found.items() if not switch} - node_wide_off
        key = hints.at(place)
        if key is not None and _are_desired(hints.get(key), off):
            heard.keys.add(key)
    return heard


def _mark_namespace(nsid: int, hints: Hints, heard: Heard) -> None:
    """All that is there, known or not."""
    heard.keys.update(hints.in_namespace(nsid))
    hints.told_of_nobody(nsid)


def _are_desired(hint: Hint | None, switches: Iterable[str]) -> bool:
    return hint is not None and any(getattr(hint.node, name) for name in switches)


def _concerns_network(event: Event) -> bool:
    """Whether the node's network beside what is ours may have changed: what others have, and the ways out."""
    if event.subject is Subject.LINK:
        return not is_our_name(event.name())
    return event.subject in (Subject.ADDRESS, Subject.ROUTE, Subject.NEXT_HOP)


def _marks_node_by_foreign_link(event: Event) -> bool:
    """Whether a link that is not ours came with what concerns the node: that it listens to router advertisements, or
    forwards nothing. One that others switch over tells of its forwarding alone; a new one, of all its switches."""
    if event.subject is Subject.NETCONF:
        return event.tells_of_forwarding_alone()
    if event.subject is not Subject.LINK or event.deleted or event.index == LO_INDEX or is_our_name(event.name()):
        return False
    link = event.link()
    return link.accept_ra == 1 or (event.up and not link.forwarding_v4)


def _marks_node(event: Event) -> bool:
    """Whether node-wide objects may be damaged: what is on the loopback, the forwarding switches, and rules."""
    if event.subject is Subject.RULE:
        return True
    if event.subject is Subject.NETCONF:
        return event.index <= 0  # NETCONFA_IFINDEX_ALL and _DEFAULT
    if event.index != LO_INDEX or event.subject not in (Subject.LINK, Subject.ADDRESS):
        return False
    return event.subject is Subject.ADDRESS or event.deleted or not event.by_kernel or not event.up


def _marks(event: Event) -> bool:
    """What the kernel does by itself follows from a change that has its own event, but for an address that it takes
    away, as it does where IPv6 is switched off."""
    return not event.by_kernel or (event.deleted and event.subject is Subject.ADDRESS)


def _may_have_ipv6_again(event: Event, key: AttachmentKey, hints: Hints) -> bool:
    """Nothing tells that IPv6 was switched on but the link-local address that the kernel then sets."""
    return event.subject is Subject.ADDRESS and event.by_kernel and hints.lacks_ipv6(key)


def _hear_upper(event: Event, hints: Hints, heard: Heard) -> None:
    """An interface of others that is on top of one of ours takes what the guards should see."""
    before = heard.uppers.get(event.index, hints.uppers.get(event.index))
    after = None if event.deleted else upper_of(event.link())
    if after is not None and hints.at((NODE_NSID, after.lower)) is None:
        after = None
    if after == before:
        return
    heard.uppers[event.index] = after
    heard.node = True
    for upper in (before, after):
        if upper is not None and (key := hints.at((NODE_NSID, upper.lower))) is not None:
            heard.keys.add(key)


def _hear_foreign_route(event: Event, hints: Hints, heard: Heard) -> None:
    """A route over another interface may have replaced ours, which no event of its own tells."""
    if event.by_kernel:
        return
    if event.nsid != NODE_NSID:
        if event.replaced or not event.index:
            _mark_namespace(event.nsid, hints, heard)
    elif (dst := event.destination()) is not None and (key := hints.holder(dst)) is not None:
        heard.keys.add(key)


def _hear_link(
    event: Event,
    place: Place,
    key: AttachmentKey | None,
    hints: Hints,
    heard: Heard,
    last_link: dict[Place, Event],
    just_applied: Collection[AttachmentKey],
) -> None:
    if key is None:
        if event.index == LO_INDEX and event.nsid != NODE_NSID and not event.up:
            _mark_namespace(event.nsid, hints, heard)
        return
    before = last_link.get(place)
    went_down = not event.up and (key not in just_applied or (before is not None and before.up))
    may_tell_more = key not in heard.keys and key not in just_applied
    took_along = may_tell_more and _TAKES_ALONG & _wrong(event, hints.get(key), place)
    if event.deleted or went_down or took_along:
        heard.keys.add(key)
    last_link[place] = event


def _wrong(event: Event, hint: Hint | None, place: Place) -> set[str]:
    """What of a link is not as desired."""
    desired = hint.desired_at(place) if hint is not None else None
    return set(desired.differences(event.link())) if desired is not None else set()
