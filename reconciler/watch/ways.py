"""PURE: which ways to other nodes a kernel event marks, by what they were last seen to consist of.

A route, a neighbour or an entry of the device marks the peer that it leads to; a link that ways go by marks all of
them, since what the kernel takes away with a link it mostly does not tell. Our own requests are not told of again, but
for entries of the device, which the kernel tells as its own: these mark a peer once more, whose next pass changes none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from netplumb.models.kernel import FdbEntry, Link, Neighbour, Route
from netplumb.reconciler.decide.ways import Way
from netplumb.reconciler.kernel.rtnetlink.listener import Event, Subject


@dataclass(frozen=True, slots=True)
class Marks:
    """The peers that are to be looked at, or all ways. With `shaken`, a link of others', the kernel may have taken
    routes away itself."""

    peers: frozenset[str] = frozenset()
    all: bool = False
    shaken: str = ""

    def __bool__(self) -> bool:
        return self.all or bool(self.peers)


NONE = Marks()
ALL = Marks(all=True)


class WayHints:
    """`device` is the name that ours should have."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._links: dict[int, str] = {}
        self._down: set[int] = set()
        self._device_link: Link | None = None
        self._peers: dict[object, str] = {}
        self._unknown: set[object] | None = None
        """What events told of while a pass is under way, and no pass has learnt yet."""

    def passing(self) -> None:
        """A pass begins, after which is known what it made or found. What events tell of until then it may have read
        before that changed."""
        self._unknown = set()

    def passed(self) -> Marks:
        """What was told of meanwhile and is known by now."""
        unknown, self._unknown = self._unknown or set(), None
        if not unknown.isdisjoint(self._links):
            return ALL
        return Marks(frozenset(self._peers[it] for it in unknown if it in self._peers))

    def learn_links(self, indexes: Mapping[str, int], base: Way) -> None:
        self._links = {index: name for name, index in indexes.items()}
        self._down &= self._links.keys()
        self._device_link = next((it for it in base.things if isinstance(it, Link)), None)

    def learn(self, peer: str, before: Way, now: Way) -> None:
        for what in _places(before):
            if self._peers.get(what) == peer:
                del self._peers[what]
        self._peers.update(dict.fromkeys(_places(now), peer))

    def heard(self, event: Event) -> Marks:
        if self._unknown is not None and event.subject is not Subject.ROUTE and event.index not in self._links:
            self._unknown.add(event.index)
        match event.subject:
            case Subject.LINK:
                return self._heard_link(event)
            case Subject.ROUTE if (dst := event.prefix()) is not None:
                return self._of(dst)
            case Subject.NEIGHBOUR if self._links.get(event.index) == self._device:
                return self._of(event.neighbour()) or ALL
            case Subject.ADDRESS if event.deleted and event.index in self._links:
                return self._shaken(event.index)  # with the last one of IPv4 go all routes by that link
            case Subject.NETCONF if self._links.get(event.index) == self._device:
                return ALL
            case _:
                return NONE

    def _shaken(self, index: int) -> Marks:
        name = self._links[index]
        return Marks(all=True, shaken="" if name == self._device else name)

    def _of(self, what: object) -> Marks:
        peer = self._peers.get(what)
        if peer is None and self._unknown is not None:
            self._unknown.add(what)
        return Marks(frozenset((peer,))) if peer is not None else NONE

    def _heard_link(self, event: Event) -> Marks:
        if event.index not in self._links:
            # One of the device's name is in its way, or is it under another index.
            return ALL if self._device_link is not None and event.name() == self._device else NONE
        was_down, goes = event.index in self._down, event.deleted or not event.up
        (self._down.add if goes else self._down.discard)(event.index)
        if goes or was_down:
            return self._shaken(event.index)
        if self._links[event.index] == self._device and self._device_link is not None:
            return ALL if self._device_link.differences(event.link()) else NONE
        return NONE


def _places(way: Way) -> Iterable[object]:
    """What events tell of a peer's objects."""
    for thing in way.things:
        match thing:
            case Route():
                yield thing.dst, thing.prefix_len
            case Neighbour():
                yield thing.ip
            case FdbEntry():
                yield thing.mac
