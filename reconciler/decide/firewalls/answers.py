"""Whether a condition holds for a kind of traffic: the answers, and how they are put together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple

Range = tuple[int, int]
"""Both ends included."""


class Answer(IntEnum):
    """In the order in which one spoils another: of several conditions the least holds, of alternatives the most."""

    NO = 0
    FOREIGN = 1
    """For some of those that ours talk to, by address or interface: a matter of theirs, unless ours are named too."""
    UNKNOWN = 2
    """It cannot be judged."""
    PART = 3
    """For some ports out of any."""
    SOME = 4
    """For some of ours for certain: a workload, a mapped port, one of several uplinks."""
    YES = 5


class Match(NamedTuple):
    """`ours` says that the condition names what is ours."""

    answer: Answer
    ours: bool = False

    def both(self, other: Match) -> Match:
        """Two that hold for some of ours need not hold for the same."""
        least = min(self.answer, other.answer)
        if self.answer == other.answer == Answer.SOME:
            least = Answer.UNKNOWN
        return Match(least, self.ours or other.ours)

    def negated(self) -> Match:
        return Match(_NEGATED[self.answer])


_NEGATED = {
    Answer.NO: Answer.YES,
    Answer.FOREIGN: Answer.YES,
    Answer.UNKNOWN: Answer.UNKNOWN,
    Answer.PART: Answer.PART,
    Answer.SOME: Answer.SOME,
    Answer.YES: Answer.NO,
}

NO, UNKNOWN, YES = Match(Answer.NO), Match(Answer.UNKNOWN), Match(Answer.YES)


def any_of(matches: Iterable[Match]) -> Match:
    """Alternatives."""
    return max(matches, default=NO)


def sure(holds: bool) -> Match:
    return YES if holds else NO


def merged(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """The same numbers in as few ranges as can be, in order."""
    found: list[Range] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return tuple(found)


def covered(wanted: Sequence[Range], by: Sequence[Range]) -> Answer:
    """Whether all, some or none of the wanted are among the others; both are `merged`."""
    whole, touched, start = True, False, 0
    for first, last in wanted:
        while start < len(by) and by[start][1] < first:
            start += 1
        overlapping = start < len(by) and by[start][0] <= last
        touched |= overlapping
        whole &= overlapping and by[start][0] <= first and last <= by[start][1]
    return Answer.NO if not touched else Answer.YES if whole else Answer.SOME
