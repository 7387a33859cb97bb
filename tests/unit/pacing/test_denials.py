"""Which denied packets are told: a few of each workload, and not those of one for those of all."""

from __future__ import annotations

from netplumb.reconciler.pacing.denials import AGAIN_S, ALL_AT_ONCE, AT_ONCE, EACH_S, Denials


def told(denials: Denials, workload: str, ends: range, now: float) -> int:
    return sum(denials.is_told(workload, number, now) for number in ends)


def test_the_same_ends_are_told_once_in_a_while() -> None:
    denials = Denials()
    assert [denials.is_told("web", "ends", now) for now in (0.0, 1.0, AGAIN_S - 1, AGAIN_S)] == [1, 0, 0, 1]


def test_a_workload_has_a_few_at_once_and_then_one_a_minute() -> None:
    """However many ends somebody tries, and for however long."""
    denials = Denials()
    assert told(denials, "web", range(1000), 0.0) == AT_ONCE
    assert told(denials, "web", range(1000, 2000), EACH_S / 2) == 0
    assert told(denials, "web", range(2000, 3000), EACH_S) == 1
    assert told(denials, "db", range(1000), EACH_S) == AT_ONCE


def test_all_of_them_together_are_bounded() -> None:
    denials = Denials()
    assert sum(told(denials, f"w{number}", range(AT_ONCE), 0.0) for number in range(1000)) == ALL_AT_ONCE
    assert told(denials, "late", range(1), 1.0) == 1
