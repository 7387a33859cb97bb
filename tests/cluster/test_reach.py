"""How soon a change that one node makes is in the kernels of all others, seen from outside."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from statistics import quantiles

import pytest

from tests.cluster.sites import Site, site
from tests.e2e.waiting import until

NODES = 5
CHANGES = 20
SOON_S = 5.0
"""Of a machine on which other tests run. What it takes is printed: `pytest -rP`."""


async def taken_s(it: Site, number: int) -> list[float]:
    """A node that nobody knew says that it has a prefix; when each of the others has a route to it."""
    cidr = f"10.130.{number}.0/24"
    record = {"identity": {"boot": str(number)}, "underlay": [f"192.0.2.{100 + number}"]}
    it.etcd.ctl("put", f"/netplumb/shared/nodes/x{number}", json.dumps(record))
    began = time.monotonic()
    key = f"/netplumb/shared/prefixes/x{number}/{cidr.replace('/', '-')}"
    it.etcd.ctl("put", key, json.dumps({"pool": "10.128.0.0/14"}))
    waiting, took = list(it.machines), []
    while waiting:
        for machine in [one for one in waiting if one.host.route(cidr)]:
            waiting.remove(machine)
            took.append(time.monotonic() - began)
        assert time.monotonic() - began < SOON_S, f"{[one.name for one in waiting]} have no route to {cidr}"
        await asyncio.sleep(0)
    return took


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
