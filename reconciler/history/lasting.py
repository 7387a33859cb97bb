"""PURE: how long what a pass finds had been so: since something told of it, else since the last look, which found it
right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

_K = TypeVar("_K")


@dataclass(frozen=True, slots=True)
class Lasted:
    """How long something had not been as desired; None where that is not known."""

    seconds: float | None = None
    at_most: bool = False

    @property
    def heard_s(self) -> float | None:
        """Since something told of it; None where nothing did."""
        return None if self.at_most else self.seconds


NOT_KNOWN = Lasted()


class Lasting(Generic[_K]):
    """Damage by key. `now` is any clock that does not go back."""

    def __init__(self) -> None:
        self._noticed_at: dict[_K, float] = {}
        self._right_at: dict[_K, float] = {}

    def noticed(self, key: _K, now: float) -> None:
        """Something told of damage, which the next look goes for."""
        self._noticed_at.setdefault(key, now)

    def looked(self, key: _K, now: float, *, right: bool) -> Lasted:
        """How long what this look found had been so; `right` says that all is as desired after it."""
        noticed_at, right_at = self._noticed_at.get(key), self._right_at.get(key)
        if right:
            self._noticed_at.pop(key, None)
            self._right_at[key] = now
        if noticed_at is not None:
            return Lasted(now - noticed_at)
        return Lasted(now - right_at, at_most=True) if right_at is not None else NOT_KNOWN

    def forget(self, key: _K) -> None:
        self._noticed_at.pop(key, None)
        self._right_at.pop(key, None)
