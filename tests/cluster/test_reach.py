"""How soon a change that one node makes is in the kernels of all others, seen from outside."""

from __future__ import annotations

from pathlib import Path
from statistics import quantiles

import pytest

from tests.cluster.reach import taken_s
from tests.cluster.sites import site
from tests.e2e.waiting import until

NODES = 5
CHANGES = 20
"""What it takes is printed: `pytest -rP`; with twenty nodes by `python -m tests.bench cluster`."""


@pytest.mark.timeout(300)
async def test_a_change_is_in_every_kernel_soon(directory: Path) -> None:
    async with site(NODES, directory) as it:
        took = [each for number in range(CHANGES) for each in await taken_s(it, number)]
        cut = quantiles(took, n=100)
        print(f"{NODES} nodes, {CHANGES} changes: p50 {cut[49] * 1000:.0f} ms, p99 {cut[98] * 1000:.0f} ms")
        it.etcd.ctl("del", "--prefix", "/netplumb/shared/prefixes/x")
        for machine in it.machines:
            await until(
                lambda machine=machine: not [one for one in machine.host.routes() if one["dst"].startswith("10.130.")],  # type: ignore[misc]
                f"{machine.name} has no route to who is gone",
            )
