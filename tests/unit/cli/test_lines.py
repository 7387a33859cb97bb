"""Lines for people: as long as there is room, and broken between words."""

from __future__ import annotations

from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplumb.api.cli.lines import WIDE, columns, definitions, wrapped

WORDS = st.lists(st.text("ab-_/:", min_size=1, max_size=12), min_size=1).map(" ".join)


@given(WORDS, st.integers(1, 40))
def test_words_stay_whole_and_a_line_is_too_long_only_by_one_word(text: str, width: int) -> None:
    lines = wrapped(text, width, "  ")
    assert " ".join(lines).split() == text.split()
    assert all(len(line) <= width or len(line.split()) == 1 for line in lines)


def test_what_is_a_line_stays_one() -> None:
    assert wrapped("a\n\nb c", 80) == ["a", "", "b c"]


def test_a_long_term_has_its_meaning_below() -> None:
    rows = [("-a", "one two"), ("--" + "x" * 40, "three")]
    assert list(definitions(rows, 42)) == [
        "  -a                              one two",
        "  --" + "x" * 40,
        "                                  three",
    ]


def test_who_is_no_terminal_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless COLUMNS says how much, as under watch(1)."""
    monkeypatch.delenv("COLUMNS", raising=False)
    assert columns(StringIO()) == WIDE
    monkeypatch.setenv("COLUMNS", "80")
    assert columns(StringIO()) == 80
