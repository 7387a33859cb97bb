"""Which kinds of damage cannot be done where the daemon owns its table."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.damage.table import Damage, Group


def marks(damage: Damage) -> Sequence[pytest.MarkDecorator]:
    """Those of its test."""
    return (pytest.mark.open_table,) if damage.group in (Group.TABLE, Group.POLICIES) else ()
