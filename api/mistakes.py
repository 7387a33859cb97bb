"""What pydantic found wrong with a wish, in few words. Where it was wrong, each API says in its own."""

from __future__ import annotations

from typing import TypeAlias

from pydantic import ValidationError

Location: TypeAlias = tuple[int | str, ...]


def first_mistake(error: ValidationError) -> tuple[Location, str]:
    """Where the first mistake is, empty for a rule over several fields, and what it is."""
    mistake = error.errors(include_url=False, include_input=False)[0]
    context = mistake.get("ctx", {})
    match mistake["type"]:
        case "value_error":
            message = str(context["error"])
        case "string_too_long":
            message = f"is longer than {context['max_length']} characters"
        case "string_too_short":
            message = "must not be empty"
        case "too_long":
            message = f"has more than {context['max_length']} entries"
        case _:
            message = mistake["msg"]
    return mistake["loc"], message
