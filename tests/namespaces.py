"""Network namespaces for tests: made, entered and removed from the test's own thread, through the C library.

Python 3.11 has neither `os.setns` nor `os.unshare`. Entering changes the calling thread alone, so nothing that yields
to an event loop belongs inside `enter`.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_RDONLY = 0x1
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SHARED = 0x100000
MNT_DETACH = 2

NETNS_DIR = Path("/run/netns")
_OWN = "/proc/thread-self/ns/net"

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def mount(source: str, target: Path, kind: str, flags: int, data: str = "") -> None:
    words = source.encode(), os.fsencode(target), kind.encode()
    _checked(_libc.mount(*words, ctypes.c_ulong(flags), data.encode() or None), f"mount {target}")


def unmount(target: Path) -> None:
    _checked(_libc.umount2(os.fsencode(target), MNT_DETACH), f"umount {target}")


def unshare_net() -> None:
    """Puts the calling thread into a new network namespace."""
    _checked(_libc.unshare(CLONE_NEWNET), "unshare the network namespace")


def unshare_run() -> None:
    """Puts the calling thread into a new mount namespace, with a /run that nobody else sees and that holds no named
    network namespace. Where those are kept is a shared mount, as the first `ip netns add` makes it."""
    _checked(_libc.unshare(CLONE_NEWNS), "unshare the mount namespace")
    mount("none", Path("/"), "", MS_REC | MS_PRIVATE)
    mount("tmpfs", Path("/run"), "tmpfs", 0)
    NETNS_DIR.mkdir()
    mount(str(NETNS_DIR), NETNS_DIR, "none", MS_BIND)
    mount("none", NETNS_DIR, "none", MS_SHARED)


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """The directory cannot be written to in this mount namespace."""
    mount(str(path), path, "none", MS_BIND)
    try:
        mount("none", path, "none", MS_REMOUNT | MS_BIND | MS_RDONLY)
        yield
    finally:
        unmount(path)


@contextmanager
def enter(path: str | Path) -> Iterator[None]:
    """The calling thread is in the network namespace at `path`."""
    with _kept():
        move(path)
        yield


def move(path: str | Path) -> None:
    """Puts the calling thread into the network namespace at `path`."""
    target = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(_libc.setns(target, CLONE_NEWNET), f"enter {path}")
    finally:
        os.close(target)


@contextmanager
def _kept() -> Iterator[None]:
    """The calling thread is in the same network namespace afterwards as before."""
    own = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        try:
            _checked(_libc.setns(own, CLONE_NEWNET), "come back")
        finally:
            os.close(own)


def create(name: str) -> Path:
    """Makes a named network namespace, as `ip netns add` does."""
    NETNS_DIR.mkdir(parents=True, exist_ok=True)
    path = NETNS_DIR / name
    path.touch(mode=0o444, exist_ok=False)
    with _kept():
        unshare_net()
        mount(_OWN, path, "none", MS_BIND)
    return path


def remove(name: str) -> None:
    """Takes the name away, and with it the namespace, if nothing uses it. What is gone already has been removed."""
    path = NETNS_DIR / name
    if path.exists():
        unmount(path)
        path.unlink()
