"""A time in which the daemon did not run is found out by the first who looks, and kept in mind."""

from __future__ import annotations

from unittest import mock

from netplumb.reconciler.cluster import stillness
from netplumb.reconciler.cluster.stillness import Stillness


def test_a_long_time_without_a_look_is_kept_in_mind() -> None:
    now = 100.0
    with mock.patch.object(stillness, "_boottime", lambda: now):
        it = Stillness(3.0)
        now += 2.9
        assert not it.look()
        now += 2.9
        assert not it.look()
        now += 3.1
        assert it.look()
        assert it.look(), "also to whoever looks later"
        it.is_behind = False
        assert not it.look()
