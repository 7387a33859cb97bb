"""When the ways to other nodes are passed over. What a pass makes of them is held by tests/netns and tests/e2e."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import create_autospec

import pytest

from netplumb.models.cluster import ClusterMode
from netplumb.models.errors import StepError
from netplumb.models.kernel import KernelObject, Key
from netplumb.models.steps import Step
from netplumb.reconciler.converge.ways import Seen, WaysKernel
from netplumb.reconciler.loop.ways import Ways
from tests.e2e.waiting import until
from tests.unit.decide.test_ways import DEVICE, KNOWN, NODE, VIEW, peer


def kernel_that_tells(told: list[str]) -> Any:
    """One that holds what it is given, and tells in which order it was read."""
    held: dict[Key, KernelObject] = {}

    def read_all(*_: object) -> Seen:
        told.append("all")
        return Seen(dict(held), {"eth0": 2})

    def read_some(*_: object) -> Seen:
        told.append("some")
        return Seen(dict(held))

    def apply(steps: Sequence[Step], _: Seen) -> list[StepError]:
        held.update({step.thing.key: step.thing for step in steps})
        return []

    kernel: Any = create_autospec(WaysKernel, instance=True)
    kernel.read_all.side_effect, kernel.read_some.side_effect = read_all, read_some
    kernel.with_links_of.return_value, kernel.apply.side_effect = {}, apply
    return kernel


@asynccontextmanager
async def running(order: list[str]) -> AsyncIterator[Ways]:
    ways = Ways(DEVICE, kernel_that_tells(order), node=lambda: NODE, known=lambda: KNOWN, is_ready=lambda: True)
    task = asyncio.get_running_loop().create_task(ways.run())
    yield ways
    task.cancel()
    await asyncio.wait([task])


@pytest.fixture(autouse=True)
def rests_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netplumb.reconciler.loop.ways.PAUSES_A_PASS", 1e9)


async def test_one_peer_does_not_wait_for_the_rest_after_a_read_of_all() -> None:
    """A read of all takes long where there are many; so it is not done at once again, and everything else is."""
    order: list[str] = []
    view = replace(VIEW, mode=ClusterMode.ROUTES)
    async with running(order) as ways:
        ways.take(view)
        await until(lambda: "all" in order, "all was read")
        ways.take(replace(view, peers={"node-2": peer(2)}))
        await until(lambda: "some" in order, "the peer was passed over")
    assert order == ["all", "some"]


async def test_what_went_with_a_link_is_put_right_without_a_rest() -> None:
    """A second read of all is part of the same repair."""
    order: list[str] = []
    async with running(order) as ways:
        ways.take(replace(VIEW, mode=ClusterMode.VXLAN))
        await until(lambda: len(order) == 2, "all was read twice")
    assert order == ["all", "all"]
