"""Which interfaces of others are on top of ours, by what is heard and what is read."""

from __future__ import annotations

from netplumb.models.kernel import Link, Scope
from netplumb.reconciler.converge.uppers import Upper, Uppers, upper_of

ON_OURS = Upper(7, "mv0", "macvlan")


def test_a_veth_is_on_top_of_nothing() -> None:
    """It names its other end as others name what they are on; and one in another namespace is not seen from here."""
    assert upper_of(Link(Scope.NODE, "mv0", kind="macvlan", peer_index=7)) == ON_OURS
    assert upper_of(Link(Scope.NODE, "v0", kind="veth", peer_index=7)) is None
    assert upper_of(Link(Scope.NODE, "mv0", kind="macvlan", peer_index=7, peer_nsid=3)) is None
    assert upper_of(Link(Scope.NODE, "eth0")) is None


def test_a_read_that_is_older_than_an_event_tells_nothing() -> None:
    """What was heard since stands until the next read."""
    uppers = Uppers()
    began = uppers.changes
    uppers.heard({9: ON_OURS})
    assert not uppers.seen({}, began_at=began, whole=True)
    assert uppers.on(7) == [ON_OURS]
    assert uppers.seen({}, began_at=uppers.changes, whole=True) == {7}
    assert not uppers.on(7)


def test_a_read_in_part_takes_nothing_away() -> None:
    """What it lacks may be there."""
    uppers = Uppers()
    uppers.heard({9: ON_OURS})
    second = Upper(7, "mv1", "macvlan")
    assert uppers.seen({10: second}, began_at=uppers.changes, whole=False) == {7}
    assert (uppers.on(7), uppers.names()) == ([ON_OURS, second], ("mv0", "mv1"))
    uppers.heard({9: None})
    assert uppers.names() == ("mv1",)
