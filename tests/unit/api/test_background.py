"""The loop behind the synchronous clients: what becomes of calls when it is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from threading import Event, Thread

import pytest

from netplumb.api.client.background import BackgroundLoop, Closed

WITHIN_S = 10.0


async def nothing() -> None:
    """What is done last."""


async def numbers() -> AsyncIterator[int]:
    for number in range(1000):
        yield number


def test_a_call_that_waits_ends_with_the_loop() -> None:
    """Another thread that waits for an answer is told, and does not wait for ever."""
    loop = BackgroundLoop("test")
    under_way, raised = Event(), list[BaseException]()

    async def waits() -> None:
        under_way.set()
        await asyncio.Event().wait()

    def call() -> None:
        try:
            loop.run(waits())
        except Closed as error:
            raised.append(error)

    thread = Thread(target=call, daemon=True)
    thread.start()
    assert under_way.wait(WITHIN_S)
    loop.close(nothing())
    thread.join(WITHIN_S)
    assert not thread.is_alive()
    assert [str(error) for error in raised] == ["this client is closed"]


def test_a_call_after_the_end_is_refused() -> None:
    """In one sentence; so is a second end, without a word."""
    loop = BackgroundLoop("test")
    loop.close(nothing())
    with pytest.raises(Closed, match="this client is closed"):
        loop.run(nothing())
    loop.close(nothing())


def test_an_iteration_may_be_left_after_the_end() -> None:
    loop = BackgroundLoop("test")
    values = loop.iterate(numbers())
    assert next(values) == 0
    loop.close(nothing())
    values.close()  # type: ignore[attr-defined]
