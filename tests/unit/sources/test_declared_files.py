"""Declared files on their way into desired state: in slices, so that a file of thousands holds nobody up."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from netplumb.reconciler.desired.declarations import Declarations
from netplumb.reconciler.desired.store import Change
from netplumb.reconciler.sources import declared
from netplumb.reconciler.sources.declared import DeclaredFiles
from tests.unit.benches import WEB, Bench, declare, pools, record, texts, wish
from tests.unit.decide.policies.manifests import DENY_ALL, policies
from tests.unit.recorder import until

(DENY,) = policies(DENY_ALL)
MANY = [wish(f"w{number}") for number in range(100)]


@pytest.fixture(autouse=True)
def _a_step_a_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declared, "SLICE_S", 0.0)


async def unseen(_: object) -> None:
    """Nobody looks at the node's ports."""


async def rested() -> None:
    """Policies may change at any time."""


@pytest.fixture
def files(bench: Bench) -> DeclaredFiles:
    return DeclaredFiles(Declarations(bench.desired), lambda: None, unseen, rested)


@pytest.mark.parametrize("by_file", [True, False])
async def test_policies_change_when_the_last_change_has_rested(bench: Bench, *, by_file: bool) -> None:
    """Those of files, and of documents that are amended; who says what is said already waits for nothing."""
    waited: list[None] = []
    turn = asyncio.Event()

    async def rests() -> None:
        waited.append(None)
        await turn.wait()

    files = DeclaredFiles(Declarations(bench.desired), lambda: None, unseen, rests)

    def changes() -> Coroutine[Any, Any, None]:
        return files.declare_policies({"file/a": [DENY]}) if by_file else files.amend_policies("applied", [DENY], ())

    task = asyncio.create_task(changes())
    await until(lambda: len(waited) == 1)
    assert not bench.desired.policies.in_force.policies
    turn.set()
    await task
    assert bench.desired.policies.in_force.policies == (DENY,)
    await changes()
    assert len(waited) == 1


class Turns:
    """Counts the turns of others on the event loop."""

    def __init__(self) -> None:
        self.taken = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        task = asyncio.get_running_loop().create_task(self._count())
        try:
            yield
        finally:
            task.cancel()

    async def _count(self) -> None:
        while True:
            self.taken += 1
            await asyncio.sleep(0)


async def test_others_have_their_turn_while_a_large_file_is_declared_and_given_up(files: DeclaredFiles) -> None:
    for specs in (MANY, []):
        turns = Turns()
        with turns.counted():
            await files.declare("file/a", specs)
        assert turns.taken >= len(MANY)


async def test_others_have_their_turn_while_many_wait_for_an_address(bench: Bench, files: DeclaredFiles) -> None:
    """One address is let go, and of all that wait for it one has it."""
    bench.let_go = files.let_go
    bench.desired.configure(pools("10.0.0.0/30"))
    bench.desired.attach(wish(), 7)
    await files.declare("file/a", MANY)
    assert len(list(bench.desired.claims.waiting())) == len(MANY)
    task = asyncio.create_task(files.run())
    turns = Turns()
    with turns.counted():
        bench.desired.withdraw(WEB)
        bench.desired.forget(WEB)
        assert len(list(bench.desired.claims.waiting())) == len(MANY), "nobody waits for the release to end"
        await until(lambda: bool(bench.desired.attachments))
        await until(lambda: turns.taken >= 2 * len(MANY))
    task.cancel()
    assert len(list(bench.desired.claims.waiting())) == len(MANY) - 1
    assert texts(record(bench.desired, MANY[0].key)) == ["10.0.0.2"]


async def test_what_waited_before_a_restart_is_taken_up_before_any_file_is_read(bench: Bench) -> None:
    bench.desired.attach(wish(), 7)
    declare(bench.desired, "file/a", [wish()])
    bench.store.commit(Change(delete=[WEB]))
    desired = bench.restart()
    task = asyncio.create_task(DeclaredFiles(Declarations(desired), lambda: None, unseen, rested).run())
    await until(lambda: WEB in desired.attachments)
    task.cancel()
    assert record(desired).source == "file/a"
