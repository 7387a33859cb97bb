"""What a reload hands on, and what it tells to want a start."""

from __future__ import annotations

from netplumb.models.settings import AT_START, Settings
from netplumb.reconciler.settings.reloading import Reloading

CLUSTER = {"endpoints": ["http://192.0.2.11:2379"], "pools": [{"cidr": "10.128.0.0/14"}]}


def test_what_only_a_start_takes_stays_and_is_told_until_it_is_as_before() -> None:
    """All of it, with what goes on beside it; so that no part of a cluster is gone by before the rest."""
    started = Settings.model_validate({"cluster": CLUSTER, "resync_s": 30})
    found = [
        Settings.model_validate({"cluster": CLUSTER | {"mode": "vxlan"}, "resync_s": 60, "ui": "127.0.0.1:9479"}),
        Settings.model_validate({"cluster": CLUSTER, "resync_s": 60}),
    ]
    reloading = Reloading(started, lambda: found.pop(0))
    assert reloading() == started.model_copy(update={"resync_s": 60})
    (told,) = reloading.conditions
    assert (told.type, told.message.partition(":")[0]) == ("RestartWanted", "ui, cluster")
    assert reloading().resync_s == 60
    assert reloading.conditions == ()


def test_they_are_settings() -> None:
    assert set(AT_START) <= Settings.model_fields.keys()
