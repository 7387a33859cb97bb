"""The pause between tries: it doubles, up to a bound, however long it goes on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplumb.models.settings import Settings
from netplumb.reconciler.loop.node import RETRY_FIRST_S, RETRY_MOST_S, NodeWide
from netplumb.reconciler.pacing.backoff import backoff_s


def test_it_doubles_from_the_first_up_to_the_most() -> None:
    assert [backoff_s(0.1, 1.0, doublings) for doublings in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


@given(st.integers(0, 10**9))
def test_it_never_shrinks_nor_ends(doublings: int) -> None:
    """Also where 2 to that power is no number that a float can hold."""
    assert backoff_s(0.1, 30.0, doublings) <= backoff_s(0.1, 30.0, doublings + 1) <= 30.0


@pytest.mark.parametrize(
    ("failures", "after_s"), [(0, None), (1, RETRY_FIRST_S), (2, 2 * RETRY_FIRST_S), (5000, RETRY_MOST_S)]
)
def test_a_node_that_fails_for_hours_is_tried_on(failures: int, after_s: float | None) -> None:
    """A thousand tries, 10 s apart, are three hours."""
    nodewide = NodeWide(
        settings=Settings(),
        node_addresses=tuple,
        prefixes=tuple,
        elements=lambda _: (),
        record_sysctl=lambda *_: None,
        forget_sysctl=lambda _: None,
    )
    nodewide.failures = failures
    assert nodewide.retry_after_s == after_s
