"""One command's conversation with the daemon, and what its failure means to a script."""

from __future__ import annotations

import errno
import math
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from ssl import SSLError
from typing import NoReturn, TypeVar

import grpc
import typer

from netplumb.api.cli.exits import Exit
from netplumb.api.cli.keys import Contradiction, Unclear
from netplumb.api.cli.lines import tell
from netplumb.api.cli.options import Daemon, Elsewhere
from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.client.connection import reason
from netplumb.api.client.conversation import converse
from netplumb.api.client.errors import ClientError, Unreachable
from netplumb.api.client.remote import Remote

Answer = TypeVar("Answer")

EXITS = {
    grpc.StatusCode.INVALID_ARGUMENT: Exit.USAGE,
    grpc.StatusCode.UNAVAILABLE: Exit.UNAVAILABLE,
    grpc.StatusCode.NOT_FOUND: Exit.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS: Exit.HELD,
    grpc.StatusCode.DEADLINE_EXCEEDED: Exit.TIMEOUT,
}


HOW_TO_START = "start one with `systemctl start netplumb` or `netplumb daemon`, or wait for one with --wait"


def call(daemon: Daemon, ask: Callable[[AsyncClient], Awaitable[Answer]]) -> Answer:
    """Ask the daemon. Every failure is one line on stderr and an exit code."""
    where = Remote(*daemon.where) if isinstance(daemon.where, Elsewhere) else daemon.where
    is_there = _check_reachable(where, daemon)
    try:
        return converse(where, daemon.timeout_s, ask, partial(_tell_silence, where, daemon) if is_there else None)
    except Contradiction as error:
        fail(str(error), Exit.USAGE)
    except Unclear as error:
        fail(str(error), Exit.NOT_FOUND)
    except ClientError as error:
        fail(error.message, EXITS.get(error.code, Exit.FAILED))


def fail(message: str, code: Exit) -> NoReturn:
    tell(message)
    raise typer.Exit(code)


def _tell_silence(where: Path | Remote, daemon: Daemon) -> None:
    """One that hangs takes connections, and its kernel does so for one that is stopped."""
    at_most = f"for up to {daemon.timeout_s:g} s (--timeout)" if math.isfinite(daemon.timeout_s) else "without end"
    tell(f"the daemon on {where} has not answered yet; waiting for it {at_most}")


def _check_reachable(where: Path | Remote, daemon: Daemon) -> bool:
    """Whether a daemon is there. Who would wait in vain is told at once, and who waits is told for what: missing rights
    do not heal, nor does a path that is too long, and a daemon that does not run may have to be started by who asks."""
    error = reason(where)
    if error is None:
        return True
    message = Unreachable(where, error).message
    if isinstance(error, PermissionError | SSLError) or error.errno == errno.ENAMETOOLONG:
        fail(message, Exit.UNAVAILABLE)
    if not daemon.wait and isinstance(where, Remote):
        fail(message, Exit.UNAVAILABLE)
    if not daemon.wait:
        fail(f"{message}; {HOW_TO_START}", Exit.UNAVAILABLE)
    if sys.stderr.isatty():
        tell(f"{message}; waiting for one")
    return False
