"""A real etcd, on the loopback of whoever runs the tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.etcds import Etcd, running
from tests.e2e.conftest import directory, own_run

__all__ = ["directory", "own_run"]


@pytest.fixture
def etcd() -> Iterator[Etcd]:
    with running() as it:
        yield it


@pytest.fixture
def three() -> Iterator[Etcd]:
    """Of three members."""
    with running(3) as it:
        yield it
