"""What cannot be served is told once for each cause, and by a condition since when."""

from __future__ import annotations

import pytest

from netplumb.models.outages import Outage


def test_a_cause_is_news_once_and_the_condition_has_the_time_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([10.0, 20.0])
    monkeypatch.setattr("netplumb.models.outages.time.time", lambda: next(times))
    outage = Outage("PageUnavailable", "the page cannot be served")
    assert not outage.conditions
    assert [outage.lasts(why) for why in ("in use", "in use", "denied", "in use")] == [True, False, True, True]
    (condition,) = outage.conditions
    assert (condition.type, condition.message, condition.last_transition) == (
        "PageUnavailable",
        "the page cannot be served: in use",
        10.0,
    )
    outage.ends()
    assert not outage.conditions
    assert outage.lasts("in use")
    assert outage.conditions[0].last_transition == 20.0
