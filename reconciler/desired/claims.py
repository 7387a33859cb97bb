"""What state files declare. Each file is a source, and its claims are what it last declared without a mistake. A claim
is met, or waits for a key, an address or a port that another holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TypeVar

from netplumb.models.attachment import AttachmentKey, AttachmentSpec
from netplumb.models.errors import NetplumbError
from netplumb.reconciler.desired.store import Change, Records

_Wishes = dict[AttachmentKey, AttachmentSpec]
_T = TypeVar("_T")


class Claims:
    """Claims are durable; the reasons why they wait are not, and are found out anew. `changed` is called with the
    source and the key of a claim that begins to wait, waits for another reason, or no longer waits."""

    def __init__(
        self, store: Records, stored: dict[str, _Wishes], changed: Callable[[str, AttachmentKey], None]
    ) -> None:
        self._store = store
        self._of = stored
        self._claimants = Counter(key for wishes in stored.values() for key in wishes)
        self._places = Counter(spec.netns.where for wishes in stored.values() for spec in wishes.values())
        self._changed = changed
        self._causes: dict[tuple[str, AttachmentKey], NetplumbError] = {}

    @property
    def sources(self) -> Collection[str]:
        return tuple(self._of)

    def copied(self) -> dict[str, _Wishes]:
        return {source: dict(claims) for source, claims in self._of.items()}

    def of(self, source: str) -> Mapping[AttachmentKey, AttachmentSpec]:
        return self._of.get(source, {})

    def of_others(self, source: str, key: AttachmentKey) -> Iterator[tuple[str, AttachmentSpec]]:
        """The claims on a key, but for that of one source."""
        if self._claimants[key] <= (key in self.of(source)):
            return  # as of most keys, and there may be thousands of files
        for other, claims in self._of.items():
            if other != source and (spec := claims.get(key)) is not None:
                yield other, spec

    def replace(self, source: str, claims: _Wishes) -> None:
        """Raises StoreUnwritable; then nothing has changed."""
        self._store.commit(Change(claims={source: claims}))
        self._claimed_no_more(self.of(source).values())
        self._claimants.update(claims.keys())
        self._places.update(spec.netns.where for spec in claims.values())
        if claims:
            self._of[source] = claims
        else:
            self._of.pop(source, None)

    def give_up(self, source: str, key: AttachmentKey) -> None:
        """It is not to be met any more; `replace` makes that durable."""
        self.met(source, key)
        if (spec := self._of.get(source, {}).pop(key, None)) is not None:
            self._claimed_no_more((spec,))

    def _claimed_no_more(self, specs: Iterable[AttachmentSpec]) -> None:
        for spec in specs:
            _less(self._claimants, spec.key)
            _less(self._places, spec.netns.where)

    def mean(self, where: str) -> bool:
        """Whether one of them is about the namespace at this path."""
        return where in self._places

    def wait(self, source: str, key: AttachmentKey, cause: NetplumbError) -> None:
        self._causes[source, key] = cause
        self._changed(source, key)

    def met(self, source: str, key: AttachmentKey) -> None:
        """It waits no more."""
        if self._causes.pop((source, key), None) is not None:
            self._changed(source, key)

    def waiting(self) -> Iterator[tuple[str, AttachmentSpec, NetplumbError]]:
        """Each that waits, and why."""
        for source, key in self._causes:
            if (found := self.found_waiting(source, key)) is not None:
                yield source, *found

    def found_waiting(self, source: str, key: AttachmentKey) -> tuple[AttachmentSpec, NetplumbError] | None:
        """What a file wishes and cannot have now, and why; None where it does not wait."""
        spec, cause = self.of(source).get(key), self._causes.get((source, key))
        return (spec, cause) if spec is not None and cause is not None else None


def _less(counted: Counter[_T], it: _T) -> None:
    counted[it] -= 1
    if not counted[it]:
        del counted[it]
