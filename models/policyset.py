"""The policies that are in force, and the namespaces that somebody declared, as one thing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from netplumb.models.networkpolicy import Direction, Namespace, NetworkPolicy, PolicyKey


@dataclass(frozen=True, slots=True, eq=False)
class PolicySet:
    """Compared by identity: another set is another one, whatever it holds. Policies are in the order of their keys.
    `held` are chains of the table that judge by policies which a lost store knew and nobody has said since."""

    policies: tuple[NetworkPolicy, ...] = ()
    namespaces: Mapping[str, Namespace] = field(default_factory=dict)
    held: frozenset[str] = frozenset()


DENIED_GROUP = 0x6E70
"""The NFLOG group in which denied packets are told ("np")."""

DENIED_BYTES = 128
"""How much of each: its headers, and what may stand before them in IPv6."""

NO_POLICIES = PolicySet()


@dataclass(frozen=True, slots=True)
class Combination:
    """Policies that select one workload for one direction, in the order of their keys."""

    direction: Direction
    policies: tuple[PolicyKey, ...]

    @property
    def chain(self) -> str:
        return f"{self.direction.lower()}_of_{digest(*map(str, self.policies))}"


def direction_of(chain: str) -> Direction | None:
    """That of the combination whose chain this is; None for other chains."""
    return next((it for it in Direction if chain.startswith(f"{it.lower()}_of_")), None)


def digest(*words: str) -> str:
    """The part of a name that follows from what the thing means."""
    return blake2b("\n".join(words).encode(), digest_size=10).hexdigest()
