"""What is read the less often the longer it takes."""

from __future__ import annotations

from netplumb.reconciler.watch.firewalls import Seldom


def test_what_takes_long_is_read_again_once_that_is_a_small_share() -> None:
    """What was read last holds until then."""
    now_s, readings = 0.0, 0

    def read() -> int:
        nonlocal now_s, readings
        now_s, readings = now_s + 0.5, readings + 1
        return readings

    seldom = Seldom(read, lambda: now_s)
    assert seldom.read() == 1
    now_s = 50.0
    assert seldom.read() == 1
    now_s = 51.0
    assert seldom.read() == 2
