"""How soon a change is in the kernels of all nodes, seen from outside."""

from __future__ import annotations

import asyncio
import json
import time

from tests.cluster.sites import Site

GIVE_UP_S = 5.0
"""Of a machine on which other things run."""


async def taken_s(it: Site, number: int) -> list[float]:
    """A node that nobody knew says that it has a prefix; after how long each of the others has a route to it."""
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
        assert time.monotonic() - began < GIVE_UP_S, f"{[one.name for one in waiting]} have no route to {cidr}"
        await asyncio.sleep(0)
    return took
