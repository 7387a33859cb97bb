"""A time in which the daemon did not run is found out by the first who looks, and kept in mind."""

from __future__ import annotations

from unittest import mock

from netplumb.reconciler.cluster import stillness
from netplumb.reconciler.cluster.stillness import Stillness


def test_a_long_time_without_a_look_is_kept_in_mind() -> None:
    with mock.patch.object(stillness, "_boottime") as now:
        now.return_value = 100.0
        it = Stillness(3.0)
        for after_s, behind in ((2.9, False), (2.9, False), (3.1, True), (0.1, True)):
            now.return_value += after_s
            assert it.look() is behind
        it.is_behind = False
        assert not it.look()
