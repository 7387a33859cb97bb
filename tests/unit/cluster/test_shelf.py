"""What is kept of a range of keys, in memory and on a shelf: the same answers, and on the shelf over a death."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from netplumb.reconciler.cluster.etcd.entries import Entry, key_text
from netplumb.reconciler.cluster.etcd.errors import Away
from netplumb.reconciler.cluster.mirror import Kept
from netplumb.reconciler.cluster.shelf import AtHand, InMemory, Shelf

NAME = "it.db"


def entry(value: str, revision: int) -> Entry:
    return Entry(value.encode(), revision, revision)


@pytest.fixture(params=["memory", "shelf", "both"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    if request.param == "memory":
        return InMemory({}, 0)
    shelf = Shelf(tmp_path / NAME, "/", as_left=True)
    return AtHand(shelf) if request.param == "both" else shelf


def test_keys_that_are_no_text_are_kept_apart_and_in_order(kept: Kept, tmp_path: Path) -> None:
    keys = [key_text(b"/x/" + it) for it in (b"a", b"a\0b", b"\xc3\xa4", b"\xfe", b"\xff")]
    kept.take({key: entry(str(number), number) for number, key in enumerate(keys, 1)}, 5)
    assert [kept.get(key) for key in keys] == [entry(str(number), number) for number in range(1, 6)]
    assert len(kept) == 5
    if isinstance(kept, Shelf):
        assert [key for key, _ in kept.below("/x/", "/x/", 10)] == keys
        assert [key for key, _ in kept.below("/x/", keys[2], 10)] == keys[3:]
        assert set(kept.all()) == set(keys)
    assert set(kept.replace({keys[3]: entry("4", 4)}, 6)) == {*keys} - {keys[3]}


def test_a_shelf_whose_keys_are_text_is_taken_over(tmp_path: Path) -> None:
    """As an earlier version left it."""
    with closing(sqlite3.connect(tmp_path / NAME, isolation_level=None)) as file:
        file.execute(
            "create table kept (key text primary key, value blob, created integer, modified integer) without rowid"
        )
        file.execute("create table at (position integer, keys text)")
        file.execute("insert into kept values ('/x/a', x'31', 2, 2)")
        file.execute("insert into at values (7, '/')")
    looked = Shelf(tmp_path / NAME, "/", as_left=True, looks_only=True)
    assert looked.all() == {"/x/a": entry("1", 2)}
    looked.close()
    shelf = Shelf(tmp_path / NAME, "/", as_left=True)
    assert (shelf.position, shelf.all(), shelf.get("/x/a")) == (7, {"/x/a": entry("1", 2)}, entry("1", 2))
    shelf.take({"/x/a": entry("2", 8)}, 8)
    assert (len(shelf), shelf.all()) == (1, {"/x/a": entry("2", 8)})
    shelf.close()


def test_changes_are_taken_with_the_position(kept: Kept) -> None:
    kept.take({"a": entry("1", 2), "b": entry("1", 2)}, 2)
    kept.take({"a": entry("2", 3), "b": None, "c": None}, 4)
    assert (kept.get("a"), kept.get("b"), len(kept), kept.position) == (entry("2", 3), None, 1, 4)


def test_what_was_read_whole_takes_the_place_of_what_was_known(kept: Kept) -> None:
    kept.take({"same": entry("1", 1), "other": entry("1", 2), "gone": entry("1", 3)}, 3)
    different = kept.replace({"same": entry("1", 1), "other": entry("2", 5), "new": entry("1", 6)}, 7)
    assert set(different) == {"other", "gone", "new"}
    assert (len(kept), kept.position, kept.get("gone")) == (3, 7, None)


def test_keys_are_had_in_their_order_a_few_at_a_time(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / NAME, "/", as_left=True)
    shelf.take({f"/n/{name}": entry(name, 1) for name in "cab"} | {"/o/x": entry("x", 1)}, 1)
    assert [key for key, _ in shelf.below("/n/", "/n/", 2)] == ["/n/a", "/n/b"]
    assert [key for key, _ in shelf.below("/n/", "/n/b", 2)] == ["/n/c"]


def test_one_of_another_machine_is_begun_anew(tmp_path: Path) -> None:
    before = Shelf(tmp_path / NAME, "/", as_left=True)
    before.take({"a": entry("1", 1)}, 1)
    before.close()
    after = Shelf(tmp_path / NAME, "/", as_left=False)
    assert (len(after), after.position) == (0, 0)


def test_one_of_other_keys_is_begun_anew(tmp_path: Path) -> None:
    """As where the node was called otherwise."""
    before = Shelf(tmp_path / NAME, "/nodes/a/", as_left=True)
    before.take({"/nodes/a/x": entry("1", 1)}, 1)
    before.close()
    after = Shelf(tmp_path / NAME, "/nodes/b/", as_left=True)
    assert (len(after), after.position) == (0, 0)


def test_one_that_is_damaged_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"no database at all" * 100)
    shelf = Shelf(tmp_path / NAME, "/", as_left=True)
    shelf.take({"a": entry("1", 1)}, 1)
    assert len(shelf) == 1


def test_who_only_looks_changes_nothing(tmp_path: Path) -> None:
    """Beside whoever writes it, and where there is none."""
    assert len(Shelf(tmp_path / NAME, "/", as_left=False, looks_only=True)) == 0
    assert not (tmp_path / NAME).exists()
    writing = Shelf(tmp_path / NAME, "/", as_left=True)
    writing.take({"a": entry("1", 1)}, 1)
    looking = Shelf(tmp_path / NAME, "/", as_left=False, looks_only=True)
    writing.take({"b": entry("1", 2)}, 2)
    assert (len(looking), looking.get("b")) == (2, entry("1", 2))
    with pytest.raises(Away):
        looking.take({"a": None}, 3)
    assert writing.get("a") == entry("1", 1)


def test_what_is_at_hand_is_on_the_shelf_as_soon(tmp_path: Path) -> None:
    """What was taken, what was read whole, and no more: a daemon that dies then knows it."""
    kept = AtHand(Shelf(tmp_path / NAME, "/", as_left=True))
    for change in (
        lambda: kept.take({"a": entry("1", 2), "b": entry("1", 2)}, 2),
        lambda: kept.take({"a": None}, 3),
        lambda: kept.replace({"c": entry("1", 5)}, 6),
    ):
        change()
        after = AtHand(Shelf(tmp_path / NAME, "/", as_left=True))
        assert (after, after.position) == (kept, kept.position)


def test_what_the_shelf_does_not_take_is_not_at_hand(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / NAME, "/", as_left=True)
    kept = AtHand(shelf)
    shelf.close()
    with pytest.raises(Away):
        kept.take({"a": entry("1", 2)}, 2)
    assert (len(kept), kept.position) == (0, 0)
