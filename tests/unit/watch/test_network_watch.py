"""Looks at the node's network, told on: what is known is what was seen last."""

from __future__ import annotations

import asyncio
import threading
from contextlib import nullcontext
from ipaddress import ip_address

import pytest

from netplumb.models.nodenetwork import NodeNetwork
from netplumb.reconciler.watch import nodenetwork
from netplumb.reconciler.watch.nodenetwork import NetworkWatch

TAKEN = ip_address("10.99.0.7")
BEFORE, NOW = NodeNetwork(), NodeNetwork(foreign=frozenset({(TAKEN, "up0")}))


async def test_a_look_that_began_earlier_does_not_undo_a_newer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that the node took a moment ago is asked for while a look is under way that began before it."""
    began, goes_on = threading.Event(), threading.Event()
    looks = iter((BEFORE, NOW))

    def look(*_: object) -> NodeNetwork:
        seen = next(looks)
        if seen is BEFORE:
            began.set()
            goes_on.wait()
        return seen

    monkeypatch.setattr(nodenetwork, "look", look)
    monkeypatch.setattr(nodenetwork, "Channel", nullcontext)
    monkeypatch.setattr(nodenetwork, "ends_here", lambda _, addresses: addresses)
    told: list[NodeNetwork] = []
    watch = NetworkWatch(NodeNetwork(), tuple, told.append)
    watch.mark()
    running = asyncio.create_task(watch.run())
    try:
        await asyncio.to_thread(began.wait)
        asked = asyncio.create_task(watch.check([TAKEN]))
        await asyncio.sleep(0.05)  # the second look has its chance to be the first to end
        goes_on.set()
        await asked
        await asyncio.sleep(0.05)
    finally:
        goes_on.set()
        running.cancel()
    assert told == [NOW]
