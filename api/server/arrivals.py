"""How many connections of remote clients came to nothing. gRPC tells nobody who was not let in, nor why; so those are
counted that began, and no call came by.

What is said is a lower bound: a connection has its time before it counts, and one that nobody was counted for, such as
a probe that gRPC took no notice of, makes up for another.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from threading import Lock

PEERS_KEPT = 4096
"""Connections that calls came by, of which gRPC allows far fewer at a time."""


class Arrivals:
    """`within_s` is the time that a connection has for its first call. Times are of one clock that goes forward."""

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._lock = Lock()
        self._begun = 0
        self._accounted = 0
        self._told = 0
        self._peers: OrderedDict[str, None] = OrderedDict()
        self._marks: deque[tuple[float, int]] = deque()

    def began(self) -> None:
        """A handshake; called by gRPC's threads."""
        with self._lock:
            self._begun += 1

    def probed(self) -> None:
        """A connection of our own."""
        self._accounted += 1

    def called(self, peer: str) -> None:
        """A call by a connection, which is named by its other end."""
        if peer not in self._peers:
            self._accounted += 1
            if len(self._peers) >= PEERS_KEPT:
                self._peers.popitem(last=False)
        self._peers[peer] = None
        self._peers.move_to_end(peer)

    def fruitless(self, now: float) -> int:
        """How many more than were told of before. Asked every now and then."""
        with self._lock:
            self._marks.append((now, self._begun))
        begun = 0
        while self._marks and self._marks[0][0] <= now - self._within_s:
            begun = self._marks.popleft()[1]
        if (more := begun - self._accounted - self._told) <= 0:
            return 0
        self._told += more
        return more
