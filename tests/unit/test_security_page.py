"""What docs/security.md says is held by tests, is."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_each_promise_names_tests_that_there_are() -> None:
    named = set(re.findall(r"`(test_\w+\*?)`", (ROOT / "docs" / "security.md").read_text()))
    assert len(named) > 20
    missing = {name for name in named if not list((ROOT / "tests").rglob(f"{name}.py"))}
    assert not missing
