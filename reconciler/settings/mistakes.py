"""PURE: what pydantic found wrong → one line per mistake, in the words of the person who wrote the value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from netplumb.models.spelling import unknown
from netplumb.reconciler.settings.documents import Path, shown

_WORDS = {
    "missing": "is missing",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "path_type": "must be a path",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_type": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "string_unicode": "must be text that UTF-8 can hold",
    "ip_v4_address": "is not an IP address",
    "ip_v6_address": "is not an IP address",
}

_NAMING = frozenset({"bool_parsing", "int_parsing", "int_from_float", "float_parsing", "enum", "literal_error"})
"""The kinds whose words gain from the value that was given."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """One wrong value: where it stands, and why it is refused. `str()` names both."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{dotted(self.path)}: {self.reason}" if self.path else self.reason


def wrongs(error: ValidationError, model: type[BaseModel], data: object) -> Iterator[Wrong]:
    """Every mistake once. A union of types that all refuse a value is one mistake."""
    seen = set()
    for detail in error.errors(include_url=False, include_context=True):
        wrong = _wrong(detail, model, data)
        if wrong not in seen:
            seen.add(wrong)
            yield wrong


def dotted(path: Path) -> str:
    """`netns.path`, `addresses[0]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = shown(part)
            text += f".{name}" if text else name
    return text


def _wrong(detail: ErrorDetails, model: type[BaseModel], data: object) -> Wrong:
    path = _written(detail["loc"], data)
    if detail["type"] == "extra_forbidden":
        return Wrong(path, unknown(shown(str(path[-1])), _fields(model, path[:-1])))
    if detail["type"] == "missing":
        return Wrong(detail["loc"], _WORDS["missing"])
    if detail["type"] == "too_long":
        return Wrong(path, f"has more than {detail['ctx']['max_length']} entries")
    if detail["type"] == "value_error":
        reason = shown(str(detail["ctx"]["error"]))
        # A rule over several fields names the field itself, which is then where the mistake stands.
        name, colon, rest = reason.partition(": ")
        if not path and colon and name in model.model_fields:
            return Wrong((name,), rest)
        return Wrong(path, reason)
    reason = _WORDS.get(detail["type"]) or re.sub(r"^\w+ should", "must", detail["msg"])
    value = detail["input"]
    if detail["type"] in _NAMING and isinstance(value, str):
        reason = f"{reason}, not {shown(value)}"
    return Wrong(path, reason)


def _written(loc: Path, data: Any) -> Path:
    """The part of pydantic's location that the writer wrote: without the branches of a union."""
    path: list[str | int] = []
    for part in loc:
        if not (part in data if isinstance(data, dict) else isinstance(data, list) and isinstance(part, int)):
            break
        data = data[part]
        path.append(part)
    return tuple(path)


def _fields(model: type[BaseModel], path: Path) -> list[str]:
    """The fields of the model that stands at the path, for a suggestion; none where no model does."""
    for part in path:
        if isinstance(part, int):
            continue
        field = next((it for name, it in model.model_fields.items() if part == (it.alias or name)), None)
        annotation = field.annotation if field is not None else None
        nested = [it for it in _arguments(annotation) if isinstance(it, type) and issubclass(it, BaseModel)]
        if not nested:
            return []
        model = nested[0]
    return [it.alias or name for name, it in model.model_fields.items()]


def _arguments(annotation: object) -> Iterator[object]:
    """The annotation and all that it is made of."""
    yield annotation
    for argument in get_args(annotation):
        yield from _arguments(argument)
