"""How long damage lasted: exactly where something told of it, at most where a look found it."""

from __future__ import annotations

from netplumb.reconciler.history.lasting import Lasted, Lasting


def test_what_was_heard_of_lasted_since_then() -> None:
    """Since the first that told of it, and until it is right again, however many looks that takes."""
    lasting: Lasting[str] = Lasting()
    assert lasting.looked("web", 1.0, right=True) == Lasted()
    lasting.noticed("web", 7.0)
    lasting.noticed("web", 8.0)
    assert lasting.looked("web", 8.5, right=False) == Lasted(1.5)
    assert lasting.looked("web", 9.0, right=True) == Lasted(2.0)
    assert Lasted(2.0).heard_s == 2.0


def test_what_a_look_finds_lasted_since_the_last_one_at_most() -> None:
    """Each key by itself."""
    lasting: Lasting[str] = Lasting()
    lasting.looked("web", 1.0, right=True)
    lasting.noticed("db", 5.0)
    found = lasting.looked("web", 9.0, right=True)
    assert found == Lasted(8.0, at_most=True)
    assert found.heard_s is None
    assert lasting.looked("web", 10.0, right=True) == Lasted(1.0, at_most=True)


def test_what_was_never_seen_to_be_right_is_not_known() -> None:
    lasting: Lasting[str] = Lasting()
    assert lasting.looked("web", 1.0, right=False) == Lasted()
    assert lasting.looked("web", 2.0, right=True) == Lasted()
    lasting.forget("web")
    assert lasting.looked("web", 3.0, right=True) == Lasted()
