"""PURE: which keys a kernel event marks. Hints tell where an attachment's links were last seen; they may be stale or
missing without harm, since what they mark is read anew and a resync reads all.

Our own work causes some 18 events an attachment; those of links and of what the kernel derives carry no sender.
The listener's socket filter drops what is surely an echo or a mere consequence. Of the rest, a link event that shows
the link as it is desired marks nothing; and in the drain that follows a pass at once, a link that was down is taken for
one that the pass brought up, unless it went down after it had come up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from models.attachment import AttachmentKey
from models.kernel import Link
from reconciler.kernel.listener import NODE_NSID, Event, Subject
from reconciler.kernel.namespaces import LO_INDEX

Place = tuple[int, int]
"""A namespace id, as the node numbers it, and an interface index in it."""


@dataclass(frozen=True, slots=True)
class Hint:
    """Where an attachment's two ends, and its ifb if it has one, were, and how they should look."""

    node: Link
    workload: Link | None
    index: int
    peer_index: int
    nsid: int
    ifb: Link | None = None
    ifb_index: int = 0

    @property
    def node_indexes(self) -> tuple[int, ...]:
        return (self.index, self.ifb_index) if self.ifb_index else (self.index,)

    @property
    def places(self) -> tuple[Place, ...]:
        ends = ((NODE_NSID, self.index), (self.nsid, self.peer_index))
        return (*ends, (NODE_NSID, self.ifb_index)) if self.ifb_index else ends

    def desired_at(self, place: Place) -> Link | None:
        if place == (NODE_NSID, self.ifb_index):
            return self.ifb
        return self.node if place == (NODE_NSID, self.index) else self.workload


class Hints:
    """Places and host addresses by attachment, both ways."""

    def __init__(self) -> None:
        self._hints: dict[AttachmentKey, Hint] = {}
        self._at: dict[Place, AttachmentKey] = {}
        self._in_namespace: dict[int, set[AttachmentKey]] = defaultdict(set)
        self._holders: dict[bytes, AttachmentKey] = {}
        self._addresses: dict[AttachmentKey, tuple[bytes, ...]] = {}
        self.proxied: set[int] = set()
        """The interfaces on the node that should have a proxy neighbour."""

    def get(self, key: AttachmentKey) -> Hint | None:
        return self._hints.get(key)

    def learn(self, key: AttachmentKey, hint: Hint, addresses: tuple[bytes, ...]) -> None:
        if self._hints.get(key) == hint and self._addresses.get(key) == addresses:
            return
        self.forget(key)
        self._hints[key] = hint
        for place in hint.places:
            self._at[place] = key
        self._in_namespace[hint.nsid].add(key)
        if hint.node.proxy_ndp:
            self.proxied.add(hint.index)
        self._addresses[key] = addresses
        self._holders.update(dict.fromkeys(addresses, key))

    def forget(self, key: AttachmentKey) -> None:
        if (hint := self._hints.pop(key, None)) is None:
            return
        for place in hint.places:
            if self._at.get(place) == key:
                del self._at[place]
                if place[0] == NODE_NSID:
                    self.proxied.discard(hint.index)
        self._in_namespace[hint.nsid].discard(key)
        if not self._in_namespace[hint.nsid]:
            del self._in_namespace[hint.nsid]
        for address in self._addresses.pop(key, ()):
            if self._holders.get(address) == key:
                del self._holders[address]

    def at(self, place: Place) -> AttachmentKey | None:
        return self._at.get(place)

    def in_namespace(self, nsid: int) -> Collection[AttachmentKey]:
        return self._in_namespace.get(nsid, ())

    def holder(self, address: bytes) -> AttachmentKey | None:
        return self._holders.get(address)


@dataclass(slots=True)
class Heard:
    """What a batch of events marks."""

    keys: set[AttachmentKey]
    node: bool = False
    lost: bool = False
    events: int = 0


def hear(events: Iterable[Event | None], hints: Hints, just_applied: Collection[AttachmentKey] = ()) -> Heard:
    """Marks from events. `just_applied` are the keys whose passes ended right before these events were drained."""
    heard = Heard(set())
    last_link: dict[Place, Event] = {}
    proxy_ndp: dict[AttachmentKey, bool] = {}
    for event in events:
        if event is None:
            heard.lost = True
            continue
        heard.events += 1
        if event.nsid == NODE_NSID and _marks_node(event):
            heard.node = True
        if event.subject is Subject.NSID:
            heard.keys.update(hints.in_namespace(event.index))
            continue
        place = (event.nsid, event.index)
        key = hints.at(place)
        if event.subject is Subject.ROUTE and key is None:
            _hear_foreign_route(event, hints, heard)
        elif event.subject is Subject.LINK:
            _hear_link(event, place, key, hints, heard, last_link, just_applied)
        elif event.subject is Subject.NETCONF:
            if key is not None and event.nsid == NODE_NSID and (switch := event.proxy_ndp()) is not None:
                proxy_ndp[key] = switch  # the last one tells: a new link has it off until its pass switches it on
        elif key is not None and _marks(event):
            heard.keys.add(key)
    for place, event in last_link.items():
        key = hints.at(place)
        if key is None or (hint := hints.get(key)) is None:
            continue
        desired = hint.desired_at(place)
        if not event.up or (desired is not None and desired.differences(event.link())):
            heard.keys.add(key)
    heard.keys.update(key for key, switch in proxy_ndp.items() if not switch)
    return heard


def _marks_node(event: Event) -> bool:
    """Whether node-wide objects may be damaged: what is on the loopback, and the forwarding switches."""
    if event.subject is Subject.NETCONF:
        return event.index <= 0  # NETCONFA_IFINDEX_ALL and _DEFAULT
    if event.index != LO_INDEX or event.subject not in (Subject.LINK, Subject.ADDRESS):
        return False
    return event.deleted or not event.by_kernel or (event.subject is Subject.LINK and not event.up)


def _marks(event: Event) -> bool:
    """What the kernel does by itself follows from a change that has its own event, but for an address that it takes
    away, as it does where IPv6 is switched off."""
    return not event.by_kernel or (event.deleted and event.subject is Subject.ADDRESS)


def _hear_foreign_route(event: Event, hints: Hints, heard: Heard) -> None:
    """A route over another interface may have replaced ours, which no event of its own tells."""
    if event.by_kernel:
        return
    if event.nsid != NODE_NSID:
        if event.replaced or not event.index:
            heard.keys.update(hints.in_namespace(event.nsid))
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
            heard.keys.update(hints.in_namespace(event.nsid))
        return
    before = last_link.get(place)
    went_down = not event.up and (key not in just_applied or (before is not None and before.up))
    if event.deleted or went_down:
        heard.keys.add(key)
    last_link[place] = event
