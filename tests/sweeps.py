"""A sweep holds one promise in many cases, which takes long: `make test` deals out the first case of each kind, and
`make sweeps` all the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import pytest
from _pytest.mark import ParameterSet

_T = TypeVar("_T")


def swept(
    cases: Iterable[_T],
    kind: Callable[[_T], object],
    name: Callable[[_T], str] = str,
    *,
    marked: Callable[[_T], Sequence[pytest.MarkDecorator]] = lambda _: (),
) -> list[ParameterSet]:
    """The parameters of a test; a case that is a tuple has several, and may be `marked` otherwise too."""
    kinds: set[object] = set()
    parameters = []
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        marks = (*marked(case), *((pytest.mark.sweep,) if kind(case) in kinds else ()))
        kinds.add(kind(case))
        parameters.append(pytest.param(*values, id=name(case), marks=marks))
    return parameters
