"""The one read of the node that a resync shares: never told of a key that it does not tell of any more."""

from __future__ import annotations

import asyncio

from netplumb.models.attachment import AttachmentKey
from netplumb.reconciler.converge.observe import NodeSnapshot
from netplumb.reconciler.loop.noderead import FROM_KEYS, NodeRead

A, B = (AttachmentKey(name, "eth0") for name in "ab")
MANY = FROM_KEYS


class Node:
    """Counts how often it is read, and can be held up in it."""

    def __init__(self) -> None:
        self.reads: list[NodeSnapshot] = []
        self.go = asyncio.Event()
        self.go.set()

    async def read(self) -> NodeSnapshot:
        await self.go.wait()
        self.reads.append(NodeSnapshot({}, {}, {}, {}))
        return self.reads[-1]


async def test_one_read_serves_every_slice_of_a_resync() -> None:
    """However many slices, the node is read once, so that a resync costs as much as there are attachments."""
    node = Node()
    read = NodeRead(node.read)
    read.marked()
    for _ in range(10):
        await read.prepare(MANY)
        assert read.of(A) is node.reads[-1]
    assert len(node.reads) == 1


async def test_few_keys_are_not_worth_a_read_but_the_first_is() -> None:
    """Some keys are read one by one, or by what was read before where that serves; at first all is looked for."""
    node = Node()
    read = NodeRead(node.read)
    await read.prepare(1)
    assert read.of(A) is node.reads[0]
    read.marked()
    await read.prepare(FROM_KEYS - 1)
    assert read.of(A) is None
    await read.prepare(MANY)
    await read.prepare(1)
    assert read.of(A) is node.reads[1]


async def test_a_mark_asks_for_what_is_there_from_then_on() -> None:
    """What was marked after a read is not judged by it, also where the mark came in the middle of the read."""
    node = Node()
    read = NodeRead(node.read)
    await read.prepare(MANY)
    read.marked()
    await read.prepare(1)
    assert read.of(A) is None
    node.go.clear()
    reading = asyncio.create_task(read.prepare(MANY))
    await asyncio.sleep(0)
    read.marked()
    node.go.set()
    await reading
    assert read.of(A) is node.reads[1], "it tells of those that were marked before"
    await read.prepare(MANY)
    assert read.of(A) is node.reads[2]


async def test_what_a_pass_may_have_changed_is_read_anew() -> None:
    """Also where the pass was made while the node was read."""
    node = Node()
    read = NodeRead(node.read)
    await read.prepare(MANY)
    read.passed([A])
    assert read.of(A) is None
    assert read.of(B) is node.reads[0]
    read.marked()
    node.go.clear()
    reading = asyncio.create_task(read.prepare(MANY))
    await asyncio.sleep(0)
    read.passed([B])
    node.go.set()
    await reading
    assert read.of(A) is node.reads[1]
    assert read.of(B) is None
    read.drop()
    assert read.of(A) is None
