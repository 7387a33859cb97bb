"""The canonical text of an nftables rule, shared by what renders rules and what reads them back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


def canonical_rule(expressions: Sequence[Any], comment: str | None = None) -> str:
    """libnftables' JSON of a rule (libnftables-json(5)) without what changes by itself: counter values."""
    stable = [_without_counts(expression) for expression in expressions]
    rule = {"expr": stable} if comment is None else {"comment": comment, "expr": stable}
    return json.dumps(rule, sort_keys=True, separators=(",", ":"))


def _without_counts(expression: Any) -> Any:
    # A counter with a name is an object that the rule refers to, and no count.
    if isinstance(expression, dict) and "counter" in expression and not isinstance(expression["counter"], str):
        return {"counter": None}
    return expression
