"""The chaos makes its own nodes and workloads; it needs a /run of its own for them."""

from __future__ import annotations

import pytest

from tests import namespaces


@pytest.fixture(scope="session", autouse=True)
def own_run() -> None:
    """Puts this test process into a mount namespace of its own, with an empty /run."""
    namespaces.unshare_run()
