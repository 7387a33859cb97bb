"""The exit codes of the client commands, for scripts to rely on."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    OK = 0
    FAILED = 1
    USAGE = 2
    UNAVAILABLE = 3
    NOT_FOUND = 4
    HELD = 5
    TIMEOUT = 6


def told(failed: str = "failed") -> str:
    """The line of a client command's page that tells its exit codes."""
    return (
        f"Exit codes: 0 done, 1 {failed}, 2 wrong usage or request, 3 daemon unreachable or not ready, "
        "4 no such attachment, 5 held by another, 6 the kernel did not agree in time."
    )
