"""Fixtures of the tests of desired state."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from netplumb.reconciler.desired.state import Desired
from tests.unit.benches import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def desired(bench: Bench) -> Desired:
    return bench.desired
