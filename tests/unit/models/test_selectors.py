"""Label selectors, as `kubectl -l` takes them."""

from __future__ import annotations

import pytest

from netplumb.models.selectors import SELECTOR_MAX_CHARS, selector

WEB = {"app": "web", "tier": "front", "example.org/team": "a-1"}


@pytest.mark.parametrize(
    ("text", "selects"),
    [
        ("", True),
        ("app=web", True),
        ("app==web", True),
        (" app = web , tier=front", True),
        ("app=web,tier=back", False),
        ("app!=web", False),
        ("app!=db", True),
        ("zone!=a", True),
        ("app in (db, web)", True),
        ("app in (db)", False),
        ("app notin (db,web)", False),
        ("zone notin (a)", True),
        ("tier", True),
        ("zone", False),
        ("!zone", True),
        ("! tier", False),
        ("example.org/team in (a-1),app", True),
        ("in in (a)", False),
        ("app=", False),
    ],
)
def test_selects(text: str, selects: bool) -> None:
    assert selector(text).selects(WEB) is selects


def test_an_empty_value_is_a_value() -> None:
    assert selector("app=").selects({"app": ""})
    assert selector("app in (,web)").selects({"app": ""})


@pytest.mark.parametrize(
    "text", [",", "app=web,", "=web", "app=web tier=front", "app in web", "app in (a", "a=b=c", "app in ()x", "!!app"]
)
def test_what_is_no_selector_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not like app=web"):
        selector(text)


def test_a_selector_is_bounded() -> None:
    with pytest.raises(ValueError, match="longer than 4096"):
        selector("a" * (SELECTOR_MAX_CHARS + 1))
