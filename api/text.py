"""Text that is safe to show: in a terminal, in a gRPC status message, in a line of a log."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text on one line, with every character that does not print as an escape: `\\n`, `\\x1b`, `\\udc80`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def within_bytes(text: str, limit: int) -> str:
    """The text, cut after a whole character where its UTF-8 would be longer than `limit` bytes."""
    encoded = text.encode()
    return text if len(encoded) <= limit else encoded[: limit - 3].decode(errors="ignore") + "…"


def counted(number: int, noun: str) -> str:
    """`1 change`, `2 changes`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


NO_UPLINK = (
    "no default route, nor one to half of all addresses, leads out of this node in the tables that routing rules name"
)
"""What was looked for where no uplink was found."""
