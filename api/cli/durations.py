"""Durations, as they are typed."""

from __future__ import annotations

import re

import typer

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def duration_s(text: str) -> float:
    """Such as 90s, 15m, 1h30m or 2d, in seconds."""
    if not text or not re.fullmatch(r"(\d+(\.\d+)?[smhd])*", text):
        raise typer.BadParameter(f"{text!r} is no duration such as 90s, 15m, 1h30m or 2d")
    return sum(float(number) * _UNITS[unit] for number, _, unit in re.findall(r"(\d+(\.\d+)?)([smhd])", text))


def timeout_s(text: str) -> float:
    """The same, and a number of seconds alone."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = duration_s(text)
    if not 0.001 <= seconds < float("inf"):
        raise typer.BadParameter(f"{text!r} is no time to wait")
    return seconds
