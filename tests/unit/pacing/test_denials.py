"""Which denied packets are told: a few of each workload and each other end, and not those of one for those of all."""

from __future__ import annotations

from netplumb.reconciler.pacing.denials import AGAIN_S, ALL, OTHER_END, WORKLOAD, Denials


def told(denials: Denials, workload: str, other: str, ends: range, now: float) -> int:
    return sum(denials.is_told(workload, other, (other, number), now) for number in ends)


def test_the_same_ends_are_told_once_in_a_while() -> None:
    denials = Denials()
    assert [denials.is_told("web", "spy", "ends", now) for now in (0.0, 1.0, AGAIN_S - 1, AGAIN_S)] == [1, 0, 0, 1]


def test_an_other_end_has_a_few_at_once_and_then_one_a_minute() -> None:
    """However many ports somebody tries, and for however long; what others are denied meanwhile is told."""
    denials = Denials()
    assert told(denials, "web", "spy", range(1000), 0.0) == OTHER_END.at_once
    assert told(denials, "web", "spy", range(1000, 2000), OTHER_END.each_s / 2) == 0
    assert told(denials, "web", "db", range(1), OTHER_END.each_s / 2) == 1
    assert told(denials, "web", "spy", range(2000, 3000), OTHER_END.each_s) == 1
    assert told(denials, "db", "spy", range(1000), OTHER_END.each_s) == OTHER_END.at_once


def test_a_workload_is_bounded_however_many_other_ends_there_are() -> None:
    denials = Denials()
    assert sum(told(denials, "web", f"o{number}", range(2), 0.0) for number in range(100)) == WORKLOAD.at_once
    assert sum(told(denials, "web", f"o{number}", range(2), WORKLOAD.each_s) for number in range(200, 300)) == 1


def test_all_of_them_together_are_bounded() -> None:
    denials = Denials()
    assert sum(told(denials, f"w{number}", "spy", range(3), 0.0) for number in range(1000)) == ALL.at_once
    assert told(denials, "late", "spy", range(1), 1.0) == 1
