"""Switches below /proc/sys/net, of the calling thread's network namespace.

Names come from renderers and from the store; one that leads elsewhere in /proc is refused all the same.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from netplumb.models.errors import Retryable, Terminal, errno_name
from netplumb.reconciler.kernel.descriptors import RESERVE, opened

_ROOT = "/proc/sys/"
_REMEDIES = {
    errno.EINVAL: "this kernel does not take that value",
    errno.EROFS: "/proc/sys is read-only here; give netplumb a writable one",
    errno.EACCES: "netplumb may not write it; it needs CAP_NET_ADMIN over this namespace",
    errno.EPERM: "netplumb may not write it; it needs CAP_NET_ADMIN over this namespace",
}
_NO_SWITCH = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG})
_PARTS_OF_INTERFACES = 5  # net, the family, conf, the interface, the switch
_OF_INTERFACES = ("/conf/", "/neigh/")  # these come and go with their interfaces


def read(name: str) -> str | None:
    """The value as the file shows it; None where this kernel, or this interface, has no such switch."""
    path = _path(name)
    try:
        with _open(path, os.O_RDONLY) as fd:
            return os.read(fd, 4096).decode().strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _failed(name, error) from None


def interface_of(name: str) -> int:
    """The index of the one interface that a switch is of; 0 where it is of none, or of one that is not there."""
    parts = name.split("/")
    if len(parts) != _PARTS_OF_INTERFACES or parts[2] != "conf" or parts[3] in ("all", "default"):
        return 0
    try:
        return socket.if_nametoindex(parts[3])
    except OSError:
        return 0


def canonical(value: str) -> str:
    """The kernel separates the numbers of one value with tabs; people do with blanks."""
    return " ".join(value.split())


def write(name: str, value: str) -> None:
    """Sets a switch. Raises Retryable when it is not there now, Terminal when it may not be set."""
    path = _path(name)
    try:
        with _open(path, os.O_WRONLY) as fd:
            os.write(fd, value.encode())
    except OSError as error:
        raise _failed(name, error) from None


def write_as_read(name: str, value: str) -> None:
    """The same of a value that somebody else chose: one that the kernel reads back otherwise would never be seen to be
    as desired, so it is told how the kernel has it. Raises Terminal then too."""
    write(name, value)
    has = canonical(read(name) or "")
    if has != canonical(value):
        subject = f"sysctl {name.replace('/', '.')}"
        message = f"{subject}: the kernel makes {has!r} of {value!r}; say it as the kernel does, or another value"
        raise Terminal(message, subject=subject, reason="SysctlFailed")


@contextmanager
def _open(path: str, flags: int) -> Iterator[int]:
    fd = opened(lambda: os.open(path, flags | os.O_CLOEXEC))
    try:
        yield fd
    finally:
        os.close(fd)
        RESERVE.keep()


def _path(name: str) -> str:
    # Compared part by part: an interface may be called `a..b`.
    if not name.startswith("net/") or ".." in name.split("/"):
        raise Terminal(f"{name!r} is not a network sysctl", subject=f"sysctl {name}", reason="SysctlFailed")
    return _ROOT + name


def _failed(name: str, error: OSError) -> Retryable | Terminal:
    code = error.errno or 0
    subject = f"sysctl {name.replace('/', '.')}"
    message = f"{subject}: {errno_name(code)}"
    if code == errno.ENOENT and any(part in name for part in _OF_INTERFACES):
        message += "; its interface is gone, or this kernel lacks the switch"
    elif code in _NO_SWITCH:
        return Terminal(f"{message}; this kernel has no such switch", subject=subject, code=code, reason="SysctlFailed")
    if (remedy := _REMEDIES.get(code)) is not None:
        return Terminal(f"{message}; {remedy}", subject=subject, code=code, reason="SysctlFailed")
    return Retryable(message, subject=subject, code=code, reason="SysctlFailed")
