"""Questions to whoever sits at the terminal. A list that comes in by stdin does not take the answer's place."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

TERMINAL = Path("/dev/tty")


def is_at_terminal() -> bool:
    """Whether a person is there to be asked: one who types, or one who reads what comes out."""
    return sys.stdin.isatty() or sys.stdout.isatty()


def confirmed(question: str) -> bool:
    """Whether the answer is yes. Where nobody can be asked it is no."""
    if sys.stdin.isatty():
        return typer.confirm(question, err=True)
    try:
        with TERMINAL.open("w") as asked, TERMINAL.open() as answered:
            asked.write(f"{question} [y/N]: ")
            asked.flush()
            return answered.readline().strip().lower() in ("y", "yes")
    except OSError:
        return False
