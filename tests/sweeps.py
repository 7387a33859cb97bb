"""A sweep holds one promise in many cases, which takes long: `make test` deals out the first case of each kind, and
`make sweeps` all the others. Where a case is a way with many points, `make test` stops at some of them only."""

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


def swept_points(
    cases: Iterable[_T], kind: Callable[[_T], object], name: Callable[[_T], str] = str, *, every: int
) -> list[ParameterSet]:
    """The parameters of a test that goes through the points of each case, the last of which says of how many points it
    takes one: of the first case of each kind every so manieth, and in the sweep all of each."""
    kinds: dict[object, ParameterSet] = {}
    parameters = []
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        kinds.setdefault(kind(case), pytest.param(*values, every, id=f"{name(case)}, some"))
        parameters.append(pytest.param(*values, 1, id=name(case), marks=pytest.mark.sweep))
    return [*kinds.values(), *parameters]
