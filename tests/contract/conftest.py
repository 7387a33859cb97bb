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


@pytest.fixture(params=["fake", "linux"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with fake_world() if request.param == "fake" else linux_world() as made:
        yield made
