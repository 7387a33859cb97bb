"""Where the server's unix socket lies: put there safely, found again by clients, taken away at the end.

A socket that is bound at its final path can be connected to before its mode and group are set. So it is bound in a
directory that only we may enter, gets mode and group there, and then its path as a second name; a client connects to
the inode, which stays the same. A name is never given over another one: what is not a dead daemon's socket stays,
also when it came while we were starting. That two daemons start at the same time is for the lock on the data directory
to prevent.
"""

from __future__ import annotations

import errno
import grp
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

from netplumb.models.errors import NetplumbError

PATH_MAX_BYTES = 107
"""sun_path of struct sockaddr_un less the closing NUL, unix(7)."""

PROBE_TIMEOUT_S = 1.0


class SocketUnusable(NetplumbError):
    """The server cannot listen at the path that it was given; the message says why."""


@dataclass(frozen=True, slots=True)
class PublishedSocket:
    """A socket at its path, recognised by its inode, which nobody else gets while the server listens."""

    path: Path
    device: int
    inode: int

    @property
    def is_there(self) -> bool:
        """Whether it is still this socket that is at the path."""
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == (self.device, self.inode)

    def withdraw(self) -> None:
        """Remove the socket unless something else took its place."""
        if self.is_there:
            self.path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Listener:
    """A descriptor of ours that listens, recognised by its inode: numbers of descriptors are given out again."""

    fd: int
    inode: int

    @property
    def is_open(self) -> bool:
        try:
            return os.fstat(self.fd).st_ino == self.inode
        except OSError:
            return False


def listener_at(place: Path) -> Listener | None:
    """Which descriptor of this process listens at the path, whoever opened it."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - numbers, not paths
        with suppress(OSError):  # closed by now, as the one of the directory is
            found = os.fstat(int(name))
            if stat.S_ISSOCK(found.st_mode) and _listens_at(int(name), place):
                return Listener(int(name), found.st_ino)
    return None


def _listens_at(fd: int, place: Path) -> bool:
    with socket.socket(fileno=os.dup(fd)) as one:
        if one.family is not socket.AF_UNIX or one.getsockname() != str(place.absolute()):
            return False
        return bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def grpc_address(path: Path) -> str:
    """The path as gRPC's name syntax wants it: a URI, so that blanks and percent signs are escaped."""
    return f"unix:{quote(str(path.absolute()))}"


def too_long(path: Path) -> OSError | None:
    """What is wrong with a path that no socket can have; None if it is short enough."""
    if len(os.fsencode(path)) <= PATH_MAX_BYTES:
        return None
    return OSError(errno.ENAMETOOLONG, f"longer than the {PATH_MAX_BYTES} bytes that fit a socket's address")


def why_unreachable(path: Path) -> OSError | None:
    """What a connection to the socket fails with, None if something answers."""
    if (error := too_long(path)) is not None:
        return error
    try:
        probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError:  # no free descriptor, which tells nothing of the socket
        return None
    with probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        try:
            probe.connect(os.fsencode(path))
        except (TimeoutError, BlockingIOError):  # a full backlog: somebody listens
            return None
        except OSError as error:
            return error
    return None


def who_has_access(path: Path) -> str:
    """Who may connect, for somebody who may not."""
    try:
        group_id = path.stat().st_gid
        group = grp.getgrgid(group_id).gr_name
    except (OSError, KeyError):
        return "root has it, and the group that the daemon's setting socket_group names"
    if group_id == 0:
        return "only root has it, until the daemon's setting socket_group names a group"
    return f"root has it, and the group {group}, as the daemon's setting socket_group says"


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A place beside `path`, closed to everyone else, in which to bind the socket that `publish` then moves there.

    SocketUnusable if `path` is in use, is not a socket, or cannot be one.
    """
    _check_length(path)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _check_free(path)
        with TemporaryDirectory(prefix=".", dir=path.parent) as directory:
            place = Path(directory, "s")
            _check_length(place)
            yield place
    except OSError as error:
        raise SocketUnusable(f"{path}: {error.strerror}") from error


def publish(place: Path, path: Path, mode: int, group: str | None) -> PublishedSocket:
    """Give the bound socket its mode and group, then its path. A dead daemon's socket there is removed before."""
    if group is not None:
        os.chown(place, -1, _gid(group))
    place.chmod(mode)
    found = place.lstat()
    _check_free(path)
    path.unlink(missing_ok=True)
    path.hardlink_to(place)
    return PublishedSocket(path, found.st_dev, found.st_ino)


def listening(path: Path, mode: int, group: str | None) -> tuple[socket.socket, PublishedSocket]:
    """A socket that listens at `path`. SocketUnusable says why if that cannot be; nothing is left behind then."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with staged(path) as place:
            made.bind(os.fsencode(place))
            made.listen()
            return made, publish(place, path, mode, group)
    except BaseException:
        made.close()
        raise


def _check_length(path: Path) -> None:
    if (error := too_long(path)) is not None:
        raise SocketUnusable(f"{path}: {error.strerror}")


def _check_free(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SocketUnusable(f"{path}: is there already and is not a socket; it is left alone")
    error = why_unreachable(path)
    if error is None:
        raise SocketUnusable(f"{path}: another daemon answers on it")
    if error.errno not in (errno.ECONNREFUSED, errno.ENOENT):
        raise error


def _gid(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise SocketUnusable(f"there is no group {group!r} to give the socket to") from None
