"""Removals: batches, in a thread, of which those that a client waits for come first."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest

from netplumb.models.attachment import AttachmentKey
from netplumb.models.errors import StepError
from netplumb.reconciler.converge.linux import Doomed
from netplumb.reconciler.loop.removals import BATCH, OTHERS_LEAST, Removals
from tests.unit.recorder import until


class Kernel:
    """Removes what it is told to once it is let."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.may_end = threading.Semaphore(0)

    def remove_links(self, doomed: Sequence[Doomed]) -> Mapping[AttachmentKey, StepError | None]:
        self.batches.append([each.key.workload_id for each in doomed])
        assert self.may_end.acquire(timeout=10)
        return {each.key: None for each in doomed}


class Site:
    def __init__(self) -> None:
        self.kernel = Kernel()
        self.removed: list[str] = []
        self.removals = Removals(self.kernel, lambda key, _: self.removed.append(key.workload_id))

    def add(self, *names: str, awaited: bool = False) -> None:
        for name in names:
            self.removals.add(Doomed(AttachmentKey(name, "eth0"), 0), awaited=awaited)

    async def ends(self, batches: int) -> None:
        """Lets so many batches end."""
        for _ in range(batches):
            self.kernel.may_end.release()
        done = sum(len(batch) for batch in self.kernel.batches[:batches])
        await until(lambda: len(self.removed) >= done)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A removal of `first` is under way."""
    made = Site()
    task = asyncio.create_task(made.removals.run())
    made.add("first")
    await until(lambda: bool(made.kernel.batches))
    yield made
    made.kernel.may_end.release(1000)
    await until(lambda: not made.removals.holds(AttachmentKey("first", "eth0")))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_comes_while_one_is_under_way_goes_together(site: Site) -> None:
    """The kernel waits as long for one as for many."""
    site.add("a", "b", "c")
    await site.ends(1)
    await until(lambda: len(site.kernel.batches) == 2)
    assert site.kernel.batches == [["first"], ["a", "b", "c"]]


async def test_what_a_client_waits_for_goes_before_the_thousands_of_a_file(site: Site) -> None:
    """Also what a file gave up before, and a client then asked for."""
    names = [f"file-{number}" for number in range(2 * BATCH)]
    site.add(*names)
    site.add("rpc", names[-1], awaited=True)
    site.add(names[-1])
    await site.ends(1)
    await until(lambda: len(site.kernel.batches) == 2)
    assert site.kernel.batches[1] == ["rpc", names[-1], *names[: BATCH - 2]]
    await site.ends(1)
    await until(lambda: len(site.kernel.batches) == 3)
    assert site.kernel.batches[2] == names[BATCH - 2 : 2 * BATCH - 2]


async def test_what_a_client_comes_to_wait_for_goes_first_from_then_on(site: Site) -> None:
    """As an Attach for a key whose older life is still to be removed."""
    names = [f"file-{number}" for number in range(2 * BATCH)]
    site.add(*names)
    site.removals.hurry(AttachmentKey(names[-1], "eth0"))
    site.removals.hurry(AttachmentKey("unknown", "eth0"))
    await site.ends(1)
    await until(lambda: len(site.kernel.batches) == 2)
    assert site.kernel.batches[1] == [names[-1], *names[: BATCH - 1]]


async def test_clients_do_not_keep_the_others_waiting_for_ever(site: Site) -> None:
    """However many clients wait, some of the others are in each batch."""
    others = [f"file-{number}" for number in range(BATCH)]
    site.add(*others)
    site.add(*(f"rpc-{number}" for number in range(2 * BATCH)), awaited=True)
    await site.ends(1)
    await until(lambda: len(site.kernel.batches) == 2)
    assert len(site.kernel.batches[1]) == BATCH
    assert [name for name in site.kernel.batches[1] if name in others] == others[:OTHERS_LEAST]


async def test_what_is_under_way_is_not_taken_again(site: Site) -> None:
    site.add("first", awaited=True)
    site.add("last")
    await site.ends(1)
    await until(lambda: len(site.kernel.batches) == 2)
    assert site.kernel.batches[1] == ["last"]
