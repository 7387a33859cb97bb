"""Tables and fields at any width: no word is broken, and a line is too long only where one word is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from netplumb.api.cli.layout import Columns, Fields, broken, fitting

WORDS = st.lists(st.text("ab-/:", min_size=1, max_size=20), max_size=5).map(" ".join)
WIDTHS = st.integers(10, 100)


def plain(lines: object) -> list[str]:
    return [line.plain for line in lines]  # type: ignore[attr-defined]


def fits(lines: list[str], width: int) -> bool:
    return all(len(line) <= width or len(line.split()) == 1 for line in lines)


@given(st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=4), WIDTHS)
def test_every_word_of_a_table_is_whole(rows: list[tuple[str, str, str]], width: int) -> None:
    table = Columns(("ONE", "TWO", "THREE"), list(rows))
    lines = plain(table.lines(width))
    assert sorted(" ".join(map(" ".join, rows)).split()) == sorted(
        word for line in lines for word in line.split() if word not in table.header
    )
    assert fits(lines, width)


@given(st.lists(st.tuples(st.text("ab", min_size=1, max_size=8), WORDS), max_size=4), WIDTHS)
def test_every_word_of_a_field_is_whole(rows: list[tuple[str, str]], width: int) -> None:
    lines = plain(Fields(rows).lines(width))
    assert sorted(word for line in lines for word in line.split()) == sorted(" ".join(map(" ".join, rows)).split())
    assert fits(lines, width)


@given(WORDS, WIDTHS)
def test_a_line_goes_on_indented_and_keeps_its_styles(words: str, width: int) -> None:
    text = Text.assemble((words, "red"))
    lines = list(broken(text, width))
    assert " ".join(plain(lines)).split() == words.split()
    assert fits(plain(lines), width)
    assert all(any(span.style == "red" for span in line.spans) for line in lines if line.plain.strip())


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=6), st.integers(0, 120))
def test_columns_become_no_narrower_than_their_words_and_fill_no_more_than_there_is(
    columns: list[tuple[int, int]], width: int
) -> None:
    natural, least = [max(pair) for pair in columns], [min(pair) for pair in columns]
    widths = fitting(natural, least, width)
    assert (widths is None) == (sum(least) > width)
    if widths is not None:
        assert sum(widths) <= width
        assert all(low <= it <= high for low, it, high in zip(least, widths, natural, strict=True))
        assert widths == natural or sum(natural) > width


def test_what_fits_stands_side_by_side() -> None:
    table = Columns(("NAME", "ADDRESSES"), [("web", "10.99.0.2 fd99::2"), ("db", "")])
    assert plain(table.lines(80)) == ["NAME  ADDRESSES", "web   10.99.0.2 fd99::2", "db"]
    assert plain(table.lines(17)) == ["NAME  ADDRESSES", "web   10.99.0.2", "      fd99::2", "db"]
    assert plain(table.lines(14)) == ["NAME       web", "ADDRESSES", "  10.99.0.2", "  fd99::2", "", "NAME  db"]
