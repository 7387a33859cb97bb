"""Descriptors kept back for the kernel's work: who connects as often as can be takes all that are free, and a namespace
could not be opened any more to repair what is in it."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from threading import Lock

KEPT = 8  # a pass takes three
NONE_FREE = (errno.EMFILE, errno.ENFILE)


class Spare:
    """Shared by all threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: list[int] = []
        self.keep()

    def lend(self) -> None:
        """Frees them for what is opened next."""
        with self._lock:
            while self._kept:
                os.close(self._kept.pop())

    def keep(self) -> None:
        """Takes back what is free of them."""
        if len(self._kept) == KEPT:
            return
        with self._lock, suppress(OSError):
            while len(self._kept) < KEPT:
                self._kept.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))

    def close(self) -> None:
        self.lend()
