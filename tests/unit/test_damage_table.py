"""The table of damages is what docs/damage.md says, and every line of it is tested."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from pathlib import Path

from tests.damage import measured, page
from tests.damage.table import DAMAGES, FATES, Noticed
from tests.damage.ways import WAYS

TESTS = Path(__file__).parents[1] / "e2e" / "test_damage_namespaces.py"


def test_the_page_is_up_to_date() -> None:
    """docs/damage.md is what `python -m tests.damage.page` writes now."""
    assert page.FILE.read_text() == page.rendered()


def test_no_kind_of_damage_stands_twice() -> None:
    """Each has a name of its own in its place."""
    assert [name for name, count in Counter(damage.id for damage in DAMAGES).items() if count > 1] == []


def test_what_is_measured_is_in_the_table() -> None:
    """The kept measurement has no kind that is there no more, or that a resync finds; a new one is measured later."""
    kinds = (*DAMAGES, *chain(*WAYS.values()))
    assert measured.recorded().kinds.keys() <= {d.id for d in kinds if d.noticed is not Noticed.RESYNC}


def test_each_fate_has_its_test() -> None:
    """What a fate says is proven by the test that it names."""
    text = TESTS.read_text()
    for fate in FATES:
        assert f"def {fate.proven_by}(" in text
