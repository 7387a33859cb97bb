"""PURE: by which ways workloads leave the node, and which sources they had there stay behind when others are taken."""

from __future__ import annotations

from dataclasses import dataclass

from netplumb.models.base import IPAddress
from netplumb.models.nodenetwork import NodeNetwork


@dataclass(frozen=True, slots=True)
class Leaving:
    """The ways by which workloads left last, with the sources that routes said there. What a family had stands until it
    has another: for as long as there is none, nothing leaves otherwise."""

    best: frozenset[tuple[str, int]] = frozenset()
    said: frozenset[tuple[IPAddress, str]] = frozenset()

    def then(self, now: NodeNetwork) -> Leaving:
        having = {version for _, version in now.best}
        said = {(it.ip, it.link) for it in now.sources if it.ip is not None and (it.link, it.ip.version) in now.best}
        return Leaving(
            now.best | {it for it in self.best if it[1] not in having},
            frozenset(said | {it for it in self.said if it[0].version not in having}),
        )

    def left_by(self, now: NodeNetwork) -> frozenset[bytes]:
        """The kernel ends only what masquerading itself gave an address, where that leaves by another interface."""
        return frozenset(ip.packed for ip, _ in self.said - self.then(now).said)
