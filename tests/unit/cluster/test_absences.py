"""For how long a node has been away is only what was seen."""

from __future__ import annotations

from netplumb.reconciler.cluster.absences import Absences


def test_a_node_that_is_away_and_back_is_given_all_its_time_again() -> None:
    absences = Absences()
    absences.saw(["b", "c"], 0)
    absences.saw(["c"], 10)
    absences.saw(["b", "c"], 20)
    assert absences.for_longer_than(15, 30) == ["c"]
    absences.saw_nothing()
    absences.saw(["b", "c"], 40)
    assert absences.for_longer_than(15, 50) == []
