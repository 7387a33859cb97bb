"""One netplumb a node: two on different data directories would each undo what the other does.

The lock is a name in the kernel's abstract unix sockets. Those belong to a network namespace, as a node does, and go
with the process that holds them, however it ends. Anyone on the node may take such a name, so one that is held by a
process that could not be a netplumb of this node locks nothing.

The kernel tells who holds the name to whoever connects to it. A thread takes what connects, and closes it: connections
that nobody takes fill the backlog, for good, and then the next one to ask would not be told.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from struct import Struct
from threading import Thread

import structlog

from netplumb.models.errors import NetplumbError

NAME = b"\0netplumb/node"
_TIMEVAL = Struct("@ll")  # struct timeval
_UCRED = Struct("=iII")  # struct ucred: process, user, group; unix(7)
_TRIES = 5
_BACKLOG = 64  # who asks while the holder is busy or stopped is told all the same
_TIMEOUT_S = 1

log = structlog.get_logger(__name__)


class NodeInUseError(NetplumbError):
    """Another netplumb works on this node; the message names its process."""


class NodeLock:
    """Held from when it is made until it is closed. Made in the node's namespace; raises NodeInUseError."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._turning_away = Thread(target=_turn_away, args=(self._socket,), name="nodelock", daemon=True)
        try:
            self._take()
        except BaseException:
            self._socket.close()
            raise

    def _take(self) -> None:
        for _ in range(_TRIES):
            try:
                self._socket.bind(NAME)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                self._socket.listen(_BACKLOG)
                self._turning_away.start()
                return
            if (holder := _holder()) is None:
                continue  # it ended between the two questions
            process, user = holder
            if user not in (0, os.geteuid()):
                log.warning("the node's lock is held by a stranger, and is not heeded", process=process, user=user)
                return
            raise NodeInUseError(
                f"another netplumb daemon works on this node (process {process or 'unknown'}); stop it first"
            )
        raise NodeInUseError("another netplumb daemon works on this node; it cannot be told which process")

    def close(self) -> None:
        if self._turning_away.is_alive():
            self._socket.shutdown(socket.SHUT_RDWR)  # ends the thread's accept, which closing would not
            self._turning_away.join()  # until then the name is held
        self._socket.close()


def _turn_away(listening: socket.socket) -> None:
    """Closes what connects, until the lock is given up."""
    while True:
        try:
            listening.accept()[0].close()
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.EBADF):
                return
            time.sleep(_TIMEOUT_S)  # such as no free descriptor


def _holder() -> tuple[int, int] | None:
    """The process and the user that hold the name; None when nobody does any more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        # A timeout of Python's would not wait for room in a full backlog.
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL.pack(_TIMEOUT_S, 0))
        try:
            asking.connect(NAME)
        except ConnectionRefusedError:
            return None
        except OSError:  # such as a full backlog: somebody holds it and does not say who
            return 0, 0
        process, user, _ = _UCRED.unpack(asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        return process, user
