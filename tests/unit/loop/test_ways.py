"""When the ways to other nodes are passed over. What a pass makes of them is held by tests/netns and tests/e2e."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any
from unittest.mock import create_autospec

from netplumb.models.cluster import ClusterMode
from netplumb.reconciler.converge.ways import Seen, WaysKernel
from netplumb.reconciler.loop.ways import PAUSES_A_PASS, Ways
from tests.e2e.waiting import until
from tests.unit.decide.test_ways import DEVICE, KNOWN, NODE, VIEW, peer

READ_S = 0.05  # of processor time


def kernel_that_tells(told: list[str]) -> Any:
    """One that holds nothing and takes everything, and tells in which order it was read."""

    def read_all(*_: object) -> Seen:
        ends = time.thread_time() + READ_S
        while time.thread_time() < ends:
            pass
        told.append("all")
        return Seen({}, {"eth0": 2})

    def read_some(*_: object) -> Seen:
        told.append("some")
        return Seen({})

    kernel: Any = create_autospec(WaysKernel, instance=True)
    kernel.read_all.side_effect, kernel.read_some.side_effect = read_all, read_some
    kernel.with_links_of.return_value, kernel.apply.return_value = {}, []
    return kernel


def test_one_peer_does_not_wait_for_the_rest_after_a_read_of_all() -> None:
    """A read of all takes long where there are many; so it is not done at once again, and everything else is."""
    order: list[str] = []

    async def told() -> list[str]:
        ways = Ways(DEVICE, kernel_that_tells(order), node=lambda: NODE, known=lambda: KNOWN, is_ready=lambda: True)
        running = asyncio.get_running_loop().create_task(ways.run())
        view = replace(VIEW, mode=ClusterMode.ROUTES)
        ways.take(view)
        await until(lambda: "all" in order, "all was read")
        order.clear()
        ways.take(replace(view, peers={"node-2": peer(2)}))
        await until(lambda: "some" in order, "the peer was passed over")
        asyncio.get_running_loop().call_later(READ_S * PAUSES_A_PASS / 2, order.append, "half of the rest")
        ways.compare()
        await until(lambda: "all" in order, "all was read")
        running.cancel()
        await asyncio.wait([running])
        return order[:3]

    assert asyncio.run(told()) == ["some", "half of the rest", "all"]
