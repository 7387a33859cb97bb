"""Takes connections on a unix socket, of which nobody can have so many that there are none left for others.

asyncio's own way goes on to accept for as long as there is somebody, and where there is no free descriptor it tries
again, and says so, thousands of times at once. One descriptor is kept back here: even where others of this process have
taken all there are, who says nothing is sent away for who comes next. Those who connect and are gone again, faster than
they can be served, cost next to nothing, and where many come at once the event loop has other work between them.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from math import inf

import structlog

RETRY_S = 0.5
A_TURN = 8
REST_S = 0.01
"""Between two turns as long as there are more: 800 a second are served, which is more than can be attached."""

_GONE_A_TURN = 256
"""Of those in front of who is served. Whoever is behind them in the backlog is not to wait for a turn each."""

_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)  # accept(2)

log = structlog.get_logger(__name__)


class Accepting:
    """Each connection is given over to `serve`, in a task of its own. At most so many are served; those that come then
    wait in the backlog, until one ends or `make_room` tells which one is to end: a task, or None."""

    def __init__(
        self,
        listening: socket.socket,
        serve: Callable[[socket.socket], Coroutine[None, None, None]],
        most: int,
        make_room: Callable[[], asyncio.Task[None] | None],
    ) -> None:
        self._listening = listening
        self._serve = serve
        self._most = most
        self._make_room = make_room
        self.calls: set[asyncio.Task[None]] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._told_at = -inf
        self._closed = False
        self._spare: int | None = None
        self._keep_spare()
        listening.setblocking(False)
        self._listen()

    def _listen(self) -> None:
        self._retry = None
        asyncio.get_running_loop().add_reader(self._listening.fileno(), self._accept)

    def _pause(self, for_s: float) -> None:
        asyncio.get_running_loop().remove_reader(self._listening.fileno())
        self._retry = asyncio.get_running_loop().call_later(for_s, self._listen)

    def _accept(self) -> None:
        self._keep_spare()
        served, gone = 0, 0
        while served < A_TURN and gone < _GONE_A_TURN:
            if len(self.calls) >= self._most and not self._makes_room():
                self._pause(RETRY_S)
                return
            try:
                connection, _ = self._listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    return
                self._tell(error)
                made_room = self._makes_room()
                if self._lend_spare():
                    continue
                self._pause(REST_S if made_room else RETRY_S)
                return
            if _is_gone(connection):
                connection.close()
                gone += 1
                continue
            task = asyncio.get_running_loop().create_task(self._serve(connection))
            self.calls.add(task)
            task.add_done_callback(self._ended)
            served += 1
        self._pause(REST_S)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.calls.discard(task)
        self._keep_spare()  # at once, or who else waits for a descriptor has it

    def _tell(self, error: OSError) -> None:
        if (now := asyncio.get_running_loop().time()) >= self._told_at + RETRY_S:
            self._told_at = now
            log.warning("no connection can be taken for a moment", cause=str(error), retry_after_s=RETRY_S)

    def _keep_spare(self) -> None:
        if self._spare is None and not self._closed:
            with suppress(OSError):  # none is free yet
                self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _lend_spare(self) -> bool:
        """Whether a descriptor is free now. Who has it gives it back by ending."""
        if self._spare is None:
            return False
        os.close(self._spare)
        self._spare = None
        return True

    def _makes_room(self) -> bool:
        if (ends := self._make_room()) is None:
            return False
        ends.cancel()
        self.calls.discard(ends)
        return True

    def close(self) -> None:
        """Takes no more; those that are served go on."""
        asyncio.get_running_loop().remove_reader(self._listening.fileno())
        if self._retry is not None:
            self._retry.cancel()
        self._closed = True
        self._lend_spare()
        self._listening.close()


def _is_gone(connection: socket.socket) -> bool:
    """Whether the other end has said nothing and will not."""
    try:
        return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
