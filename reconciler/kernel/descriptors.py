"""Descriptors kept back for the daemon's own work: who connects as often as can be takes all that are free, and then a
namespace could not be opened any more to repair what is in it, nor a switch be read."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import TypeVar

KEPT = 16  # a pass takes three, and there are as many at a time as threads
NONE_FREE = (errno.EMFILE, errno.ENFILE)

_T = TypeVar("_T")


class Reserve:
    """Shared by all threads, as descriptors are by all of a process. It is empty until it is `filled`."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: list[int] = []
        self._most = 0

    def fill(self, most: int = KEPT) -> None:
        self._most = most
        self.keep()

    @property
    def is_whole(self) -> bool:
        return len(self._kept) >= self._most

    def keep(self) -> None:
        """Takes back what is free by now. Whoever closes what it had `opened` calls it, before somebody else does."""
        if self.is_whole:
            return
        with self._lock, suppress(OSError):
            while not self.is_whole:
                self._kept.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))

    def lend(self) -> bool:
        """Frees one for what is opened next, if there is one."""
        with self._lock:
            if not self._kept:
                return False
            os.close(self._kept.pop())
            return True

    def empty(self) -> None:
        self._most = 0
        while self.lend():
            pass


RESERVE = Reserve()


def opened(make: Callable[[], _T]) -> _T:
    """What `make` opens, from the reserve where no descriptor is free otherwise."""
    while True:
        try:
            return make()
        except OSError as error:
            if error.errno not in NONE_FREE or not RESERVE.lend():
                raise
