"""PURE: released addresses that are kept for their former holder for a while.

A kubelet that re-creates a pod's sandbox stops the old one first: in between the pod has no attachment, and should have
the same addresses afterwards. Times are those of a clock that goes on over a restart of the daemon, as the store does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from netplumb.models.attachment import AttachmentKey
from netplumb.models.base import IPAddress


class Reservation(NamedTuple):
    address: IPAddress
    key: AttachmentKey
    until: float


class Reservations:
    """In the order in which they were made. Those whose time is over count no more, and go with the next that is
    made."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._made: dict[IPAddress, Reservation] = {}
        self._of: dict[AttachmentKey, list[IPAddress]] = {}

    def proposed(self, key: AttachmentKey, addresses: Iterable[IPAddress], within_s: float) -> list[Reservation]:
        """What would keep these addresses for so long."""
        until = self._clock() + within_s
        return [Reservation(address, key, until) for address in addresses]

    def make(self, reservations: Iterable[Reservation]) -> None:
        self.end(self.over())
        for it in reservations:
            self.end([it.address])
            self._made[it.address] = it
            self._of.setdefault(it.key, []).append(it.address)

    def end(self, addresses: Iterable[IPAddress]) -> None:
        for address in addresses:
            if (ended := self._made.pop(address, None)) is not None:
                of_key = self._of[ended.key]
                of_key.remove(address)
                if not of_key:
                    del self._of[ended.key]

    def over(self) -> list[IPAddress]:
        """Whose time is over."""
        now = self._clock()
        return [it.address for it in self._made.values() if it.until <= now]

    def has(self, address: IPAddress) -> bool:
        return (it := self._made.get(address)) is not None and it.until > self._clock()

    def knows(self, address: IPAddress) -> bool:
        """Whether there is one, be its time over."""
        return address in self._made

    def of(self, key: AttachmentKey) -> list[IPAddress]:
        return [address for address in self._of.get(key, ()) if self.has(address)]

    def made(self) -> list[Reservation]:
        """All of them, also those whose time is over."""
        return list(self._made.values())

    def __iter__(self) -> Iterator[IPAddress]:
        return (address for address in self._made if self.has(address))
