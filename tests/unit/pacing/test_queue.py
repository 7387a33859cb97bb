"""The queue of dirty keys: each once, the most urgent first, none starved within its kind."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netplumb.models.attachment import AttachmentKey
from netplumb.reconciler.pacing.queue import Queue, Urgency


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


ALL = tuple(Urgency)
A, B, C, D, E = (AttachmentKey(name, "eth0") for name in "abcde")


def taken(queue: Queue, *urgencies: Urgency) -> list[AttachmentKey]:
    found = []
    while (key := queue.take(urgencies or ALL, ())) is not None:
        found.append(key)
    return found


def test_the_most_urgent_comes_first_and_of_those_the_longest_marked() -> None:
    """An RPC's client and damage wait for no state file and no resync, and keys of one kind go in the order of their
    marks."""
    queue = Queue(Clock())
    queue.mark(A, Urgency.RESYNC)
    queue.mark(D, Urgency.WISH)
    queue.mark(E, Urgency.EVENT)
    queue.mark(C, Urgency.RPC)
    queue.mark(B, Urgency.RPC)
    assert taken(queue) == [C, B, E, D, A]


def test_a_key_marked_twice_waits_once() -> None:
    """Damage seen twice is mended by one pass."""
    queue = Queue(Clock())
    for _ in range(3):
        queue.mark(A, Urgency.EVENT)
    assert len(queue) == 1
    assert taken(queue) == [A]


def test_what_nobody_waits_for_any_more_waits_behind_what_somebody_does() -> None:
    """A wish whose client left keeps its age, and goes with those that no client waits for; others stay as they are."""
    queue = Queue(Clock())
    queue.mark(A, Urgency.RPC)
    queue.mark(B, Urgency.RPC)
    queue.mark(C, Urgency.EVENT)
    for key in (A, C, D):
        queue.calm(key)
    assert taken(queue) == [B, C, A]


def test_what_was_only_asked_for_is_not_worked_for_when_nobody_waits() -> None:
    """A client that asks again for what is there, and leaves, costs no pass; what anything else marked stays."""
    queue = Queue(Clock())
    queue.ask(A)
    queue.ask(B)
    queue.mark(B, Urgency.EVENT)
    queue.mark(C, Urgency.RESYNC)
    queue.ask(C)
    queue.ask(D)
    for key in (A, B, C):
        queue.calm(key)
    assert taken(queue) == [D, B, C]
    queue.ask(D)
    queue.ask(D)
    queue.calm(D)
    assert len(queue) == 0


def test_a_key_moves_up_and_never_down() -> None:
    """A resync's mark does not put an RPC's back; an RPC's takes a resync's to the front with its age."""
    clock = Clock()
    queue = Queue(clock)
    queue.mark(A, Urgency.RESYNC)
    clock.now = 5
    queue.mark(A, Urgency.RPC)
    queue.mark(A, Urgency.RESYNC)
    assert queue.age_s() == 5
    assert taken(queue, Urgency.RPC) == [A]
    assert len(queue) == 0


def test_a_key_that_is_worked_on_waits() -> None:
    """Two passes over one attachment never run at once; the next key is taken instead."""
    queue = Queue(Clock())
    queue.mark(A, Urgency.RPC)
    queue.mark(B, Urgency.RESYNC)
    assert queue.take(ALL, {A}) == B
    assert queue.take(ALL, {A}) is None
    assert queue.take(ALL, ()) == A


def test_only_the_asked_urgencies_are_taken() -> None:
    """Who serves RPCs alone takes nothing else."""
    queue = Queue(Clock())
    queue.mark(A, Urgency.RESYNC)
    assert queue.take([Urgency.RPC, Urgency.EVENT], ()) is None
    assert len(queue) == 1


def test_a_discarded_key_is_gone() -> None:
    """A key that nobody wants any more costs no pass."""
    queue = Queue(Clock())
    queue.mark(A, Urgency.EVENT)
    queue.discard(A)
    queue.discard(B)
    assert queue.take(ALL, ()) is None
    assert queue.age_s() == 0.0


marks = st.lists(st.tuples(st.sampled_from((A, B, C)), st.sampled_from(Urgency)))


@given(marks)
def test_every_marked_key_comes_out_exactly_once(some: list[tuple[AttachmentKey, Urgency]]) -> None:
    """No mark is lost and none is doubled, in the order of the highest urgency that each key was given."""
    queue = Queue(Clock())
    best: dict[AttachmentKey, Urgency] = {}
    for key, urgency in some:
        queue.mark(key, urgency)
        best[key] = min(urgency, best.get(key, urgency))
    found = taken(queue)
    assert len(found) == len(best)
    assert [best[key] for key in found] == sorted(best.values())


@given(marks)
def test_the_age_is_that_of_the_longest_wait(some: list[tuple[AttachmentKey, Urgency]]) -> None:
    """The oldest mark counts, however its key moved since."""
    clock = Clock()
    queue = Queue(clock)
    first: dict[AttachmentKey, float] = {}
    for key, urgency in some:
        queue.mark(key, urgency)
        first.setdefault(key, clock.now)
        clock.now += 1
    assert queue.age_s() == (clock.now - min(first.values()) if first else 0.0)
