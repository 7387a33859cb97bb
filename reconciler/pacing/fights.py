"""PURE: a program that undoes each repair at once is not met at its own pace.

The first repairs go through at once, since damage may well strike twice. Where one has to follow right after the other
again and again, every further one waits twice as long as the one before. Once a moment passes without, all is
forgotten. Repairs are counted by the key that they are made for, whatever was repaired: who comes with an object that
is new each time does not get around the pause. Which objects is kept for telling alone, and of some of them only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeVar

from netplumb.models.kernel import KernelObject, Link, Rule, Scope, Sysctl, scope_of
from netplumb.models.nft import NftChain
from netplumb.models.steps import Step, Verb
from netplumb.models.words import kind_of
from netplumb.reconciler.pacing.backoff import backoff_s

FREE_REPAIRS = 10
PAUSE_FIRST_S = 0.1
PAUSE_MOST_S = 30.0
QUIET_S = 1.0  # so long after it could have been repaired again, what was not is left alone
SUBJECTS_MOST = 16

_K = TypeVar("_K")


@dataclass(frozen=True, slots=True)
class Fight:
    """How many repairs there were in a row, for how long the next one waits, and of what there were most: the last one,
    where no object was repaired twice."""

    subject: str
    times: int
    repairs: int
    pause_s: float
    lasted_s: float

    def __str__(self) -> str:
        if self.times > 1:
            what = f"{self.subject} was repaired {self.times} times in a row, since another program keeps changing it"
        else:
            what = f"{self.repairs} repairs in a row were each of something else, and the last of {self.subject}"
        return f"{what}; the next repair waits {self.pause_s:.1f} s"


@dataclass(slots=True)
class _Front:
    began_at: float
    repairs: int = 0
    subjects: Counter[str] = field(default_factory=Counter)
    last_subject: str = ""
    last_at: float = 0.0

    @property
    def pause_s(self) -> float:
        return _pause_s(self.repairs)

    def count(self, subjects: Iterable[str], now: float) -> None:
        self.repairs += 1
        self.last_at = now
        for subject in dict.fromkeys(islice(subjects, SUBJECTS_MOST)):
            self.last_subject = subject
            if subject in self.subjects or self._has_room():
                self.subjects[subject] += 1

    def _has_room(self) -> bool:
        """Makes room in place of what came once; what came again is what is told of."""
        if len(self.subjects) >= SUBJECTS_MOST:
            rarest = min(self.subjects, key=self.subjects.__getitem__)
            if self.subjects[rarest] > 1:
                return False
            del self.subjects[rarest]
        return True

    def most_often(self) -> tuple[str, int]:
        ((subject, times),) = self.subjects.most_common(1)
        return (subject, times) if times > 1 else (self.last_subject, times)

    def ends_at(self) -> float:
        return self.last_at + self.pause_s + QUIET_S


class Fights(Generic[_K]):
    """One front a key. `now` is any clock that does not go back."""

    def __init__(self) -> None:
        self._fronts: dict[_K, _Front] = {}

    def repaired(self, key: _K, subjects: Iterable[str], now: float) -> None:
        """Counts one repair, of these objects."""
        front = self._fronts.get(key)
        if front is None or now >= front.ends_at():
            front = self._fronts[key] = _Front(now)
        front.count(subjects, now)

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
        return Fight(*front.most_often(), front.repairs, front.pause_s, now - front.began_at)

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


def part_of(step: Step) -> str:
    """What of the node is repaired by itself: the whole nftables table, which is changed in one transaction; one object
    that is desired; and of each kind all together that nobody wants, however many others make of them."""
    thing = step.thing
    if kind_of(thing).startswith("nft_"):
        return "table inet netplumb"
    return f"each {kind_of(thing)} that is not wanted" if step.verb is Verb.REMOVE else subject_of(thing)
