"""The one read of the node that a resync shares: never told of a key that it does not tell of any more."""

from __future__ import annotations

import asyncio

from netplumb.models.attachment import AttachmentKey
from netplumb.reconciler.converge.observe import NodeSnapshot
from netplumb.reconciler.loop.noderead import FROM_KEYS, NodeRead

A, B, *OTHERS = (AttachmentKey(f"web-{number}", "eth0") for number in range(20))
MANY = [A, B, *OTHERS]
FEW = MANY[: FROM_KEYS - 1]


class Node:
    """Counts how often it is read, and can be held up in it."""

    def __init__(self) -> None:
        self.reads: list[NodeSnapshot] = []
        self.go = asyncio.Event()
        self.go.set()

    async def read(self) -> NodeSnapshot:
        await self.go.wait()
        self.reads.append(NodeSnapshot({}, {}, {}, {}, {}))
        return self.reads[-1]


async def test_one_read_serves_every_slice_of_a_resync() -> None:
    """However many slices, the node is read once, so that a resync costs as much as there are attachments."""
    node = Node()
    read = NodeRead(node.read)
    for _ in range(10):
        await read.prepare(MANY)
        assert read.of(A) is node.reads[-1]
    assert await read.whole() is node.reads[-1], "it serves those who look for what nobody wants, too"
    assert len(node.reads) == 1


async def test_few_keys_are_not_worth_a_read_but_the_first_is() -> None:
    """Some keys are read one by one, or by what was read before where that serves; at first all is looked for."""
    node = Node()
    read = NodeRead(node.read)
    await read.prepare([A])
    assert read.of(A) is node.reads[0]
    read.drop()
    await read.prepare(FEW)
    assert read.of(A) is None
    await read.prepare([A], resync=True)
    assert read.of(A) is node.reads[1]
    read.drop()
    await read.prepare(MANY)
    await read.prepare([A])
    assert read.of(A) is node.reads[2]


async def test_keys_that_are_marked_meanwhile_do_not_have_the_node_read_for_each_slice() -> None:
    """Where something is marked all the time, what was read goes on to serve all others: a resync comes to an end."""
    node = Node()
    read = NodeRead(node.read)
    await read.prepare(MANY)
    for key in OTHERS[:FROM_KEYS]:
        read.marked(key)
        await read.prepare([A, B, key])
        assert read.of(A) is node.reads[0]
        assert read.of(key) is None
    assert len(node.reads) == 1


async def test_a_mark_asks_for_what_is_there_from_then_on() -> None:
    """What was marked after a read is not judged by it, also where the mark came in the middle of the read."""
    node = Node()
    read = NodeRead(node.read)
    await read.prepare(MANY)
    for key in MANY:
        read.marked(key)
    assert read.of(A) is None
    node.go.clear()
    reading = asyncio.create_task(read.prepare(MANY))
    await asyncio.sleep(0)
    for key in OTHERS:
        read.marked(key)
    node.go.set()
    await reading
    assert read.of(A) is node.reads[1], "it tells of those that were marked before"
    assert read.of(OTHERS[0]) is None
    await read.prepare(OTHERS)
    assert read.of(OTHERS[0]) is node.reads[2]


async def test_what_a_pass_may_have_changed_is_read_anew() -> None:
    """Also where the pass was made while the node was read."""
    node = Node()
    read = NodeRead(node.read)
    await read.prepare(MANY)
    read.passed([A])
    assert read.of(A) is None
    assert read.of(B) is node.reads[0]
    read.drop()
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
