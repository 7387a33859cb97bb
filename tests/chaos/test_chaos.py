"""Whatever happens to the daemon, the kernel, the files or the clients: once things are quiet the kernel equals desired
state, nothing of ours is left over, and nothing that is not ours was touched."""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.chaos.intensity import Intensity
from tests.chaos.machine import Chaos

INTENSITY = Intensity.from_environment()


@pytest.mark.sweep
@pytest.mark.timeout(INTENSITY.timeout_s)
def test_chaos() -> None:
    """Every history ends with the kernel as desired. `make chaos` tells many more of them."""
    ends = time.monotonic() + INTENSITY.minutes * 60
    chosen = settings(
        max_examples=INTENSITY.examples,
        stateful_step_count=INTENSITY.steps,
        deadline=None,
        database=None,  # a history is not told twice: what made it fail may be a matter of time
        phases=(Phase.generate, Phase.shrink) if INTENSITY.shrink else (Phase.generate,),
        suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much),
        print_blob=False,
        report_multiple_bugs=False,
    )
    if INTENSITY.seed is not None:
        seed(INTENSITY.seed)(Chaos)
    while True:
        run_state_machine_as_test(Chaos, settings=chosen)
        if time.monotonic() >= ends:
            return
