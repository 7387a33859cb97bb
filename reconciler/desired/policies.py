"""The network policies and namespaces that sources declare, durable; and which of them are in force.

Each source has a partition of its own. If two sources declare the same name, the first one's counts until it withdraws.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from netplumb.models.networkpolicy import Manifest, ManifestKey, Namespace, NetworkPolicy, PolicyKey
from netplumb.models.policyset import NO_POLICIES, PolicySet
from netplumb.reconciler.decide.policies.lost import Lost, less
from netplumb.reconciler.desired.store import Change, Records

Declared = dict[ManifestKey, dict[str, Manifest]]
"""What each source says of a key, whoever said it first before others."""

Waiting = tuple[tuple[str, ManifestKey, str], ...]
_Said = tuple[str, Manifest]
_Gone = tuple[str, ManifestKey]
"""A manifest, or the key of one, and by which source."""


class Policies:
    """`changed` is called when other policies are in force than before. The cost of a change depends on the change
    alone: what follows from all policies together is made when it is asked for."""

    def __init__(
        self, store: Records, stored: Declared, changed: Callable[[], None] = lambda: None, lost: Lost | None = None
    ) -> None:
        self._store = store
        self._declared = stored
        self._partitions: defaultdict[str, dict[ManifestKey, Manifest]] = defaultdict(dict)
        for key, by in stored.items():
            for source, it in by.items():
                self._partitions[source][key] = it
        self._changed = changed
        self._in_force: PolicySet | None = None
        self._waiting: Waiting | None = None
        self._waits_since: dict[tuple[str, ManifestKey], float] = {}
        self._note_waiting(stored)
        self.lost: Lost = lost or {}
        """Those that the kernel enforces and nobody has said since the store that knew them was lost."""

    @property
    def in_force(self) -> PolicySet:
        """The very same until others are."""
        if self._in_force is None:
            self._in_force = in_force(self._declared, self.lost)
        return self._in_force

    @property
    def waiting(self) -> Waiting:
        """What is declared and not in force: by which source, and whose word counts instead."""
        if self._waiting is None:
            self._waiting = tuple(_waiting(self._declared))
        return self._waiting

    def waits_since(self, source: str, key: ManifestKey) -> float:
        """From when on what the source says of it has been waiting, as far as this daemon knows."""
        return self._waits_since.get((source, key), 0.0)

    def _note_waiting(self, keys: Iterable[ManifestKey], gone: Iterable[_Gone] = ()) -> None:
        """Of these keys who waits, and who does no more."""
        now = time.time()
        for it in gone:
            self._waits_since.pop(it, None)
        for key in keys:
            holder, *waiting = self._declared.get(key) or ("",)
            self._waits_since.pop((holder, key), None)
            for source in waiting:
                self._waits_since.setdefault((source, key), now)

    def of(self, source: str) -> Mapping[ManifestKey, Manifest]:
        return dict(self._partitions.get(source, {}))

    @property
    def sources(self) -> frozenset[str]:
        return frozenset(self._partitions)

    def holder(self, key: ManifestKey) -> str:
        """Whose word on this key counts; empty where nobody says anything of it."""
        return next(iter(self._declared.get(key, ())), "")

    def replace(self, partitions: Mapping[str, Sequence[Manifest]]) -> None:
        """Replaces these sources' partitions, all or none. Raises StoreUnwritable; then nothing has changed."""
        self._change(*self._differences(partitions))

    def amend(self, source: str, manifests: Sequence[Manifest], dropped: Sequence[ManifestKey]) -> None:
        """Changes a partition by what comes and what goes. Lost policies that come are lost no more."""
        self._change(self._new(source, manifests), [(source, key) for key in dropped])

    def are_said(self, partitions: Mapping[str, Sequence[Manifest]]) -> bool:
        """Whether that is what these sources' partitions are."""
        return self._differences(partitions) == ([], [])

    def says(self, source: str, manifests: Sequence[Manifest], dropped: Sequence[ManifestKey]) -> bool:
        """Whether a partition holds these as they are, and none of what is to go."""
        return not self._new(source, manifests) and self._partitions.get(source, {}).keys().isdisjoint(dropped)

    def _differences(self, partitions: Mapping[str, Sequence[Manifest]]) -> tuple[list[_Said], list[_Gone]]:
        come = [it for source, said in partitions.items() for it in self._new(source, said)]
        return come, [(source, key) for source, said in partitions.items() for key in self._left_out(source, said)]

    def _new(self, source: str, manifests: Sequence[Manifest]) -> list[_Said]:
        before = self._partitions.get(source, {})
        return [(source, it) for it in manifests if before.get(it.key) != it]

    def _change(self, come: Sequence[_Said], gone: Sequence[_Gone]) -> None:
        if not come and not gone:
            return
        left = less(self.lost, (it.policy_key for _, it in come if isinstance(it, NetworkPolicy)))
        self._store.commit(Change(policies=come, policies_gone=gone, lost=left if left != self.lost else None))
        self.lost = left
        _put(self._declared, come, gone)
        for source, key in gone:
            self._partitions[source].pop(key, None)
        for source, it in come:
            self._partitions[source][it.key] = it
        self._note_waiting([*(key for _, key in gone), *(it.key for _, it in come)], gone)
        for source, _ in gone:
            if self._partitions.get(source) == {}:
                del self._partitions[source]
        self._settle()

    def let_go(self, keys: Collection[PolicyKey] | None = None) -> None:
        """Lost policies are not to come back: these, or all. Whom they alone isolate is open then."""
        left: Lost = {} if keys is None else less(self.lost, keys)
        if left != self.lost:
            self._store.commit(Change(lost=left))
            self.lost = left
            self._settle()

    def _settle(self) -> None:
        self._in_force = self._waiting = None
        self._changed()

    def rehearsed(self, partitions: Mapping[str, Sequence[Manifest]]) -> PolicySet:
        """What would be in force if these sources declared this."""
        declared = {key: dict(by) for key, by in self._declared.items()}
        for source, manifests in partitions.items():
            dropped = [(source, key) for key in self._left_out(source, manifests)]
            _put(declared, [(source, it) for it in manifests], dropped)
        said = (it.policy_key for manifests in partitions.values() for it in manifests if isinstance(it, NetworkPolicy))
        return in_force(declared, less(self.lost, said)) if declared != self._declared else self.in_force

    def _left_out(self, source: str, manifests: Sequence[Manifest]) -> list[ManifestKey]:
        """What the source declares now, and would not if it declared these."""
        keys = {it.key for it in manifests}
        return [key for key in self._partitions.get(source, ()) if key not in keys]


def _put(declared: Declared, come: Iterable[_Said], gone: Iterable[_Gone]) -> None:
    """What goes is first: what another source says from now on may be what counts."""
    for source, key in gone:
        if (by := declared.get(key)) is not None:
            by.pop(source, None)
            if not by:
                del declared[key]
    for source, it in come:
        declared.setdefault(it.key, {})[source] = it


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
