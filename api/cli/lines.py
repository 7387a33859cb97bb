"""Text on its way to a person: lines end between words, and none is longer than the terminal is wide.

A word that is longer than that (an id of 200 characters, a path) is left whole: it can be copied, and halves cannot.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import TextIO

import typer

WIDE = 4096
"""Columns where nobody says how many there are: a script's lines are not to be wrapped."""
_TERM_MAX = 30
_GAP = 2


def columns(stream: TextIO) -> int:
    """Those of the terminal, or as many as COLUMNS says, which watch(1) sets for what it runs."""
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and int(said):
        return int(said)
    try:
        return os.get_terminal_size(stream.fileno()).columns or WIDE
    except (OSError, ValueError):  # no terminal, or, in tests, no file at all
        return WIDE


def wrapped(text: str, width: int, rest: str = "") -> list[str]:
    """The lines of the text, what one of them goes on with in the next behind `rest`."""
    lines = []
    for line in text.splitlines() or [""]:
        lines += textwrap.wrap(
            line, max(width, 1), subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
        ) or [""]
    return lines


def definitions(rows: Sequence[tuple[str, str]], width: int, indent: str = "  ") -> Iterator[str]:
    """Terms on the left, what they mean on the right; that of a long term begins in the line below it."""
    column = len(indent) + min(max((len(term) for term, _ in rows), default=0), _TERM_MAX) + _GAP
    for term, meaning in rows:
        lines = wrapped(meaning, max(width - column, 1)) if meaning else []
        head = f"{indent}{term}"
        if lines and len(head) + _GAP <= column:
            head = head.ljust(column) + lines.pop(0)
        yield head
        yield from (" " * column + line for line in lines)


def say(message: str, *, err: bool = False) -> None:
    """Print a message, a line for each of its lines where they fit."""
    stream = sys.stderr if err else sys.stdout
    for line in wrapped(message, columns(stream), "  "):
        typer.echo(line, err=err)


def tell(message: str) -> None:
    """Print what went wrong, or is to be known, beside the answer."""
    for line in message.splitlines():
        say(f"netplumb: {line}", err=True)


def flush() -> None:
    """Raises OSError where what was printed cannot be written."""
    if sys.stdout is not None:  # a shell may close it
        sys.stdout.flush()


def give_up_stdout() -> bool:
    """Whether standard output takes nothing more, which only one more character can tell. Then what is left goes
    nowhere, so that Python does not try again at its end."""
    try:
        typer.echo()
        flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False
