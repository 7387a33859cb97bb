"""Which names appear in a directory and which go, as inotify(7) tells it: read where a descriptor says that there is
something, so that who waits costs nothing."""

from __future__ import annotations

import ctypes
import errno
import os
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from typing import Self

# include/uapi/linux/inotify.h
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_DELETE_SELF = 0x400
IN_MOVE_SELF = 0x800
IN_UNMOUNT = 0x2000
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_ONLYDIR = 0x1000000

_APPEARED = IN_CREATE | IN_MOVED_TO
_WENT = IN_DELETE | IN_MOVED_FROM
_ENDED = IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_Q_OVERFLOW | IN_IGNORED
_EVENT = Struct("=iIII")  # struct inotify_event, less the name
_READ_BYTES = 1 << 16

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(slots=True)
class Names:
    """What was told of; a name may be in both."""

    appeared: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)


class WatchedDirectory:
    """Raises OSError where it cannot be watched, and from `read` when it can be no more: it went, or more happened
    than the kernel keeps."""

    def __init__(self, directory: Path) -> None:
        self._fd = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), directory)
        wanted = _APPEARED | _WENT | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR
        try:
            _checked(_libc.inotify_add_watch(self._fd, os.fsencode(directory), wanted), directory)
        except OSError:
            os.close(self._fd)
            raise
        self._directory = directory

    def fileno(self) -> int:
        return self._fd

    def read(self) -> Names:
        """All that was told since the last read."""
        names = Names()
        while (told := self._told()) is not None:
            offset = 0
            while offset < len(told):
                _, mask, _, size = _EVENT.unpack_from(told, offset)
                start = offset + _EVENT.size
                name = os.fsdecode(told[start : start + size].rstrip(b"\0"))
                offset = start + size
                if mask & _ENDED:
                    raise OSError(errno.ESTALE, "is watched no more", str(self._directory))
                (names.appeared if mask & _APPEARED else names.gone).add(name)
        return names

    def _told(self) -> bytes | None:
        try:
            return os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return None

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _checked(result: int, directory: Path) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(directory))
    return result
