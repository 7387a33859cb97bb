"""Takes connections on a unix socket, of which nobody can have so many that there are none left for others.

asyncio's own way goes on to accept for as long as there is somebody, and where there is no free descriptor it tries
again, and says so, thousands of times at once. As many descriptors as a turn takes are kept back here: even where
others of this process have taken all there are, those who have said nothing since the turn before are sent away for
those who come next. A plugin speaks as soon as it has connected, and has been heard by then.

Who says nothing costs a descriptor and no task. Those who connect and are gone again, faster than they can be served,
cost next to nothing, and where many come at once the event loop has other work between them.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from enum import Enum, auto
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
    """Each connection is given over to `serve`, in a task of its own, once it has said something, and is closed if that
    does not happen within `silent_s`. There are at most so many; those that come then wait in the backlog, until one
    ends, or one that is silent makes room, or `make_room` tells which one is to end: a task, or None."""

    def __init__(
        self,
        listening: socket.socket,
        serve: Callable[[socket.socket], Coroutine[None, None, None]],
        most: int,
        make_room: Callable[[], asyncio.Task[None] | None],
        silent_s: float,
    ) -> None:
        self._listening = listening
        self._serve = serve
        self._most = most
        self._make_room = make_room
        self._silent_s = silent_s
        self._loop = asyncio.get_running_loop()
        self.calls: set[asyncio.Task[None]] = set()
        self._silent: dict[socket.socket, asyncio.TimerHandle] = {}
        """Those that have said nothing yet, the longest first."""
        self._retry: asyncio.TimerHandle | None = None
        self._is_full = False
        self._told_at = -inf
        self._closed = False
        self._spares: list[int] = []
        self._keep_spares()
        listening.setblocking(False)
        self._listen()

    def _listen(self) -> None:
        self._retry, self._is_full = None, False
        self._loop.add_reader(self._listening.fileno(), self._accept)

    def _pause(self, for_s: float) -> None:
        self._loop.remove_reader(self._listening.fileno())
        self._retry = self._loop.call_later(for_s, self._listen)

    def _accept(self) -> None:
        self._keep_spares()
        taken, gone = 0, 0
        while taken < A_TURN and gone < _GONE_A_TURN:
            if self._has_most and not self._makes_room():
                break
            try:
                connection, _ = self._listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    return
                self._tell(error)
                if self._lends_spare() or self._sends_away():
                    continue
                self._end_some(A_TURN - taken)
                break
            match _said(connection):
                case _Said.SOMETHING:
                    taken += 1
                    self._begin(connection)
                case _Said.NOTHING:
                    taken += 1
                    self._silent[connection] = self._loop.call_later(self._silent_s, self._close, connection)
                    self._loop.add_reader(connection.fileno(), self._heard, connection)
                case _Said.NO_MORE:
                    gone += 1
                    connection.close()
        self._is_full = not (taken or gone or self._silent)
        self._pause(RETRY_S if self._is_full else REST_S)

    def _heard(self, connection: socket.socket) -> None:
        """A silent one has said something, or has left."""
        if _said(connection) is _Said.SOMETHING:
            self._is_silent_no_more(connection)
            self._begin(connection)
        else:
            self._close(connection)
            self._keep_spares()

    def _begin(self, connection: socket.socket) -> None:
        task = self._loop.create_task(self._serve(connection))
        self.calls.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.calls.discard(task)
        self._keep_spares()  # at once, or who else waits for a descriptor has it
        if self._is_full and self._retry is not None and not self._closed:
            self._retry.cancel()
            self._listen()

    def _tell(self, error: OSError) -> None:
        if (now := self._loop.time()) >= self._told_at + RETRY_S:
            self._told_at = now
            log.warning("no connection can be taken for a moment", cause=str(error), retry_after_s=RETRY_S)

    # Room for the next.

    @property
    def _has_most(self) -> bool:
        return len(self.calls) + len(self._silent) >= self._most

    def _makes_room(self) -> bool:
        return self._sends_away() or self._end_some(1)

    def _sends_away(self) -> bool:
        """Whether there was one that had time to say something and did not."""
        connection, ends = next(iter(self._silent.items()), (None, None))
        if connection is None or ends is None or ends.when() - self._silent_s > self._loop.time() - REST_S:
            return False
        self._close(connection)
        return True

    def _end_some(self, most: int) -> bool:
        """Whether there were some in the middle of a request, and none that will rather be sent away."""
        ended = 0
        while not self._silent and ended < most and (ends := self._make_room()) is not None:
            ends.cancel()
            self.calls.discard(ends)
            ended += 1
        return bool(ended)

    def _keep_spares(self) -> None:
        with suppress(OSError):  # none is free yet
            while len(self._spares) < A_TURN and not self._closed:
                self._spares.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def _lends_spare(self) -> bool:
        """Whether a descriptor is free now. Who has it gives it back by ending."""
        if not self._spares:
            return False
        os.close(self._spares.pop())
        return True

    def _is_silent_no_more(self, connection: socket.socket) -> None:
        self._silent.pop(connection).cancel()
        self._loop.remove_reader(connection.fileno())

    def _close(self, connection: socket.socket) -> None:
        self._is_silent_no_more(connection)
        connection.close()

    def close(self) -> None:
        """Takes no more; those that are served go on."""
        self._loop.remove_reader(self._listening.fileno())
        if self._retry is not None:
            self._retry.cancel()
        self._closed = True
        while self._lends_spare():
            pass
        for connection in list(self._silent):
            self._close(connection)
        self._listening.close()


class _Said(Enum):
    SOMETHING = auto()
    NOTHING = auto()
    NO_MORE = auto()


def _said(connection: socket.socket) -> _Said:
    """What the other end has said by now, of what nothing was read yet."""
    try:
        return _Said.SOMETHING if connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) else _Said.NO_MORE
    except BlockingIOError:
        return _Said.NOTHING
    except OSError:
        return _Said.NO_MORE
