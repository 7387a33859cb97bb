"""A comparison by pairs tells a difference from noise."""

from __future__ import annotations

import random

import pytest

from tests.bench.paired import judged


@pytest.mark.parametrize(("factor", "failed"), [(1.0, False), (0.9, False), (1.01, False), (1.1, True)])
def test_a_cost_is_seen_through_the_noise_of_the_machine(factor: float, failed: bool) -> None:
    """The machine's pace is the same for both of a pair, and differs from pair to pair by far more than the cost."""
    draws = random.Random(7)
    paces = [2.0 * draws.uniform(1, 3) for _ in range(400)]
    found = judged([(pace * draws.uniform(0.97, 1.03), factor * pace * draws.uniform(0.97, 1.03)) for pace in paces])
    assert found.failed is failed
    assert found.least <= factor <= found.most
