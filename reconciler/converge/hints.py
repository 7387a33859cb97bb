"""Where an attachment's links were last seen, as the pass that read them reports.

Hints may be stale or missing without harm: what they mark is read anew, and a resync reads all. A pass in a thread
leaves its hint only when it has ended, and may have missed what events said of the place until then. So the places for
which events came that belong to no attachment are remembered.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass

from netplumb.models.attachment import AttachmentKey
from netplumb.models.kernel import Link
from netplumb.reconciler.converge.uppers import Uppers
from netplumb.reconciler.kernel.rtnetlink.listener import NODE_NSID, Event

_BYTES_OF_IPV6 = 16
Place = tuple[int, int]
"""A namespace id, as the node numbers it, and an interface index in it."""
_ANYWHERE = 0
"""In the place of an index: it may have been any."""


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
        self._of_nobody: set[Place] = set()
        self.uppers = Uppers()
        self.proxied: set[int] = set()
        """The interfaces on the node that should have a proxy neighbour."""
        self.ways: Callable[[Event], None] | None = None
        """Told each event of the node where there are ways to other nodes."""

    def get(self, key: AttachmentKey) -> Hint | None:
        return self._hints.get(key)

    def learn(self, key: AttachmentKey, hint: Hint, addresses: tuple[bytes, ...]) -> bool:
        """Whether one of its places was told of while it was nobody's."""
        before = self._hints.get(key)
        if before == hint and self._addresses.get(key) == addresses:
            return False
        new = {*hint.places, (hint.nsid, _ANYWHERE)}.difference(before.places if before is not None else ())
        self.forget(key)
        self._hints[key] = hint
        for place in hint.places:
            self._at[place] = key
        self._in_namespace[hint.nsid].add(key)
        if hint.node.proxy_ndp:
            self.proxied.add(hint.index)
        self._addresses[key] = addresses
        self._holders.update(dict.fromkeys(addresses, key))
        return not self._of_nobody.isdisjoint(new)

    def told_of_nobody(self, nsid: int, index: int = _ANYWHERE) -> None:
        """Something was told of a place that nobody is known to have."""
        self._of_nobody.add((nsid, index))

    def no_pass_is_under_way(self) -> None:
        """None in a thread that could leave a hint of what was told of by now. One on the event loop, such as that over
        a workload that is attached again in the same namespace, misses nothing."""
        self._of_nobody.clear()

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

    def lacks_ipv6(self, key: AttachmentKey) -> bool:
        """Whether it has IPv6 addresses that were not rendered, since IPv6 was off somewhere."""
        hint, addresses = self._hints.get(key), self._addresses.get(key, ())
        return hint is not None and not hint.node.proxy_ndp and any(len(it) == _BYTES_OF_IPV6 for it in addresses)

    def node_links(self) -> dict[int, AttachmentKey]:
        """Whose the links on the node are, by index."""
        return {hint.index: key for key, hint in self._hints.items()}

    def in_namespace(self, nsid: int) -> Collection[AttachmentKey]:
        return self._in_namespace.get(nsid, ())

    def holder(self, address: bytes) -> AttachmentKey | None:
        return self._holders.get(address)
