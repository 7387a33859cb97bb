"""Whether a file is open for writing, as the kernel knows it: nobody gets a read lease on one that is (fcntl(2))."""

from __future__ import annotations

import errno
import fcntl
import signal


def is_written(fd: int) -> bool:
    """Whether somebody has the file of this descriptor, which only reads, open for writing. Where the kernel does not
    tell, on a filesystem without leases or of a file of another user without CAP_LEASE, nobody has.

    The lease is given back at once. Who opens the file in between waits for that, and we are told by a signal: SIGURG,
    which ends nobody, in the place of SIGIO, which would end the process."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
