"""Each test of the suite runs in both worlds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import namespaces
from tests.contract.worlds import World, fake_world, linux_world


@pytest.fixture(scope="session", autouse=True)
def own_run() -> None:
    """Puts this test process into a mount namespace of its own, with an empty /run."""
    namespaces.unshare_run()


@pytest.fixture(params=["fake", "linux", "fake by the lane", "linux by the lane"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """The lane is held to all that is promised of a pass, wherever it is tried."""
    with fake_world() if request.param.startswith("fake") else linux_world() as made:
        made.lane = request.param.endswith("lane")
        yield made
