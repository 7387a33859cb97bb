"""What a reload hands on, and what it tells: what wants a start, and what is not in force."""

from __future__ import annotations

import pytest

from netplumb.models.errors import NetplumbError
from netplumb.models.settings import AT_START, Settings
from netplumb.reconciler.settings.reloading import Reloading, WantsRestart

CLUSTER = {"endpoints": ["http://192.0.2.11:2379"], "pools": [{"cidr": "10.128.0.0/14"}]}


def of(**settings: object) -> Settings:
    return Settings.model_validate(settings)


def told(reloading: Reloading) -> dict[str, str]:
    return {it.type: it.message for it in reloading.conditions}


def test_what_only_a_start_takes_stays_and_is_told_until_it_is_as_before() -> None:
    """All of it, with what goes on beside it; so that no part of a cluster is gone by before the rest."""
    started = of(cluster=CLUSTER, resync_s=30)
    found = [
        of(cluster=CLUSTER | {"mode": "vxlan"}, resync_s=60, ui="127.0.0.1:9479"),
        of(cluster=CLUSTER, resync_s=61),
    ]
    taken: list[Settings] = []
    reloading = Reloading(started, lambda: found.pop(0))
    reloading(taken.append)
    assert told(reloading).keys() == {"RestartWanted"}
    assert told(reloading)["RestartWanted"].startswith("ui, cluster: ")
    reloading(taken.append)
    assert taken == [started.model_copy(update={"resync_s": it}) for it in (60, 61)]
    assert reloading.conditions == ()


def test_what_stays_and_what_came_are_judged_together() -> None:
    """The cluster's prefix as a pool of the node's own is for when the cluster is left, which it is with a start."""
    taken: list[Settings] = []
    reloading = Reloading(of(cluster=CLUSTER), lambda: of(pools=["10.128.0.0/14"]))
    with pytest.raises(WantsRestart, match=r"10\.128\.0\.0/14 overlaps .* start it again"):
        reloading(taken.append)
    assert taken == []
    assert told(reloading).keys() == {"SettingsRefused", "RestartWanted"}


def test_what_is_refused_is_told_until_something_is_taken() -> None:
    """Whoever refused it: who reads it, or who is to take it."""
    found: list[Settings | NetplumbError] = [NetplumbError("netplumb.yaml:3: nonsense"), of(resync_s=5), of()]

    def read() -> Settings:
        if isinstance(it := found.pop(0), NetplumbError):
            raise it
        return it

    def take(settings: Settings) -> None:
        if settings.resync_s == 5:
            raise NetplumbError("a pool overlaps")

    reloading, since = Reloading(of(), read), set[float]()
    for words in ("netplumb.yaml:3: nonsense", "a pool overlaps"):
        with pytest.raises(NetplumbError):
            reloading(take)
        assert words in told(reloading)["SettingsRefused"]
        (condition,) = reloading.conditions
        since.add(condition.last_transition)
    assert len(since - {0}) == 1, "it tells since when, which another reason is no reason to change"
    reloading(take)
    assert not reloading.conditions


def test_they_are_settings() -> None:
    assert set(AT_START) <= Settings.model_fields.keys()
