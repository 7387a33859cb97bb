"""A part of the loop with a thread of its own: woken, it takes a turn; cancelled, it lets its work finish."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from threading import Event, current_thread

from netplumb.reconciler.loop.workthread import WorkThread


async def test_who_is_woken_during_a_turn_takes_another_one() -> None:
    """What became due while it looked is not left."""
    thread, turns = WorkThread("tried"), list[str]()
    done = asyncio.Event()

    async def turn() -> None:
        turns.append(await thread.do(lambda: current_thread().name))
        if len(turns) == 1:
            thread.wake()
        else:
            done.set()

    running = asyncio.create_task(thread.run(turn))
    thread.wake()
    await asyncio.wait_for(done.wait(), 5)
    await asyncio.sleep(0)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert turns == ["tried_0", "tried_0"]


async def test_what_runs_in_the_thread_is_let_finish() -> None:
    """A step is not cut in half by a stop."""
    thread, begun, finished = WorkThread("tried"), asyncio.Event(), list[bool]()
    loop, may_end = asyncio.get_running_loop(), Event()

    def work() -> None:
        loop.call_soon_threadsafe(begun.set)
        finished.append(may_end.wait(5))

    async def turn() -> None:
        await thread.do(work)

    running = asyncio.create_task(thread.run(turn))
    thread.wake()
    await begun.wait()
    running.cancel()
    may_end.set()
    with suppress(asyncio.CancelledError):
        await running
    assert finished == [True]
