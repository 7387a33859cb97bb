"""Waiting for what must come true soon."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable

WITHIN_S = 5.0
STEP_S = 0.02


async def comes_true(true: Callable[[], object | Awaitable[object]], *, within_s: float = WITHIN_S) -> bool:
    """Asks again and again until the answer is truthy; whether that was in time."""
    ends = time.monotonic() + within_s
    while True:
        answer = true()
        if isawaitable(answer):
            answer = await answer
        if answer:
            return True
        if time.monotonic() > ends:
            return False
        await asyncio.sleep(STEP_S)


async def until(true: Callable[[], object | Awaitable[object]], what: str, *, within_s: float = WITHIN_S) -> None:
    """Waits for what must come true, and fails with `what` did not."""
    assert await comes_true(true, within_s=within_s), f"not within {within_s} s: {what}"
