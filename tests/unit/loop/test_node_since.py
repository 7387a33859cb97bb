"""From when on the node is as desired, or is not."""

from __future__ import annotations

import time
from typing import cast

import pytest

from netplumb.models.errors import Retryable
from netplumb.models.settings import Settings
from netplumb.reconciler.converge.linux import LinuxKernel
from netplumb.reconciler.loop.node import NodeWide


class Failing:
    """A kernel that cannot be read."""

    def facts(self) -> None:
        raise Retryable("no answer")


def test_the_time_is_that_of_the_last_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither that of the daemon's start nor that of the last pass."""
    clock = iter(range(100, 200))
    now = [next(clock)]
    monkeypatch.setattr(time, "time", lambda: float(now[0]))
    nodewide = NodeWide(
        settings=Settings(),
        node_addresses=tuple,
        prefixes=tuple,
        elements=lambda _: (),
        record_sysctl=lambda *_: None,
        forget_sysctl=lambda _: None,
    )
    kernel = cast("LinuxKernel", Failing())
    since = []
    for cause_before in ("not converged yet", "no answer", "", "no answer"):
        now[0] = next(clock)
        nodewide.cause = cause_before
        nodewide.converge(kernel)
        since.append(nodewide.since)
    assert since == [100.0, 100.0, 103.0, 103.0]
