"""Each test of the suite runs in both worlds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import namespaces
from tests.contract.worlds import World, fake_world, linux_world

MS_SHARED = 0x100000


@pytest.fixture(scope="session", autouse=True)
def own_run() -> None:
    """Puts this test process into a mount namespace of its own, with an empty /run.

    The directory of namespaces is a shared mount point, as `ip netns add` leaves it on any machine.
    """
    namespaces.unshare_run()
    directory = namespaces.NETNS_DIR
    directory.mkdir()
    namespaces.mount(str(directory), directory, "none", namespaces.MS_BIND | namespaces.MS_REC)
    namespaces.mount("none", directory, "none", MS_SHARED | namespaces.MS_REC)


@pytest.fixture(params=["fake", "linux"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with fake_world() if request.param == "fake" else linux_world() as made:
        yield made
