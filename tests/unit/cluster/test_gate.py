"""What goes through a gate waits until it is open, and is ended once it is closed."""

from __future__ import annotations

import asyncio

import pytest

from netplumb.reconciler.cluster.gate import Gate


async def test_what_is_inside_is_ended_when_it_is_closed() -> None:
    gate, ended = Gate(), asyncio.Event()

    async def does() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    inside = asyncio.ensure_future(gate.through(does))
    await asyncio.sleep(0)
    gate.close()
    await inside
    assert ended.is_set()
    assert not gate.is_open


async def test_nothing_begins_while_it_is_closed() -> None:
    gate, began = Gate(), asyncio.Event()

    async def does() -> None:
        began.set()

    gate.close()
    waiting = asyncio.ensure_future(gate.through(does))
    await asyncio.sleep(0.01)
    assert not began.is_set()
    gate.open()
    await waiting
    assert began.is_set()


@pytest.mark.parametrize("error", [TimeoutError, ValueError])
async def test_errors_of_what_is_inside_come_out(error: type[Exception]) -> None:
    async def does() -> None:
        raise error

    with pytest.raises(error):
        await Gate().through(does)


async def test_who_waits_for_it_may_be_cancelled() -> None:
    gate = Gate()
    inside = asyncio.ensure_future(gate.through(lambda: asyncio.sleep(60)))
    await asyncio.sleep(0)
    inside.cancel()
    with pytest.raises(asyncio.CancelledError):
        await inside
    gate.close()  # there is nothing in it any more
