"""Waiting for the loop: each waiter is answered for its own generation, once."""

from __future__ import annotations

import asyncio

import pytest

from netplumb.models.attachment import AttachmentKey
from netplumb.models.errors import Superseded, Terminal
from netplumb.reconciler.pacing.waiters import Waiters

KEY, OTHER = AttachmentKey("web", "eth0"), AttachmentKey("db", "eth0")
LONG_S = 60.0


async def waiting(waiters: Waiters, key: AttachmentKey, generation: int) -> asyncio.Task[None]:
    """A task that waits already."""
    task = asyncio.create_task(waiters.wait(key, generation, LONG_S))
    await asyncio.sleep(0)
    return task


async def test_every_waiter_of_a_generation_is_answered() -> None:
    """Two clients with the same wish both hear that it is done."""
    waiters = Waiters()
    tasks = [await waiting(waiters, KEY, 3) for _ in range(2)]
    waiters.reached(KEY, 3)
    await asyncio.gather(*tasks)


async def test_another_generation_or_key_answers_nobody() -> None:
    """What was reached for another wish is no answer to this one."""
    waiters = Waiters()
    task = await waiting(waiters, KEY, 3)
    waiters.reached(KEY, 2)
    waiters.reached(OTHER, 3)
    waiters.failed(KEY, 4, Terminal("no"))
    waiters.supersede(KEY, 3)
    await asyncio.sleep(0)
    assert not task.done()
    waiters.reached(KEY, 3)
    await task


async def test_a_failure_is_told_as_it_is() -> None:
    """The error that the loop met is the one that the client gets."""
    waiters = Waiters()
    task = await waiting(waiters, KEY, 1)
    waiters.failed(KEY, 1, Terminal("the kernel said no"))
    with pytest.raises(Terminal, match="the kernel said no"):
        await task


async def test_a_later_wish_ends_the_wait_for_an_older_one() -> None:
    """Who waits for a replaced wish is told so at once, and who waits for the new one goes on."""
    waiters = Waiters()
    old, new = await waiting(waiters, KEY, 1), await waiting(waiters, KEY, 2)
    waiters.supersede(KEY, 2)
    with pytest.raises(Superseded, match="web/eth0"):
        await old
    assert not new.done()
    waiters.reached(KEY, 2)
    await new


async def test_the_first_answer_stands() -> None:
    """A second answer before the waiter ran changes nothing and raises nothing."""
    waiters = Waiters()
    task = await waiting(waiters, KEY, 1)
    waiters.reached(KEY, 1)
    waiters.failed(KEY, 1, Terminal("late"))
    waiters.supersede(KEY, 9)
    await task


async def test_a_wait_ends_in_time() -> None:
    """Without an answer the wait ends with a timeout, and leaves nobody behind to be answered."""
    waiters = Waiters()
    with pytest.raises(TimeoutError):
        await waiters.wait(KEY, 1, 0)
    waiters.reached(KEY, 1)


async def test_a_cancelled_waiter_is_forgotten() -> None:
    """A client that hung up is not answered, and the others are."""
    waiters = Waiters()
    gone, stays = await waiting(waiters, KEY, 1), await waiting(waiters, KEY, 1)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    waiters.reached(KEY, 1)
    await stays
