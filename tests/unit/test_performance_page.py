"""The page of what an attachment costs, and the guard that CI has against its growth."""

from __future__ import annotations

from tests.bench.calls import Timed
from tests.bench.peers import page
from tests.bench.peers.plots import Curve, plot
from tests.bench.results import GUARD_MOST, guarded
from tests.bench.rounds import Samples


def test_the_page_is_up_to_date() -> None:
    """docs/performance.md and its plots are what `python -m tests.bench.peers.page` writes now."""
    for name, text in page.rendered().items():
        assert (page.DOCS / name).read_text() == text, name


def test_a_plot_ends_at_round_numbers() -> None:
    drawn = plot([Curve("one", [(0, 0), (1870, 3.2)])], x="a", y="b")
    assert ">2000</text>" in drawn
    assert ">5</text>" in drawn


def test_the_guard_goes_by_the_best_round() -> None:
    """A machine that is busy in one round fails nobody; one round as slow as all is a change."""

    def samples(*rounds: float) -> Samples:
        found = Samples()
        for ratio in rounds:
            found.add("attach 1", Timed([ratio * 2e-3], 1))
            for name in ("floor attach", "floor attach", "call 1"):
                found.add(name, Timed([1e-3], 1))
        return found

    assert not guarded(samples(GUARD_MOST * 3, GUARD_MOST * 0.9, GUARD_MOST * 2)).failed
    assert guarded(samples(GUARD_MOST * 1.1, GUARD_MOST * 1.2)).failed
