"""What docs/security.md says is held by tests, is; and its figures are those that were measured last."""

from __future__ import annotations

import re
from pathlib import Path

from tests.bench import hostilefigures

ROOT = Path(__file__).parents[2]


def test_each_promise_names_tests_that_there_are() -> None:
    named = set(re.findall(r"`(test_\w+\*?)`", (ROOT / "docs" / "security.md").read_text()))
    assert len(named) > 20
    missing = {name for name in named if not list((ROOT / "tests").rglob(f"{name}.py"))}
    assert not missing


def test_the_figures_are_those_that_were_recorded() -> None:
    assert hostilefigures.PAGE.read_text() == hostilefigures.rendered()


def test_each_promise_names_tests_or_a_bench() -> None:
    """Every row that promises something says where that is held."""
    rows = re.findall(r"^\| (?!-|It does|Who|meanwhile)(.+) \|$", hostilefigures.PAGE.read_text(), re.MULTILINE)
    promises = [row for row in rows if row.count(" | ") == 2]
    assert len(promises) > 20
    assert not [row for row in promises if "`" not in row.rpartition(" | ")[2] and "*" not in row]
