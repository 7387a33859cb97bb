"""Interfaces of others on top of our links, such as a macvlan or a VLAN: what they take from the link arrives, for
every rule, by them and not by the link.

Those in the node's own namespace are known, from the last read of all links and the events since.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from netplumb.models.kernel import Link


@dataclass(frozen=True, slots=True)
class Upper:
    """`lower` is the index of the link that it is on."""

    lower: int
    name: str
    kind: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def upper_of(link: Link) -> Upper | None:
    """What the link is on top of, if anything of its own namespace. A veth names its other end in the same way."""
    if not link.peer_index or link.peer_nsid >= 0 or link.kind == "veth":
        return None
    return Upper(link.peer_index, link.name, link.kind or "interface")


class Uppers:
    """By their indexes."""

    def __init__(self) -> None:
        self._uppers: dict[int, Upper] = {}
        self.changes = 0
        """How often something was heard."""

    def get(self, index: int) -> Upper | None:
        return self._uppers.get(index)

    def on(self, lower: int) -> Sequence[Upper]:
        return [upper for _, upper in sorted(self._uppers.items()) if upper.lower == lower]

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(upper.name for upper in self._uppers.values()))

    def heard(self, changes: Mapping[int, Upper | None]) -> None:
        """Of each of these, what it is on top of now."""
        self.changes += bool(changes)
        for index, upper in changes.items():
            if upper is None:
                self._uppers.pop(index, None)
            else:
                self._uppers[index] = upper

    def seen(self, found: Mapping[int, Upper], *, began_at: int, whole: bool) -> set[int]:
        """Takes a read of them, which may lack some unless it is `whole`; returns the links that it says something else
        of. One that began before the last of these `changes` tells nothing."""
        if began_at != self.changes:
            return set()
        before, self._uppers = self._uppers, dict(found) if whole else {**self._uppers, **found}
        return _differing(before, self._uppers)


def _differing(before: Mapping[int, Upper], after: Mapping[int, Upper]) -> set[int]:
    on: list[dict[int, set[Upper]]] = [_by_lower(before.values()), _by_lower(after.values())]
    return {lower for lower in {*on[0], *on[1]} if on[0].get(lower) != on[1].get(lower)}


def _by_lower(uppers: Iterable[Upper]) -> dict[int, set[Upper]]:
    found: dict[int, set[Upper]] = defaultdict(set)
    for upper in uppers:
        found[upper.lower].add(upper)
    return found
