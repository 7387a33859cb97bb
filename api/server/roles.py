"""PURE: what a remote client may do, by the names in its certificate. What is not known to read alone, writes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

READING = frozenset(
    (
        *("Check", "CheckAll", "Describe", "Events", "Get", "List", "Plan", "Status", "Traffic", "Watch"),
        *("Policies", "ExplainPolicy", "DiffPolicies"),
    )
)


@dataclass(frozen=True, slots=True)
class Roles:
    """Names of certificates: of those that may read, and of those that may do all."""

    read: frozenset[str] = frozenset()
    all: frozenset[str] = frozenset()

    def refusal(self, names: Collection[str], method: str, *, dry_run: bool = False) -> str:
        """Why one with these names may not call this, empty if it may. A dry run changes nothing."""
        if not self.all.isdisjoint(names):
            return ""
        who = f"the certificate of {' or '.join(sorted(names)) or 'nobody'}"
        if self.read.isdisjoint(names):
            return f"{who} has no role here; the daemon's settings remote_read and remote_all name those that have"
        if method in READING or dry_run:
            return ""
        return f"{who} may read alone, and {method} writes; the daemon's setting remote_all names those that may"
