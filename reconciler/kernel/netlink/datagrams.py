"""What waits on a netlink socket, without blocking. Where the kernel had no room for more, that is told once (ENOBUFS),
and what there was room for follows.

`waiting` takes one datagram after the other. `Batches` takes many with one call of the kernel, and tells of each from
which namespace it is before anything is read of it: to take away what somebody floods a socket with should cost little
more than the kernel's copy.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
from collections.abc import Iterator, Sequence
from struct import Struct

_BATCH = 64
_CONTROL_BYTES = 64

# include/linux/socket.h: struct iovec, mmsghdr and cmsghdr with the int behind it, which is the namespace's number
_IOVEC = Struct("@PN")
_HEADER = Struct("@PIPNPNi0PI0P")
_CONTROL_HEAD = "@Niii"
_CONTROL = Struct(f"{_CONTROL_HEAD}{_CONTROL_BYTES - Struct(_CONTROL_HEAD).size}x")

_recvmmsg = ctypes.CDLL(None, use_errno=True).recvmmsg


def waiting(from_: socket.socket, most_bytes: int) -> Iterator[bytes | None]:
    """Each datagram that is there, up to so many bytes of it; None where some were lost. Raises OSError."""
    while True:
        try:
            datagram = from_.recv(most_bytes, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            yield None
            continue
        yield datagram


class Batches:
    """Of one socket, up to so many bytes of each datagram. Room is taken once, and costs no memory before it is used.
    A batch is to be read before the next one is taken."""

    def __init__(self, from_: socket.socket, most_bytes: int) -> None:
        self._from = from_
        self._most_bytes = most_bytes
        self._room = mmap.mmap(-1, _BATCH * most_bytes)
        self._controls = ctypes.create_string_buffer(_BATCH * _CONTROL_BYTES)
        room, controls = _address(self._room), ctypes.addressof(self._controls)
        iovecs = b"".join(_IOVEC.pack(room + it * most_bytes, most_bytes) for it in range(_BATCH))
        self._iovecs = ctypes.create_string_buffer(iovecs, len(iovecs))
        at = ctypes.addressof(self._iovecs)
        self._unused = b"".join(
            _HEADER.pack(0, 0, at + it * _IOVEC.size, 1, controls + it * _CONTROL_BYTES, _CONTROL_BYTES, 0, 0)
            for it in range(_BATCH)
        )
        self._headers = ctypes.create_string_buffer(len(self._unused))
        self._sizes: list[int] = []

    def waiting(self) -> Iterator[Sequence[int | None] | None]:
        """Until nothing is left: for each batch, which namespace each datagram is from, by the socket's numbers, or
        None from its own (NETLINK_LISTEN_ALL_NSID); None for a batch where some were lost. Raises OSError."""
        while True:
            try:
                count = self._receive()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                yield None
                continue
            headers = list(_HEADER.iter_unpack(memoryview(self._headers)[: count * _HEADER.size]))
            controls = _CONTROL.iter_unpack(memoryview(self._controls)[: count * _CONTROL_BYTES])
            self._sizes = [header[7] for header in headers]
            yield [control[3] if header[5] else None for header, control in zip(headers, controls, strict=True)]

    def __getitem__(self, number: int) -> bytes:
        """A datagram of this batch."""
        begins = number * self._most_bytes
        return self._room[begins : begins + self._sizes[number]]

    def _receive(self) -> int:
        ctypes.memmove(self._headers, self._unused, len(self._unused))  # the kernel wrote over the sizes of what it had
        count: int = _recvmmsg(self._from.fileno(), self._headers, _BATCH, socket.MSG_DONTWAIT, None)
        if count < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return count


def _address(room: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(room))
