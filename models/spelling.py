"""Names that nobody knows, and the known one that may be meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def unknown(name: str, known: Iterable[str]) -> str:
    """Why a name is refused, or has no effect."""
    close = get_close_matches(name, list(known), n=1)
    return f"is unknown; did you mean {close[0]}?" if close else "is unknown"
