"""Things in words."""

from __future__ import annotations

import pytest

from netplumb.models.words import several


@pytest.mark.parametrize(
    ("told", "between", "words"),
    [
        ("", "; ", ""),
        ("ab", "; ", "a; b"),
        ("abcd", "; ", "a; b; and 2 more"),
        ("abcd", ", ", "a, b and 2 more"),
    ],
)
def test_so_many_are_told_and_how_many_more_there_are(told: str, between: str, words: str) -> None:
    """Two of them, here."""
    assert several(list(told), 2, between) == words
