"""PURE: a program that undoes each repair at once is not met at its own pace.

The first repairs of an object go through at once, since damage may well strike twice. When the same object has to be
repaired again and again, each time right after the last, every further repair waits twice as long as the one before.
Once it is left alone for a moment all is forgotten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from netplumb.models.kernel import KernelObject, Link, Rule, Scope, Sysctl, kind_of, scope_of
from netplumb.models.nft import NftChain
from netplumb.reconciler.pacing.backoff import backoff_s

FREE_REPAIRS = 10
PAUSE_FIRST_S = 0.1
PAUSE_MOST_S = 30.0
QUIET_S = 1.0  # so long after it could have been repaired again, an object that was not is left alone

_K = TypeVar("_K")


@dataclass(frozen=True, slots=True)
class Fight:
    """The object that was repaired most often, how often in a row, and for how long its next repair waits."""

    subject: str
    repairs: int
    pause_s: float
    lasted_s: float

    def __str__(self) -> str:
        return (
            f"{self.subject} was repaired {self.repairs} times in a row, since another program keeps changing it; "
            f"the next repair waits {self.pause_s:.1f} s"
        )


@dataclass(slots=True)
class _Front:
    began_at: float
    repairs: Counter[str] = field(default_factory=Counter)
    last_at: float = 0.0
    pause_s: float = 0.0

    def ends_at(self) -> float:
        return self.last_at + self.pause_s + QUIET_S


class Fights(Generic[_K]):
    """One front a key. `now` is any clock that does not go back."""

    def __init__(self) -> None:
        self._fronts: dict[_K, _Front] = {}

    def repaired(self, key: _K, subjects: Iterable[str], now: float) -> None:
        """Counts one repair of these objects."""
        front = self._fronts.get(key)
        if front is None or now >= front.ends_at():
            front = self._fronts[key] = _Front(now)
        front.repairs.update(set(subjects))
        front.last_at = now
        front.pause_s = _pause_s(max(front.repairs.values(), default=0))

    def held_s(self, key: _K, now: float) -> float:
        """How long the next repair has to wait yet."""
        front = self._fronts.get(key)
        return max(0.0, front.last_at + front.pause_s - now) if front is not None else 0.0

    def fight(self, key: _K, now: float) -> Fight | None:
        """The fight that is on, if one is."""
        front = self._fronts.get(key)
        if front is None:
            return None
        if now >= front.ends_at():
            del self._fronts[key]
            return None
        if not front.pause_s:
            return None
        ((subject, repairs),) = front.repairs.most_common(1)
        return Fight(subject, repairs, front.pause_s, now - front.began_at)

    def fights(self, now: float) -> list[Fight]:
        return [fight for key in tuple(self._fronts) if (fight := self.fight(key, now)) is not None]

    def quiet_in_s(self, key: _K, now: float) -> float:
        """When the fight is over, if no repair is needed until then."""
        front = self._fronts.get(key)
        return max(0.0, front.ends_at() - now) if front is not None else 0.0

    def next_look_s(self, now: float) -> float | None:
        """When a repair need not wait any more, or a fight is over, whichever is first; None while there is none."""
        fought = [key for key in tuple(self._fronts) if self.fight(key, now) is not None]
        return min((self.held_s(key, now) or self.quiet_in_s(key, now) for key in fought), default=None)

    def forget(self, key: _K) -> None:
        self._fronts.pop(key, None)


def _pause_s(repairs: int) -> float:
    if repairs < FREE_REPAIRS:
        return 0.0
    return backoff_s(PAUSE_FIRST_S, PAUSE_MOST_S, repairs - FREE_REPAIRS)


def subject_of(thing: KernelObject) -> str:
    """An object by its name, without what may be changed of it."""
    match thing:
        case Link():
            words = f"link {thing.name}"
        case Sysctl():
            words = f"sysctl {thing.name.replace('/', '.')}"
        case Rule():
            words = thing.words
        case NftChain():
            words = f"nft chain inet netplumb {thing.name}"
        case _:
            words = str(thing)
    return f"{words} in the workload" if scope_of(thing) is Scope.WORKLOAD else words


def part_of(thing: KernelObject) -> str:
    """What of the node is repaired by itself: the whole nftables table, which is changed in one transaction, or one
    object."""
    return "table inet netplumb" if kind_of(thing).startswith("nft_") else subject_of(thing)
