"""What docs/policy.md says that policies cost is one measurement, as it is kept."""

from __future__ import annotations

from tests.bench.policy import page


def test_the_page_is_up_to_date() -> None:
    """Its section is what `python -m tests.bench.policy.page` writes now."""
    assert page.FILE.read_text() == page.rendered()
