"""Budgets: who takes much of the processor waits for it; nobody else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplumb.reconciler.pacing.budgets import (
    BEGINNING_S,
    DEAR_S,
    RESYNC_LATER_MOST,
    SHARE,
    WAIT_MOST_S,
    Budgets,
    resync_after_s,
)

ORDINARY_S = 0.002


def test_an_ordinary_pass_waits_for_nothing() -> None:
    """Not even a hundred in a row, as many as a client or a clumsy tool may cause."""
    budgets = Budgets[str]()
    for _ in range(int(BEGINNING_S / ORDINARY_S)):
        budgets.charge("web", ORDINARY_S, 0.0)
        assert budgets.held_s("web", 0.0) < 0.01
    assert not budgets.is_dear("web")


def test_what_took_a_second_waits_long() -> None:
    """For the better part of a minute; and no longer than the bound, whatever it took."""
    budgets = Budgets[str]()
    budgets.charge("web", 1.0, 100.0)
    assert budgets.held_s("web", 100.0) == pytest.approx((1.0 - BEGINNING_S) / SHARE)
    assert budgets.held_s("web", 130.0) == pytest.approx(budgets.held_s("web", 100.0) - 30)
    budgets.charge("web", 50.0, 130.0)
    assert budgets.held_s("web", 130.0) == pytest.approx(WAIT_MOST_S)


def test_others_do_not_wait() -> None:
    budgets = Budgets[str]()
    budgets.charge("web", 10.0, 0.0)
    assert budgets.held_s("db", 0.0) == 0
    assert not budgets.is_dear("db")


def test_it_is_dear_until_a_pass_is_not() -> None:
    """One slow pass says where the next is made, and so does one quick one."""
    budgets = Budgets[str]()
    budgets.charge("web", DEAR_S, 0.0)
    assert budgets.is_dear("web")
    budgets.charge("web", ORDINARY_S, 1.0)
    assert not budgets.is_dear("web")


def test_what_is_forgotten_begins_anew() -> None:
    """A key that was removed and comes again owes nothing."""
    budgets = Budgets[str]()
    budgets.charge("web", 10.0, 0.0)
    budgets.forget("web")
    assert budgets.held_s("web", 0.0) == 0
    assert not budgets.is_dear("web")


@given(st.lists(st.floats(0.0001, WAIT_MOST_S * SHARE), max_size=50))
def test_who_waits_as_told_takes_its_share_and_no_more(costs: list[float]) -> None:
    """But for the beginning, and for one pass, of which nobody knew what it would take."""
    budgets, now, spent_s = Budgets[str](), 0.0, 0.0
    for cost_s in costs:
        now += budgets.held_s("web", now)
        budgets.charge("web", cost_s, now)
        spent_s += cost_s
        assert spent_s <= BEGINNING_S + SHARE * now + cost_s + 1e-6


@pytest.mark.parametrize(("cost_s", "after_s"), [(0.0, 30.0), (0.6, 30.0), (1.2, 60.0), (100.0, 300.0)])
def test_resyncs_take_a_small_share_and_are_never_too_seldom(cost_s: float, after_s: float) -> None:
    """The period holds as long as one takes no more than that share of it, and ten times the period always."""
    assert resync_after_s(30.0, cost_s) == pytest.approx(after_s)
    assert SHARE * after_s >= min(cost_s, SHARE * 30.0 * RESYNC_LATER_MOST)
