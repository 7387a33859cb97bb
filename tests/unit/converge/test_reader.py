"""The reader: one thread reads the kernel, whoever hangs up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from functools import partial
from itertools import repeat
from typing import cast

import pytest

from netplumb.reconciler.converge.linux import LinuxKernel
from netplumb.reconciler.converge.reader import Reader

KERNEL = cast("LinuxKernel", object())


def _with(number: int, kernel: LinuxKernel) -> tuple[int, LinuxKernel]:
    return number, kernel


class Counter:
    """A read that counts how often it is done."""

    def __init__(self) -> None:
        self.reads = 0
        self.begun = threading.Event()

    def __call__(self, _: LinuxKernel) -> None:
        self.reads += 1
        self.begun.set()


@pytest.fixture
def reader() -> Iterator[Reader]:
    made = Reader(KERNEL)
    yield made
    made.close()


async def test_it_hands_the_kernel_over(reader: Reader) -> None:
    assert await reader.read(lambda kernel: kernel) is KERNEL
    assert await reader.read_each(partial(_with, n) for n in range(20)) == [(n, KERNEL) for n in range(20)]


async def test_a_read_that_was_cancelled_ends_before_the_next_begins(reader: Reader) -> None:
    """A client that hangs up does not leave the kernel to two at a time."""
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def slow(_: LinuxKernel) -> None:
        begun.set()
        go_on.wait()
        ended.set()

    asking = asyncio.ensure_future(reader.read(slow))
    await asyncio.to_thread(begun.wait)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    next_one = asyncio.ensure_future(reader.read(lambda _: ended.is_set()))
    await asyncio.sleep(0)
    go_on.set()
    assert await next_one


async def test_what_nobody_waits_for_is_not_read(reader: Reader) -> None:
    """Of thousands of reads, those that have not begun are dropped with their caller."""
    counter = Counter()
    asking = asyncio.create_task(reader.read_each(repeat(counter, 100_000)))
    await asyncio.to_thread(counter.begun.wait)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await reader.read(lambda _: None)
    so_far = counter.reads
    assert so_far < 100_000
    await reader.read(lambda _: None)
    assert counter.reads == so_far


async def test_others_have_their_turn(reader: Reader) -> None:
    """One who asks for thousands does not hold up who asks for one."""
    counter = Counter()
    many = asyncio.create_task(reader.read_each(repeat(counter, 10_000)))
    await asyncio.to_thread(counter.begun.wait)
    assert await reader.read(lambda _: counter.reads) < 10_000
    assert len(await many) == 10_000
