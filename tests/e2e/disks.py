"""A small disk of a test's own, which can be filled up and made read-only."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import namespaces
from tests.namespaces import MS_RDONLY, MS_REMOUNT

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Disk:
    path: Path

    @property
    def _filling(self) -> Path:
        return self.path / "filling"

    def fill(self) -> None:
        """Leaves no byte free."""
        descriptor = os.open(self._filling, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            while True:
                os.write(descriptor, bytes(512))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        finally:
            os.close(descriptor)

    def clear(self) -> None:
        self._filling.unlink()

    def remount(self, *, read_only: bool) -> None:
        """The whole file system, so that nobody may have a file on it open for writing."""
        namespaces.mount("none", self.path, "", MS_REMOUNT | (MS_RDONLY if read_only else 0))


@contextmanager
def small_disk(path: Path, size: str = "512k") -> Iterator[Disk]:
    path.mkdir(parents=True, exist_ok=True)
    if _libc.mount(b"none", os.fsencode(path), b"tmpfs", ctypes.c_ulong(0), f"size={size}".encode()) != 0:
        raise OSError(ctypes.get_errno(), f"mount {path}")
    try:
        yield Disk(path)
    finally:
        namespaces.unmount(path)
