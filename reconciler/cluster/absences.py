"""PURE: for how long nodes have been away, as this node has seen it with its own eyes.

By no clock but the one that only goes forward, and not over a restart or a time in which etcd was not followed: what
follows from it is that a node loses its prefixes.
"""

from __future__ import annotations

from collections.abc import Collection


class Absences:
    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def saw(self, away: Collection[str], now: float) -> None:
        """These nodes are away now, and no others."""
        self._since = {node: self._since.get(node, now) for node in away}

    def saw_nothing(self) -> None:
        """Who is there is not known."""
        self._since.clear()

    def for_longer_than(self, seconds: float, now: float) -> list[str]:
        """The nodes, the longest first."""
        long = [(since, node) for node, since in self._since.items() if now - since > seconds]
        return [node for _, node in sorted(long)]
