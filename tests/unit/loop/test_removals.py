"""Removals: batches, in threads, answered when the kernel tells; what a client waits for comes first."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest

from netplumb.models.attachment import AttachmentKey
from netplumb.models.errors import Retryable, StepError
from netplumb.reconciler.converge.removal import Doomed
from netplumb.reconciler.loop.removals import BATCH, OTHERS_LEAST, Removals
from tests.unit.recorder import until


class Kernel:
    """Removes what it is told to once it is let."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.may_end = threading.Semaphore(0)
        self.error: StepError | None = None

    def remove_links(
        self, doomed: Sequence[Doomed], going: Callable[[Mapping[int, AttachmentKey]], None]
    ) -> Mapping[AttachmentKey, StepError | None]:
        going({each.hint_index + n: each.key for each in doomed if each.hint_index for n in range(2)})
        self.batches.append([each.key.workload_id for each in doomed])
        assert self.may_end.acquire(timeout=10)
        return {each.key: self.error for each in doomed}


class Departures:
    """Tells of the links that a test says are gone."""

    def __init__(self) -> None:
        self._told, self._tell = socket.socketpair()

    def fileno(self) -> int:
        return self._told.fileno()

    def tell(self, *indexes: int) -> None:
        self._tell.send(bytes(indexes))

    def drain(self) -> Iterator[int]:
        yield from self._told.recv(64)

    def close(self) -> None:
        self._told.close()
        self._tell.close()


class Site:
    def __init__(self, removers: int) -> None:
        self.kernel = Kernel()
        self.departures = Departures()
        self.removed: list[str] = []
        self.errors: list[StepError] = []
        self.removals = Removals([self.kernel] * removers, self.departures, self._removed)

    def _removed(self, key: AttachmentKey, error: StepError | None) -> None:
        self.removed.append(key.workload_id)
        if error is not None:
            self.errors.append(error)

    def add(self, *names: str, awaited: bool = False) -> None:
        for name in names:
            self.removals.add(Doomed(AttachmentKey(name, "eth0"), 0), awaited=awaited)

    async def ends(self, batches: int) -> None:
        """Lets so many batches end."""
        for _ in range(batches):
            self.kernel.may_end.release()
        done = sum(len(batch) for batch in self.kernel.batches[:batches])
        await until(lambda: len(self.removed) >= done)


FIRST = AttachmentKey("first", "eth0")


@asynccontextmanager
async def running(removers: int) -> AsyncIterator[Site]:
    """A removal of `first` is under way, with the links 1 and 2."""
    made = Site(removers)
    task = asyncio.create_task(made.removals.run())
    made.removals.add(Doomed(FIRST, 1))
    await until(lambda: bool(made.kernel.batches))
    yield made
    made.kernel.may_end.release(1000)
    await until(lambda: not made.removals.holds(FIRST))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    made.departures.close()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with running(removers=1) as made:
        yield made


@pytest.fixture
async def busy() -> AsyncIterator[Site]:
    """There is another remover."""
    async with running(removers=2) as made:
        yield made


async def test_it_is_removed_when_its_last_link_is_gone(site: Site) -> None:
    """An attachment with limits has two links on the node. The request's answer is not waited for, nor told again."""
    site.departures.tell(1, 7)
    await asyncio.sleep(0.01)
    assert site.removals.holds(FIRST)
    site.departures.tell(2)
    await until(lambda: not site.removals.holds(FIRST))
    site.kernel.may_end.release()
    site.add("last")
    await until(lambda: len(site.kernel.batches) == 2)
    assert site.removed == ["first"]


async def test_what_is_gone_is_no_failure(site: Site) -> None:
    """An answer that tells of an error, or none, comes too late to matter."""
    site.kernel.error = Retryable("the kernel did not answer")
    site.departures.tell(1, 2)
    await until(lambda: not site.removals.holds(FIRST))
    await site.ends(1)
    assert (site.removed, site.errors) == (["first"], [])


async def test_what_fails_is_told(site: Site) -> None:
    site.kernel.error = Retryable("no")
    await site.ends(1)
    assert (site.removed, site.errors) == (["first"], [site.kernel.error])


async def test_a_key_that_lives_again_is_removed_anew(busy: Site) -> None:
    """While the answer for its older life is still to come; that answer does not end the removal of the new one."""
    busy.departures.tell(1, 2)
    await until(lambda: not busy.removals.holds(FIRST))
    busy.removals.add(Doomed(FIRST, 3))
    await until(lambda: len(busy.kernel.batches) == 2)
    busy.kernel.may_end.release()
    await asyncio.sleep(0.01)
    assert busy.removals.holds(FIRST)
    busy.departures.tell(3, 4)
    await until(lambda: busy.removed == ["first", "first"])


async def test_removals_wait_side_by_side(busy: Site) -> None:
    """One that waits for its answer does not hold up the next."""
    busy.add("second")
    await until(lambda: busy.kernel.batches == [["first"], ["second"]])
    busy.add("third", "fourth")
    await busy.ends(2)
    await until(lambda: len(busy.kernel.batches) == 3)
    assert busy.kernel.batches[2] == ["third", "fourth"]


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
