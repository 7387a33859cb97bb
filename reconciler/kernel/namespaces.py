"""Network namespaces: opened once by path, checked on the descriptor, known by their cookie, never held between passes.

A thread enters a namespace only to open a socket there and comes back at once (0.1 ms; a process would take 7 ms). A
thread that cannot come back would do the next work in the wrong namespace, so it ends the process.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TypeVar

from netplumb.models.attachment import NETNS_DIR
from netplumb.models.errors import NotANetworkNamespace, Retryable, Terminal, errno_name
from netplumb.models.naming import key_of_alias
from netplumb.reconciler.kernel.descriptors import RESERVE, opened
from netplumb.reconciler.kernel.netlink.channel import Channel

CLONE_NEWNET = 0x40000000
NS_GET_NSTYPE = 0xB703  # _IO(0xb7, 3), include/uapi/linux/nsfs.h
MS_BIND = 0x1000
MS_REC = 0x4000
MS_SHARED = 0x100000
MNT_DETACH = 2
LO_INDEX = 1
SYS_OPEN_TREE = 428  # on every architecture, include/uapi/asm-generic/unistd.h; glibc has it from 2.36 on
OPEN_TREE_CLONE = 1
AT_FDCWD = -100

_DENIED = (errno.EPERM, errno.EACCES, errno.EINVAL)  # setns(2)
_FOR_NOW = (errno.EINTR, errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)  # open(2)
_MARK_BYTES = 256  # what an alias can hold

_T = TypeVar("_T")
_libc = ctypes.CDLL(None, use_errno=True)


class NamespaceMissingError(Exception):
    """There is nothing at the path."""


class Namespace:
    """A workload's network namespace, held open for one pass: its descriptor, and a channel opened in it."""

    def __init__(self, fd: int, channel: Channel) -> None:
        self.fd = fd
        self.channel = channel
        self.cookie = channel.netns_cookie

    def close(self) -> None:
        """Lets go of the namespace; a descriptor kept open would keep a dead one and its interfaces alive."""
        os.close(self.fd)
        self.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Namespaces:
    """Opens, makes and removes workloads' namespaces, from the namespace in which it was made: the node's."""

    def __init__(self) -> None:
        self._node_fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        # Every namespace file lives on the kernel's one nsfs, so its device number tells a namespace file.
        self._nsfs_device = os.fstat(self._node_fd).st_dev
        with Channel() as channel:
            self.node_cookie = channel.netns_cookie

    def close(self) -> None:
        os.close(self._node_fd)

    def open(self, path: str) -> Namespace:
        """Opens the namespace at `path`.

        Raises NamespaceMissingError when there is nothing, NotANetworkNamespace when it is something else or the
        node's own, Retryable or Terminal when it cannot be entered.
        """
        fd = self._open_checked(path)
        try:
            namespace = Namespace(fd, self._opened_inside(fd, Channel))
        except BaseException:
            os.close(fd)
            raise
        if namespace.cookie == self.node_cookie:
            namespace.close()
            raise NotANetworkNamespace(f"{path} is the node's own network namespace")
        return namespace

    def _open_checked(self, path: str) -> int:
        """A readable descriptor. Checked on an O_PATH descriptor first: a plain open of a FIFO would block, one of a
        device would act, and a path checked before it is opened could be another by then."""
        try:
            probe = opened(lambda: os.open(path, os.O_PATH | os.O_CLOEXEC))
        except OSError as error:
            raise _unreachable(path, error) from None
        try:
            found = os.fstat(probe)
            if found.st_dev != self._nsfs_device or not stat.S_ISREG(found.st_mode):
                if stat.S_ISREG(found.st_mode) and _mark_in(f"/proc/self/fd/{probe}"):
                    raise NamespaceMissingError(f"{path} is a name without a namespace, from a daemon that died")
                raise NotANetworkNamespace(f"{path} is not a network namespace")
            try:
                fd = opened(lambda: os.open(f"/proc/self/fd/{probe}", os.O_RDONLY | os.O_CLOEXEC))
            except OSError as error:
                raise _unreachable(path, error) from None
        finally:
            os.close(probe)
            RESERVE.keep()
        if fcntl.ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET:
            os.close(fd)
            raise NotANetworkNamespace(f"{path} is a namespace, but not a network namespace")
        return fd

    def _opened_inside(self, fd: int, make: Callable[[], _T]) -> _T:
        with self.inside(fd):
            return make()

    @contextmanager
    def inside(self, fd: int) -> Iterator[None]:
        """The calling thread is in the namespace of `fd`, for as short as can be."""
        if _libc.setns(fd, CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            kind = Terminal if code in _DENIED else Retryable
            raise kind(f"cannot enter the network namespace: {errno_name(code)}", code=code, reason="NetnsDenied")
        try:
            yield
        finally:
            self._come_back()

    def _come_back(self) -> None:
        if _libc.setns(self._node_fd, CLONE_NEWNET) != 0:
            why = errno_name(ctypes.get_errno())
            words = f"netplumb: a thread cannot return to the node's network namespace ({why}); ending the process\n"
            os.write(2, words.encode())
            os._exit(70)

    def create(self, name: str, mark: str) -> int:
        """Makes a named namespace as `ip netns add` does, and returns its cookie.

        The mark is what is written in the file that the namespace is bound to: on the node, where nobody inside the
        namespace can change it. Raises FileExistsError when the name is taken.
        """
        _share_netns_dir()
        path = Path(NETNS_DIR, name)
        _place_name(path, mark)
        try:
            return self._in_thread_of_its_own(lambda: _bind_new_namespace(path))
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def _in_thread_of_its_own(self, work: Callable[[], _T]) -> _T:
        """Runs the work in a thread that ends with it, since the thread stays in another namespace."""
        results: list[_T] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                results.append(work())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run, name="make-netns")
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    def mark_of(self, name: str) -> str:
        """The mark that `create` left below a name; empty where netplumb did not make it. It takes half a millisecond.

        The file lies under the namespace that is bound to it. A copy of the directory's mount, which nobody else sees,
        does not have what is mounted in it. Raises Retryable when the kernel does not let it be made.
        """
        directory = _libc.syscall(SYS_OPEN_TREE, AT_FDCWD, os.fsencode(NETNS_DIR), OPEN_TREE_CLONE | os.O_CLOEXEC)
        if directory < 0:
            code = ctypes.get_errno()
            if code == errno.ENOENT:
                return ""
            raise Retryable(f"cannot look below the names in {NETNS_DIR}: {errno_name(code)}", code=code)
        try:
            return _mark_in(name, directory)
        finally:
            os.close(directory)

    def remove(self, name: str) -> None:
        """Takes a named namespace away. The namespace itself goes when nothing uses it any more."""
        path = os.fsencode(f"{NETNS_DIR}/{name}")
        # A name that was there before its directory became a mount point is mounted twice.
        while _libc.umount2(path, MNT_DETACH) == 0:
            pass
        if (code := ctypes.get_errno()) not in (errno.EINVAL, errno.ENOENT):
            raise Retryable(f"cannot unmount {NETNS_DIR}/{name}: {errno_name(code)}", code=code)
        try:
            Path(NETNS_DIR, name).unlink(missing_ok=True)
        except OSError as error:
            code = error.errno or 0
            raise Retryable(f"cannot remove {NETNS_DIR}/{name}: {errno_name(code)}", code=code) from None

    def is_bare_name(self, name: str) -> bool:
        """Whether this is a name of ours without a namespace: a daemon died while it made or removed one."""
        return bool(_mark_in(f"{NETNS_DIR}/{name}"))


def _place_name(path: Path, mark: str) -> None:
    """Makes the file that a namespace is then bound to. It appears with the mark in it or not at all, so that what a
    death before the mount or after the unmount leaves is known as ours, and is used or removed."""
    fd = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o444)
    try:
        os.write(fd, mark.encode())
        # Python calls linkat(2), which alone follows this link to the file itself, only where a descriptor is given.
        os.link(f"/proc/self/fd/{fd}", path, dst_dir_fd=fd, follow_symlinks=True)
    except FileExistsError:
        if _mark_in(os.fspath(path)) != mark:
            raise
    finally:
        os.close(fd)


def _mark_in(path: str, directory: int | None = None) -> str:
    """The mark in a file that is no namespace; empty if there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        try:
            mark = os.read(fd, _MARK_BYTES).decode(errors="replace")
        finally:
            os.close(fd)
    except OSError:  # a namespace, for one, cannot be read
        return ""
    return mark if key_of_alias(mark) is not None else ""


def _bind_new_namespace(path: Path) -> int:
    if _libc.unshare(CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise Terminal(f"cannot make a network namespace: {errno_name(code)}", code=code)
    with Channel() as channel:
        cookie = channel.netns_cookie
    if _libc.mount(b"/proc/thread-self/ns/net", os.fsencode(path), b"none", MS_BIND, None) != 0:
        code = ctypes.get_errno()
        raise Retryable(f"cannot bind the namespace to {path}: {errno_name(code)}", code=code)
    return cookie


def _share_netns_dir() -> None:
    """Makes /run/netns a shared mount point, as `ip netns add` does, so that removing a name unmounts it everywhere."""
    directory = Path(NETNS_DIR)
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    encoded = os.fsencode(directory)
    if _libc.mount(b"", encoded, b"none", MS_SHARED | MS_REC, None) == 0:
        return
    if ctypes.get_errno() != errno.EINVAL:  # EINVAL: not a mount point yet
        code = ctypes.get_errno()
        raise Terminal(f"cannot share {directory}: {errno_name(code)}", code=code)
    for flags in (MS_BIND | MS_REC, MS_SHARED | MS_REC):
        if _libc.mount(encoded, encoded, b"none", flags, None) != 0:
            code = ctypes.get_errno()
            raise Terminal(f"cannot share {directory}: {errno_name(code)}", code=code)


def _unreachable(path: str, error: OSError) -> Exception:
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESRCH):
        return NamespaceMissingError(f"{path} does not exist")
    if error.errno in (errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO):
        return NotANetworkNamespace(f"{path} cannot be a network namespace: {errno_name(error.errno)}")
    code = error.errno or 0
    kind = Retryable if code in _FOR_NOW else Terminal
    return kind(f"cannot open {path}: {errno_name(code)}", code=code, reason="NetnsDenied")
