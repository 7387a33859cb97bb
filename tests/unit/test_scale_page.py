"""The page of how a cluster grows."""

from __future__ import annotations

from tests.bench.cluster import page


def test_the_page_is_up_to_date() -> None:
    """docs/scale.md is what `python -m tests.bench.cluster.page` writes now."""
    assert page.FILE.read_text() == page.rendered()
