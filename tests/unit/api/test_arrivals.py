"""Connections of remote clients that came to nothing are counted, and no others."""

from __future__ import annotations

import pytest

from netplumb.api.server.arrivals import PEERS_KEPT, Arrivals

WITHIN_S = 5.0


@pytest.fixture
def arrivals() -> Arrivals:
    return Arrivals(WITHIN_S)


def test_who_makes_no_call_is_told_of_once_when_there_was_time_for_one(arrivals: Arrivals) -> None:
    arrivals.began()
    assert [arrivals.fruitless(now) for now in (0.0, 2.0, 4.0, 6.0, 8.0)] == [0, 0, 0, 1, 0]


def test_who_calls_is_not_told_of_however_often(arrivals: Arrivals) -> None:
    arrivals.began()
    for _ in range(3):
        arrivals.called("ipv4:192.0.2.2:5000")
    arrivals.began()
    assert [arrivals.fruitless(now) for now in (0.0, 6.0, 12.0)] == [0, 1, 0]


def test_our_own_look_at_the_port_is_none(arrivals: Arrivals) -> None:
    """Whether or not it came to a handshake."""
    for now in range(0, 40, 2):
        arrivals.probed()
        if now % 4:
            arrivals.began()
        assert arrivals.fruitless(float(now)) == 0


def test_connections_are_not_kept_without_end(arrivals: Arrivals) -> None:
    for number in range(PEERS_KEPT + 10):
        arrivals.called(f"ipv4:192.0.2.2:{number}")
    assert len(arrivals._peers) == PEERS_KEPT
