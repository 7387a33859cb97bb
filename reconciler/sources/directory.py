"""What a directory of state files holds at one moment, read in a thread. Nothing here blocks on what a file is.

The directory is opened once a look and its files are opened below that descriptor, so that a look sees one directory
even while a path is swapped. What a file is gets checked on a descriptor that cannot read (O_PATH): a FIFO, a device
or a file elsewhere is never opened.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import TypeAlias

from netplumb.models.attachment import AttachmentSpec
from netplumb.models.networkpolicy import Manifest
from netplumb.models.statefile import is_state_file
from netplumb.reconciler.kernel.descriptors import RESERVE, opened
from netplumb.reconciler.kernel.writers import is_written
from netplumb.reconciler.settings.documents import MAX_BYTES, Mistake
from netplumb.reconciler.sources.statefile import NOTHING_DECLARED, Declared, StateFileError, declared, told

Signature: TypeAlias = tuple[int, ...]
"""Tells whether a file may have changed, without reading it: what stat says, or the errno."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The names of the state files, and the signature of each. `directory` is the device and inode."""

    directory: Signature
    files: Mapping[str, Signature]


@dataclass(frozen=True, slots=True)
class FileContent:
    """What a file says: its wishes, or why it cannot be taken. Unreadable files, and those put off, have no digest.
    `cost_s` is what it took to read."""

    name: str
    digest: bytes | None
    declared: Declared = NOTHING_DECLARED
    mistakes: tuple[Mistake, ...] = ()
    cost_s: float = field(default=0.0, compare=False)
    is_put_off: bool = False

    @property
    def specs(self) -> tuple[AttachmentSpec, ...]:
        return tuple(it.spec for it in self.declared.attachments)

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        return tuple(it.manifest for it in self.declared.manifests)

    @property
    def problem(self) -> str:
        """Why it cannot be taken, empty if it can."""
        return told(self.name, self.mistakes)


def listing(directory: Path) -> Listing:
    """Raises OSError if the directory cannot be read."""
    with _opened(directory) as fd:
        files = {name: _signature(name, fd) for name in _names(fd)}
        return Listing(_identity(os.fstat(fd)), files)


PUT_OFF = "takes long to read and was changed again; it is read in a moment"
WRITTEN = "is open for writing; it is read once it is closed"


def contents(
    directory: Path,
    known: Mapping[str, bytes],
    is_due: Callable[[str, Signature], bool] = lambda _name, _signature: True,
) -> Mapping[str, FileContent]:
    """What the state files say, less those whose digest is as known. What is not due now, by its name and signature, is
    put off, and so is what somebody has open for writing: the rest of it may be yet to come. Raises OSError if the
    directory can't be read."""
    found = {}
    with _opened(directory) as fd:
        for name in sorted(_names(fd)):
            content = _content(name, fd, known.get(name), is_due)
            if content is not None:
                found[name] = content
    return found


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    fd = opened(lambda: os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    try:
        yield fd
    finally:
        os.close(fd)
        RESERVE.keep()


def _names(directory_fd: int) -> list[str]:
    with opened(lambda: os.scandir(directory_fd)) as entries:
        return [entry.name for entry in entries if is_state_file(entry.name)]


def _signature(name: str, directory_fd: int) -> Signature:
    try:
        it = os.stat(name, dir_fd=directory_fd)
    except OSError as error:
        return (error.errno or 0,)
    return (*_identity(it), it.st_size, it.st_mtime_ns, it.st_ctime_ns)


def _identity(it: os.stat_result) -> Signature:
    return (it.st_dev, it.st_ino)


def _content(
    name: str, directory_fd: int, known: bytes | None, is_due: Callable[[str, Signature], bool]
) -> FileContent | None:
    """None if the content is as known."""
    if not name.isprintable():
        return unreadable(repr(name), "a file's name must hold printable characters only")
    try:
        data, is_open = _read(name, directory_fd)
    except OSError as error:
        return unreadable(name, str(error.strerror))
    if _digest(data) == known:
        return None
    if is_open or not is_due(name, _signature(name, directory_fd)):
        return replace(unreadable(name, WRITTEN if is_open else PUT_OFF), is_put_off=True)
    began = time.thread_time()
    content = judged(name, data)
    return replace(content, cost_s=time.thread_time() - began)


def unreadable(name: str, why: str) -> FileContent:
    return FileContent(name, None, mistakes=(Mistake(0, why),))


def judged(name: str, data: bytes) -> FileContent:
    """What the content of a file of this name says."""
    digest = _digest(data)
    if not data:
        # A shell that writes a file empties it first, which must not detach what the file is about to say again.
        why = "is empty; remove the file to detach what it declared"
        return FileContent(name, digest, mistakes=(Mistake(0, why),))
    try:
        return FileContent(name, digest, declared(name, data))
    except StateFileError as error:
        return FileContent(name, digest, mistakes=error.mistakes)


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()


def _read(name: str, directory_fd: int) -> tuple[bytes, bool]:
    """One byte more than is allowed, at most, and whether somebody still has it open for writing after that. OSError's
    text says why it cannot be read."""
    fd = opened(lambda: os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=directory_fd))
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(0, "is a directory" if stat.S_ISDIR(mode) else "is not a regular file")
        if not _opened_path(fd).startswith(_opened_path(directory_fd).rstrip("/") + "/"):
            raise OSError(0, "leads out of the directory of state files")
        with open(f"/proc/self/fd/{fd}", "rb", opener=_without_waiting) as file:
            return file.read(MAX_BYTES + 1), is_written(file.fileno())
    finally:
        os.close(fd)


def _opened_path(fd: int) -> str:
    """The path that the descriptor was opened at, with every symlink resolved, as the kernel knows it."""
    return str(Path(f"/proc/self/fd/{fd}").readlink())


def _without_waiting(path: str, flags: int) -> int:
    return opened(lambda: os.open(path, flags | os.O_NONBLOCK))
