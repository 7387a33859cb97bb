"""One command's conversation with the daemon, and what its failure means to a script."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn, TypeVar

import grpc
import typer

from netplumb.api.cli.exits import Exit
from netplumb.api.cli.lines import tell
from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.client.conversation import converse
from netplumb.api.client.errors import ClientError
from netplumb.api.unixsocket import why_unreachable

Answer = TypeVar("Answer")

EXITS = {
    grpc.StatusCode.INVALID_ARGUMENT: Exit.USAGE,
    grpc.StatusCode.UNAVAILABLE: Exit.UNAVAILABLE,
    grpc.StatusCode.NOT_FOUND: Exit.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS: Exit.HELD,
    grpc.StatusCode.DEADLINE_EXCEEDED: Exit.TIMEOUT,
}


def call(socket: Path, timeout_s: float, ask: Callable[[AsyncClient], Awaitable[Answer]]) -> Answer:
    """Ask the daemon. Every failure is one line on stderr and an exit code."""
    _check_reachable(socket)
    try:
        return converse(socket, timeout_s, ask)
    except ClientError as error:
        fail(error.message, EXITS.get(error.code, Exit.FAILED))


def fail(message: str, code: Exit) -> NoReturn:
    tell(message)
    raise typer.Exit(code)


def _check_reachable(socket: Path) -> None:
    """Waiting helps against a daemon that restarts, and not against missing rights. Who waits is told for what."""
    error = why_unreachable(socket)
    if isinstance(error, PermissionError):
        fail(f"no access to {socket}: {error.strerror}", Exit.UNAVAILABLE)
    if error is not None and sys.stderr.isatty():
        tell(f"waiting for a daemon on {socket}: {error.strerror}")
