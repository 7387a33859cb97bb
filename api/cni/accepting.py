"""Takes connections on a unix socket, of which nobody can have so many that there are none left for others.

asyncio's own way goes on to accept for as long as there is somebody, and where there is no free descriptor it tries
again, and says so, thousands of times at once.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Coroutine

import structlog

RETRY_S = 0.5
_A_TURN = 32
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
        listening.setblocking(False)
        self._listen()

    def _listen(self) -> None:
        self._retry = None
        asyncio.get_running_loop().add_reader(self._listening.fileno(), self._accept)

    def _pause(self) -> None:
        asyncio.get_running_loop().remove_reader(self._listening.fileno())
        self._retry = asyncio.get_running_loop().call_later(RETRY_S, self._listen)

    def _accept(self) -> None:
        for _ in range(_A_TURN):
            if len(self.calls) >= self._most and not self._makes_room():
                self._pause()
                return
            try:
                connection, _ = self._listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _NO_ROOM:
                    log.warning("no connection can be taken for a moment", cause=str(error), retry_after_s=RETRY_S)
                    self._pause()
                return
            task = asyncio.get_running_loop().create_task(self._serve(connection))
            self.calls.add(task)
            task.add_done_callback(self.calls.discard)

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
        self._listening.close()
