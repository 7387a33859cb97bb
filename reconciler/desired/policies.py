"""The network policies and namespaces that sources declare, durable; and which of them are in force.

Each source has a partition of its own. What two declare under one name is the first one's until that lets it go.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from netplumb.models.networkpolicy import Manifest, ManifestKey, Namespace, NetworkPolicy, PolicyKey
from netplumb.models.policyset import NO_POLICIES, PolicySet
from netplumb.reconciler.decide.policies.lost import Lost, less
from netplumb.reconciler.desired.store import Change, Records

Declared = dict[ManifestKey, dict[str, Manifest]]
"""What each source says of a key, whoever said it first before others."""


class Policies:
    """`changed` is called when others are in force than before."""

    def __init__(
        self, store: Records, stored: Declared, changed: Callable[[], None] = lambda: None, lost: Lost | None = None
    ) -> None:
        self._store = store
        self._declared = stored
        self._changed = changed
        self.lost: Lost = lost or {}
        """Those that the kernel enforces and nobody has said since the store that knew them was lost."""
        self._take()

    def _take(self) -> None:
        """What follows from what is declared, which is asked for more often than it changes."""
        self.in_force = in_force(self._declared, self.lost)
        self.waiting = tuple(_waiting(self._declared))
        """What is declared and not in force: by which source, and whose word counts instead."""

    def of(self, source: str) -> Mapping[ManifestKey, Manifest]:
        return {key: by[source] for key, by in self._declared.items() if source in by}

    @property
    def sources(self) -> frozenset[str]:
        return frozenset(source for by in self._declared.values() for source in by)

    def holder(self, key: ManifestKey) -> str:
        """Whose word on this key counts; empty where nobody says anything of it."""
        return next(iter(self._declared.get(key, ())), "")

    def replace(self, source: str, manifests: Sequence[Manifest]) -> None:
        """Replaces a partition. Raises StoreUnwritable; then nothing has changed."""
        self.amend(source, manifests, self._left_out(source, manifests))

    def amend(self, source: str, manifests: Sequence[Manifest], dropped: Sequence[ManifestKey]) -> None:
        """Changes a partition by what comes and what goes. Lost policies that come are lost no more."""
        before = self.of(source)
        new = [it for it in manifests if before.get(it.key) != it]
        if not new and not dropped:
            return
        left = less(self.lost, (it.policy_key for it in new if isinstance(it, NetworkPolicy)))
        self._store.commit(
            Change(
                policies=[(source, it) for it in new],
                policies_gone=[(source, key) for key in dropped],
                lost=left if left != self.lost else None,
            )
        )
        self._declared, self.lost = after(self._declared, source, new, dropped), left
        self._settle()

    def let_go(self, keys: Collection[PolicyKey] | None = None) -> None:
        """Lost policies are not to come back: these, or all. Whom they alone isolate is open then."""
        left: Lost = {} if keys is None else less(self.lost, keys)
        if left != self.lost:
            self._store.commit(Change(lost=left))
            self.lost = left
            self._settle()

    def _settle(self) -> None:
        self._take()
        self._changed()

    def rehearsed(self, partitions: Mapping[str, Sequence[Manifest]]) -> PolicySet:
        """What would be in force if these sources declared this."""
        declared = self._declared
        for source, manifests in partitions.items():
            declared = after(declared, source, manifests, self._left_out(source, manifests))
        said = (it.policy_key for manifests in partitions.values() for it in manifests if isinstance(it, NetworkPolicy))
        return in_force(declared, less(self.lost, said)) if declared != self._declared else self.in_force

    def _left_out(self, source: str, manifests: Sequence[Manifest]) -> list[ManifestKey]:
        """What the source declares now, and would not if it declared these."""
        keys = {it.key for it in manifests}
        return [key for key in self.of(source) if key not in keys]


def after(declared: Declared, source: str, manifests: Sequence[Manifest], dropped: Sequence[ManifestKey]) -> Declared:
    made = {key: dict(by) for key, by in declared.items()}
    for key in dropped:
        made.get(key, {}).pop(source, None)
    for it in manifests:
        made.setdefault(it.key, {})[source] = it
    return {key: by for key, by in made.items() if by}


def _waiting(declared: Declared) -> Iterator[tuple[str, ManifestKey, str]]:
    for key, by in declared.items():
        first, *others = by
        yield from ((source, key, first) for source in others)


def in_force(declared: Declared, lost: Lost) -> PolicySet:
    counting = [next(iter(by.values())) for _, by in sorted(declared.items())]
    if not counting and not lost:
        return NO_POLICIES
    policies = tuple(it for it in counting if isinstance(it, NetworkPolicy))
    namespaces = {it.metadata.name: it for it in counting if isinstance(it, Namespace)}
    return PolicySet(policies, namespaces, frozenset(lost))
