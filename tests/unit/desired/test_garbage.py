"""Garbage: what one source holds and does not name as alive."""

from __future__ import annotations

from netplumb.models.attachment import AttachmentKey
from netplumb.reconciler.desired.state import Desired
from tests.unit.benches import DB, WEB, declare, wish


def test_garbage_is_what_one_source_does_not_name_as_alive(desired: Desired) -> None:
    """By container id where there is one, by workload id else, and by interface; other sources' is never among it."""
    desired.attach(wish(container_id="c1"), 1)
    desired.attach(wish("db"), 2)
    desired.attach(wish(if_name="net1", container_id="c1"), 1)
    desired.attach(wish("pod", container_id="c1"), 3, "cni/pods")
    declare(desired, "file/a.yaml", [wish("declared")])

    def keys(*alive: AttachmentKey) -> set[AttachmentKey]:
        return {it.key for it in desired.garbage("rpc", frozenset(alive))}

    web1 = AttachmentKey("web", "net1")
    assert keys() == {WEB, DB, web1}
    assert keys(AttachmentKey("c1", "eth0")) == {DB, web1}
    assert keys(AttachmentKey("c1", "eth0"), AttachmentKey("c1", "net1"), DB) == set()
    assert keys(WEB) == {WEB, DB, web1}
    assert [it.key.workload_id for it in desired.garbage("cni/pods", frozenset())] == ["pod"]


def test_garbage_that_is_going_is_asked_for_again(desired: Desired) -> None:
    """A caller whose first try ran out of time waits for the same removals with its second."""
    desired.attach(wish(), 1)
    going = desired.withdraw(WEB)
    assert desired.garbage("rpc", frozenset()) == [going]
